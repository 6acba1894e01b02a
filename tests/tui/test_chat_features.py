"""The chat screen's ways with files, code and conversations, driven by keys, with a scripted client."""

import threading
from pathlib import Path

import pytest
from textual import events
from textual.widgets import Input, OptionList

from assistant import feedback_consent, sessions
from assistant.feedback import Feedback
from assistant.feedback_consent import Consent
from assistant.skills.repository import root_of
from tests.tui.conftest import MakeApp, fixed_session
from tests.tui.fake_client import Script, loaded_client
from tests.tui.test_app import idle, notices, prompt_of, shown, type_and_send, until
from tui.app import HoneApp
from tui.chat.answer import Answer
from tui.chat.applying import ApplyScreen, HunkView
from tui.chat.code import CodeBlock
from tui.chat.comparing import Comparison
from tui.chat.conversation import Conversation, UserMessage
from tui.chat.picker import HistoryPicker
from tui.chat.prompt import MAX_PASTE
from tui.chat.sessions_list import SessionsPicker
from tui.chat.suggestions import Suggestions

SHOP = "def a():\n    return 1\n\n\ndef b():\n    return 2\n"
ANSWER = "Better:\n\n```python\ndef a():\n    return 10\n\n\ndef b():\n    return 20\n```\n"


@pytest.fixture
def shop(make_app: MakeApp) -> Path:
    """A file in the folder where the app runs."""
    path = Path.cwd() / "shop.py"
    path.write_text(SHOP)
    return path


async def test_a_mention_is_read_and_said(make_app: MakeApp, shop: Path):
    client = loaded_client(Script(["ok"]))
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "explain @shop.py:1-2")
        await until(pilot, lambda: "ok" in shown(app) and idle(app))
        sent = client.asked[0][-1]["content"]
        assert sent == "explain @shop.py:1-2\n\nshop.py, lines 1-2:\n```python\ndef a():\n    return 1\n```"
        assert "shown: shop.py, lines 1-2" in shown(app)
    app.chat.close()
    assert sessions.load("1qgt0000").messages[0].materials[0].path == "shop.py"


async def test_a_mention_of_nothing_goes_back_into_the_box(make_app: MakeApp, shop: Path):
    client = loaded_client()
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "explain @shp.py")
        await until(pilot, lambda: notices(app))
        assert "did you mean @shop.py?" in notices(app)[0]
        assert prompt_of(app).text == "explain @shp.py"
        assert client.asked == []


async def test_a_queued_prompt_that_cannot_be_asked_does_not_stop_the_next(make_app: MakeApp, shop: Path):
    gate = threading.Event()
    client = loaded_client(Script(["one", gate]), Script(["two"]))
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        for text in ("first", "@nothing-like-it", "third"):
            await type_and_send(pilot, text)
        gate.set()
        await until(pilot, lambda: len(client.asked) == 2 and idle(app))
        assert client.asked[1][-1]["content"] == "third"
    app.chat.close()
    assert [m.text for m in sessions.load("1qgt0000").messages if m.role == "user"] == ["first", "third"]


async def test_a_skill_is_asked_with_its_words(make_app: MakeApp, shop: Path):
    client = loaded_client(Script(["It returns 1."]))
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "/explain @shop.py:1-2 to a child")
        await until(pilot, lambda: client.asked and idle(app))
        sent = client.asked[0][-1]["content"]
        assert sent.startswith("Explain what this code does")
        assert "to a child\n\nshop.py, lines 1-2:" in sent
        assert "/explain @shop.py:1-2 to a child" in shown(app)
        await type_and_send(pilot, "/docstring")
        await until(pilot, lambda: notices(app))
        assert "/docstring needs something to work on" in notices(app)[0]


async def test_a_half_typed_mention_is_completed(make_app: MakeApp, shop: Path):
    (shop.parent / "shelf.py").write_text("")
    app = make_app(loaded_client())
    async with app.run_test() as pilot:
        wide = app.screen.query_one(Conversation).size.width
        await pilot.press(*"see @sho")
        await until(pilot, lambda: app.screen.query_one(Suggestions).display)
        assert app.screen.query_one(Conversation).size.width == wide, "nothing is wrapped anew while a list is open"
        await pilot.press("tab")
        assert prompt_of(app).text == "see @shop.py "
        assert not app.screen.query_one(Suggestions).display
        await pilot.press(*"and @sh")
        await until(pilot, lambda: app.screen.query_one(Suggestions).option_count == 2)
        await pilot.press("down", "enter")
        assert prompt_of(app).text.startswith("see @shop.py and @sh")
        assert prompt_of(app).text.endswith(".py ")
        await pilot.press("@", "s", "escape")
        assert not app.screen.query_one(Suggestions).display
        assert prompt_of(app).text.endswith("@s")


async def test_a_row_of_what_is_offered_is_taken_by_a_click(make_app: MakeApp, shop: Path):
    (shop.parent / "shelf.py").write_text("")
    app = make_app(loaded_client())
    async with app.run_test() as pilot:
        await pilot.press(*"/co")
        offered = app.screen.query_one(Suggestions)
        await until(pilot, lambda: offered.option_count > 2)
        await pilot.click(Suggestions, offset=(4, 1))
        await until(pilot, lambda: prompt_of(app).text == "/copy")
        await pilot.press(*["backspace"] * 5, *"see @sh")
        await until(pilot, lambda: offered.display and offered.option_count == 2)
        second = str(offered.get_option_at_index(1).prompt).strip()
        await pilot.click(Suggestions, offset=(4, 1))
        await until(pilot, lambda: prompt_of(app).text == f"see {second} ")
        assert prompt_of(app).has_focus
        assert not offered.display


async def test_the_cursor_copies_what_the_model_wrote(make_app: MakeApp):
    answer = "Say:\n\n```py\nprint('\x1b[1m [b]')\n```\n\nor\n\n```sh\nls\n```\n"
    app = make_app(loaded_client(Script([answer])))
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "how?")
        await until(pilot, lambda: "or" in shown(app) and idle(app))
        await pilot.press("ctrl+up", "c")
        await until(pilot, lambda: app.clipboard == "ls\n")
        await pilot.press("up", "c")
        await until(pilot, lambda: app.clipboard == "print('\x1b[1m [b]')\n")
        await pilot.press("up", "c")
        await until(pilot, lambda: app.clipboard == answer)
        await pilot.press("up", "c")
        await until(pilot, lambda: app.clipboard == "how?")
        await pilot.press("escape")
        await until(pilot, lambda: prompt_of(app).has_focus)
        await pilot.press("x")
        assert prompt_of(app).text == "x"


async def test_a_click_goes_to_a_block_only_while_walking(make_app: MakeApp):
    app = make_app(loaded_client(Script(["Look:\n\n```python\nx = 1\n```\n"])))
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "question")
        await until(pilot, lambda: idle(app) and app.screen.query(CodeBlock))
        question = app.screen.query_one(UserMessage)
        await pilot.click(question)
        await pilot.press("e")
        assert prompt_of(app).text == "e"
        await pilot.press("ctrl+up")
        assert app.screen.query_one(CodeBlock).has_class("cursor")
        await pilot.click(question)
        assert question.has_class("cursor")
        assert not app.screen.query_one(CodeBlock).has_class("cursor")
        await pilot.click(CodeBlock)
        assert app.screen.query_one(CodeBlock).has_class("cursor")


async def test_code_is_applied_hunk_by_hunk_and_taken_back(make_app: MakeApp, shop: Path):
    app = make_app(loaded_client(Script([ANSWER])))
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "improve @shop.py")
        await until(pilot, lambda: "Better" in shown(app) and idle(app))
        await pilot.press("ctrl+up", "a")
        await until(pilot, lambda: isinstance(app.screen, ApplyScreen) and len(app.screen.query(HunkView)) == 2)
        await pilot.press("down", "space", "enter")
        await until(pilot, lambda: shop.read_text() == SHOP.replace("return 1", "return 10"))
        await pilot.press("escape")
        await until(pilot, lambda: prompt_of(app).has_focus)
        await type_and_send(pilot, "/undo")
        await until(pilot, lambda: "taken back: shop.py" in notices(app))
        assert shop.read_text() == SHOP


async def test_a_change_that_was_edited_since_does_not_keep_earlier_ones_from_being_taken_back(
    make_app: MakeApp, shop: Path
):
    app = make_app(loaded_client(Script([ANSWER])))
    other = shop.parent / "other.py"
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "improve")
        await until(pilot, lambda: "Better" in shown(app) and idle(app))
        for path in (shop, other):
            await type_and_send(pilot, f"/apply {path.name}")
            await until(pilot, lambda: isinstance(app.screen, ApplyScreen) and app.screen.query(HunkView))
            await pilot.press("enter")
            await until(pilot, lambda path=path: f"written: {path.name}; /undo takes it back" in notices(app))
        other.write_text("mine\n")
        await type_and_send(pilot, "/undo")
        await until(pilot, lambda: "the next undo is for the change before it" in notices(app)[-1])
        assert "other.py has changed since" in notices(app)[-1]
        await type_and_send(pilot, "/undo")
        await until(pilot, lambda: "taken back: shop.py" in notices(app))
    assert (shop.read_text(), other.read_text()) == (SHOP, "mine\n")


async def test_a_click_takes_or_leaves_a_hunk(make_app: MakeApp, shop: Path):
    app = make_app(loaded_client(Script([ANSWER])))
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "improve @shop.py")
        await until(pilot, lambda: "Better" in shown(app) and idle(app))
        await pilot.press("ctrl+up", "a")
        await until(pilot, lambda: isinstance(app.screen, ApplyScreen) and len(app.screen.query(HunkView)) == 2)
        first, second = app.screen.query(HunkView)
        await pilot.click(second)
        assert [first.accepted, second.accepted] == [True, False]
        assert second.has_class("cursor")
        await pilot.click(first)
        await pilot.click(second)
        assert [first.accepted, second.accepted] == [False, True]


async def test_code_goes_nowhere_it_may_not(make_app: MakeApp, shop: Path):
    app = make_app(loaded_client(Script([ANSWER])))
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "code?")
        await until(pilot, lambda: "Better" in shown(app) and idle(app))
        for path, line in (("../out.py", "outside of"), (".env", "hold keys")):
            await type_and_send(pilot, f"/apply {path}")
            await until(pilot, lambda: isinstance(app.screen, ApplyScreen))
            await until(pilot, lambda line=line: line in str(app.screen.query_one("#apply-line").content))  # type: ignore[attr-defined]
            await pilot.press("escape")
            await until(pilot, lambda: not isinstance(app.screen, ApplyScreen))
        await type_and_send(pilot, "/apply new/thing.py")
        await until(pilot, lambda: isinstance(app.screen, ApplyScreen) and app.screen.query(HunkView))
        await pilot.press("enter")
        await until(pilot, (shop.parent / "new/thing.py").exists)
    assert not (shop.parent.parent / "out.py").exists()


async def test_an_edited_question_is_asked_in_a_copy(make_app: MakeApp):
    client = loaded_client(Script(["one"]), Script(["two"]), Script(["three"]))
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        for text, answer in (("first", "one"), ("second", "two")):
            await type_and_send(pilot, text)
            await until(pilot, lambda answer=answer: answer in shown(app) and idle(app))
        await pilot.press("ctrl+up", "up", "e")
        await until(pilot, lambda: prompt_of(app).text == "second" and prompt_of(app).has_focus)
        await pilot.press(*" time", "enter")
        await until(pilot, lambda: "three" in shown(app) and idle(app))
        assert [m["content"] for m in client.asked[2]][1:] == ["first", "one", "second time"]
        assert "two" not in shown(app)
        assert app.chat.session_id != "1qgt0000"
    app.chat.close()
    assert [m.text for m in sessions.load("1qgt0000").messages] == ["first", "one", "second", "two"]


async def test_retry_asks_the_same_again(make_app: MakeApp, shop: Path):
    client = loaded_client(Script(["one"]), Script(["two"]))
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "explain @shop.py")
        await until(pilot, lambda: "one" in shown(app) and idle(app))
        shop.unlink()
        await type_and_send(pilot, "/retry")
        await until(pilot, lambda: "two" in shown(app) and idle(app))
        assert client.asked[1] == client.asked[0]


async def test_earlier_inputs_are_searched(make_app: MakeApp):
    app = make_app(loaded_client(Script(["1"]), Script(["2"])))
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        for text in ("how do I sort\nbackwards", "explain git"):
            await type_and_send(pilot, text)
            await until(pilot, lambda: idle(app))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(app.screen, HistoryPicker))
        await pilot.press(*"back", "enter")
        await until(pilot, lambda: not isinstance(app.screen, HistoryPicker))
        assert prompt_of(app).text == "how do I sort\nbackwards"


async def test_a_megabyte_pasted_becomes_a_file_that_is_shown(make_app: MakeApp):
    client = loaded_client(Script(["ok"]))
    app = make_app(client)
    text = "".join(f"{number} some log line\r\n" for number in range(50_000))
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        app.post_message(events.Paste(text))
        await until(pilot, lambda: prompt_of(app).text)
        assert len(prompt_of(app).text) < 300 < MAX_PASTE < len(text)
        await pilot.press("enter")
        await until(pilot, lambda: client.asked and idle(app))
        sent = client.asked[0][-1]["content"]
        assert "\n0 some log line\n1 some log line\n" in sent
        assert "left out for lack of room)" in sent


async def test_conversations_are_found_renamed_exported_and_opened(make_app: MakeApp):
    other = fixed_session("1qgt0001")
    other.user("About rebase")
    other.answer("Git answer with cherries", "stop")
    other.close()
    client = loaded_client(Script(["later"]))
    app = make_app(client)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "/sessions cherries")
        await until(pilot, lambda: isinstance(app.screen, SessionsPicker) and app.screen.chosen == "1qgt0001")
        await pilot.press("ctrl+t")
        app.screen.query_one("#new-name", Input).value = "all about git"
        await pilot.press("enter")
        await until(pilot, lambda: sessions.load("1qgt0001").name == "all about git")
        await pilot.press("ctrl+e", "ctrl+s")
        await until(pilot, lambda: len(list(Path.cwd().glob("hone-1qgt0001-all-about-git.*"))) == 2)
        await pilot.press("enter")
        await until(pilot, lambda: "cherries" in shown(app))
        await type_and_send(pilot, "and then?")
        await until(pilot, lambda: "later" in shown(app) and idle(app))
        assert [m["content"] for m in client.asked[0]][1:] == ["About rebase", "Git answer with cherries", "and then?"]


async def test_the_screen_goes_on_while_the_conversations_are_read(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch):
    gate, read = threading.Event(), sessions.listing
    monkeypatch.setattr(sessions, "listing", lambda: gate.wait(60) and read())
    app = make_app(loaded_client(Script(["answer"])))
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "/sessions")
        await type_and_send(pilot, "question")
        await until(pilot, lambda: "answer" in shown(app) and idle(app))
        gate.set()
        await until(pilot, lambda: isinstance(app.screen, SessionsPicker) and app.screen.query(OptionList))
        await until(pilot, lambda: app.screen.chosen == "1qgt0000")  # type: ignore[attr-defined]


async def test_two_models_answer_the_same(make_app: MakeApp):
    client = loaded_client(Script(["talk"]), Script(["left answer"]), Script(["right answer"]))
    app = make_app(client)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "hello")
        await until(pilot, lambda: "talk" in shown(app) and idle(app))
        await type_and_send(pilot, "/compare smollm2-135m shop")
        await until(pilot, lambda: "right answer" in shown(app) and idle(app))
        assert client.models_asked[1:] == ["smollm2-135m", "shop"]
        assert client.asked[1] == client.asked[2] == client.asked[0]
        assert "shop · 1 tokens · 117 tok/s" in shown(app)
        sides = list(app.screen.query_one(Comparison).query(".side"))
        assert sides[0].region.y == sides[1].region.y
        await pilot.resize_terminal(80, 40)
        await until(pilot, lambda: sides[0].region.y < sides[1].region.y)
        await type_and_send(pilot, "/compare smollm2-135m nothing x")
        await until(pilot, lambda: any("no model is called nothing" in line for line in notices(app)))
        await type_and_send(pilot, "/compare one")
        await until(pilot, lambda: any("compare needs two models" in line for line in notices(app)))
    app.chat.close()
    assert len(sessions.load("1qgt0000").messages) == 2


async def test_a_model_without_a_template_is_refused(make_app: MakeApp):
    client = loaded_client()
    client.without_template = ("smollm2-135m",)
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: notices(app))
        assert "has no chat template" in notices(app)[0]


async def test_context_and_instructions_are_told_once(make_app: MakeApp):
    (Path.cwd() / "AGENTS.md").write_text("Use tabs.\n" * 2000)
    client = loaded_client(Script(["1"]), Script(["2"]))
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        for count, text in enumerate(("one", "two"), start=1):
            await type_and_send(pilot, text)
            await until(pilot, lambda count=count: len(app.screen.query(Answer)) == count and idle(app))
        told = "instructions: the first 256 of 2000 lines are used (at most 512 tokens)"
        assert notices(app) == [told]
        assert "AGENTS.md says:\nUse tabs." in client.asked[0][0]["content"]
        await type_and_send(pilot, "/context")
        await until(pilot, lambda: len(notices(app)) == 2)
        assert "left for the answer" in notices(app)[1]
        assert len(app.screen.query(UserMessage)) == 2


async def test_why_tells_what_the_model_was_unsure_of(make_app: MakeApp, shop: Path):
    app = make_app(loaded_client(Script(["sure ", "unsure"])))
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "/why")
        await until(pilot, lambda: notices(app) == ["nothing was answered yet"])
        await type_and_send(pilot, "explain @shop.py:1-2")
        await until(pilot, lambda: "unsure" in shown(app) and idle(app))
        await type_and_send(pilot, "/why")
        await until(pilot, lambda: len(notices(app)) == 2)
        told = notices(app)[1].splitlines()
    assert told[0] == "the model was shown shop.py, lines 1-2"
    assert told[-1] == "  line 1, 14 %: sure «unsure»"


def toasts(app: HoneApp) -> list[str]:
    return [notification.message for notification in app._notifications]


async def test_thumbs_are_kept_as_feedback(make_app: MakeApp, hone_home: Path):
    here = root_of(Path.cwd())
    consent = Consent(elsewhere=True)
    feedback_consent.write(consent if here is None else consent.with_repository(here))
    app = make_app(loaded_client(Script(["one"])))
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "first")
        await until(pilot, lambda: "one" in shown(app) and idle(app))
        await pilot.press("ctrl+up", "plus")
        await until(pilot, lambda: Feedback().read().events)
        await pilot.press("minus")
        await until(pilot, lambda: len(Feedback().read().events) == 2)
        await until(pilot, lambda: "Kept as bad; `hone feedback` shows it" in toasts(app))
    first, second = Feedback().read().events
    assert (first.kind, second.kind) == ("up", "down")
    assert (first.id, first.source, first.model) == ("1qgt0000:1", "chat", "smollm2-135m")
    assert (first.prompt, first.completion, first.rendered) == ("first", "one", False)


async def test_a_thumb_says_when_nothing_can_be_learnt_from_it(make_app: MakeApp, hone_home: Path):
    app = make_app(loaded_client(Script(["one", "two"])))
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "first")
        await until(pilot, lambda: "one" in shown(app) and idle(app))
        await pilot.press("ctrl+up", "plus")
        told = "Kept as good, without its texts: to be learnt from they must be kept, which `hone feedback on"
        await until(pilot, lambda: any(each.startswith(told) for each in toasts(app)))
        (event,) = Feedback().read().events
        assert (event.prompt, event.completion, event.withheld) == (None, None, True)
