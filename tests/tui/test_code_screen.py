"""The Code screen, driven by keys, with scripted suggestions and real files."""

import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input, Static, Tab

from assistant.errors import HoneError
from tests.tui.conftest import MakeApp
from tests.tui.fake_client import FakeClient, loaded_client
from tests.tui.fake_ghost import FakeGhost
from tui.app import HoneApp
from tui.ask import Prompt, Question
from tui.code import preferences, recovery
from tui.code.editor import Editor
from tui.code.find import FindBar
from tui.code.pane import FilePane
from tui.code.screen import CodeScreen
from tui.code.tabs import FileTabs
from tui.code.tree import FileTree

CART = "class Cart:\n    def total(self):\n        return sum(self.items)\n\n\ndef main():\n    pass\n"


@pytest.fixture
def shop(make_app: MakeApp) -> Path:
    """A repository in the current folder."""
    folder = Path.cwd()
    (folder / "src").mkdir()
    (folder / "src/cart.py").write_text(CART)
    (folder / "notes.md").write_text("# Notes\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "first")):
        subprocess.run(["git", *who, *command], cwd=folder, check=True, capture_output=True)
    return folder


@asynccontextmanager
async def code(
    make_app: MakeApp, argument: str = "", ghost: FakeGhost | None = None, size: tuple[int, int] = (110, 30)
) -> AsyncIterator[Pilot[None]]:
    app = make_app(loaded_client())
    app.services = replace(app.services, ghost=lambda client, model, root: ghost or FakeGhost())  # type: ignore[arg-type,return-value]
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.chat.serving)
        await pilot.press("f3")
        await until(pilot, lambda: screen(pilot).files.paths)
        await until(pilot, lambda: screen(pilot)._ghost_now())
        if argument:
            await screen(pilot).visit(argument)
            await pilot.pause()
        yield pilot


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "this never happened"
        await pilot.pause(0.02)
    await pilot.pause()


def screen(pilot: Pilot[None]) -> CodeScreen:
    app = pilot.app
    assert isinstance(app, HoneApp)
    found = app._made["code"]
    assert isinstance(found, CodeScreen)
    return found


def pane(pilot: Pilot[None]) -> FilePane:
    found = screen(pilot).query_one(FileTabs).pane
    assert found is not None
    return found


def editor(pilot: Pilot[None]) -> Editor:
    return pane(pilot).editor


def view(pilot: Pilot[None]) -> list[str]:
    """The editor's rows as they are on screen, without the gutter."""
    shown = editor(pilot)
    lines = [strip.text for strip in shown.render_lines(shown.size.region)]
    return [line[shown.gutter_width :].rstrip() for line in lines]


def status(pilot: Pilot[None]) -> str:
    return str(screen(pilot).query_one("#status", Static).content)


def told(pilot: Pilot[None]) -> list[str]:
    return [notification.message for notification in pilot.app._notifications]


async def answer(pilot: Pilot[None], label: str) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, Question))
    await pilot.click(next(button for button in pilot.app.screen.query(Button) if button.name == label))
    await until(pilot, lambda: not isinstance(pilot.app.screen, Question))


async def test_a_file_is_opened_from_the_tree_edited_and_saved(make_app: MakeApp, shop: Path):
    async with code(make_app) as pilot:
        tree = screen(pilot).query_one(FileTree)
        assert tree.has_focus
        await pilot.press("enter", "down", "enter")
        await until(pilot, lambda: screen(pilot).query_one(FileTabs).pane)
        await pilot.press("ctrl+end", "x", "space", "=", "space", "1")
        assert pane(pilot).title.plain == "● cart.py"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: not pane(pilot).modified)
        assert (shop / "src/cart.py").read_text() == CART + "x = 1"
        await until(pilot, lambda: screen(pilot).files.status == {"src/cart.py": "M"})
        await pilot.press("ctrl+z", "ctrl+s")
        await until(pilot, lambda: (shop / "src/cart.py").read_text() == CART)


async def test_keys_typed_fast_are_done_in_their_order(make_app: MakeApp, shop: Path):
    async with code(make_app, "src/cart.py") as pilot:
        for key in ["ctrl+end", *"ab", "left", *"cd", "home", "e", "enter", "backspace", "end", "f"]:
            editor(pilot).post_message(_key(key))
        await pilot.pause()
        assert editor(pilot).text == CART + "eacdbf"


def _key(name: str) -> "object":
    from textual.events import Key

    return Key(name, name if len(name) == 1 else None)


async def test_ghost_text_is_drawn_between_the_lines_and_is_not_in_the_file(make_app: MakeApp, shop: Path):
    ghost = FakeGhost(written={"        x =": " compute(\n        self.items,\n    )"})
    async with code(make_app, "src/cart.py:3", ghost) as pilot:
        await pilot.press("end", "enter", "x", "space", "=")
        await until(pilot, lambda: editor(pilot).ghost)
        text = CART.replace("items)\n", "items)\n        x =\n", 1)
        assert editor(pilot).text == text
        assert view(pilot)[2:8] == [
            "        return sum(self.items)",
            "        x = compute(",
            "        self.items,",
            "    )",
            "",
            "",
        ]
        assert ghost.asked[-1] == ("src/cart.py", text[: text.index("x =") + 3], False)
        assert "123 ms, smollm2-135m" in status(pilot)
        assert "Tab all" in status(pilot)
        await pilot.press("tab")
        assert editor(pilot).text == text.replace("x =", "x = compute(\n        self.items,\n    )")
        assert ("accepted", "whole", " compute(\n        self.items,\n    )") in ghost.events
        await pilot.press("ctrl+z")
        assert editor(pilot).text == text


async def test_ghost_text_in_the_middle_of_a_line_pushes_its_end_down(make_app: MakeApp, shop: Path):
    ghost = FakeGhost(["a,\n  b"])
    async with code(make_app, "src/cart.py:3", ghost) as pilot:
        editor(pilot).move_cursor((2, 19))
        await pilot.press("ctrl+@")
        await until(pilot, lambda: editor(pilot).ghost)
        assert view(pilot)[2:4] == ["        return sum(a,", "  bself.items)"]
        assert ghost.asked[0][2]


async def test_it_is_taken_by_word_and_line_typed_along_and_dismissed(make_app: MakeApp, shop: Path):
    ghost = FakeGhost([" one two\nthree\nfour"])
    async with code(make_app, "notes.md:2", ghost) as pilot:
        await pilot.press("ctrl+@")
        await until(pilot, lambda: editor(pilot).ghost)
        await pilot.press("ctrl+right")
        assert editor(pilot).text == "# Notes\n one"
        await pilot.press("space", "t")
        assert editor(pilot).ghost is not None
        assert editor(pilot).ghost.text == "wo\nthree\nfour"
        await pilot.press("shift+tab", "shift+tab")
        assert editor(pilot).text == "# Notes\n one two\nthree"
        await pilot.press("escape")
        assert editor(pilot).ghost is None
        assert [event for event in ghost.events if event[0] in ("accepted", "rejected")] == [
            ("accepted", "word", " one"),
            ("accepted", "line", "wo"),
            ("accepted", "line", "\nthree"),
            ("rejected",),
        ]
        assert ("typed", "s", "t") in ghost.events


async def test_typing_on_cancels_and_a_late_answer_is_not_shown(make_app: MakeApp, shop: Path):
    late = threading.Event()
    ghost = FakeGhost([late, " right"])
    async with code(make_app, "src/cart.py:7", ghost) as pilot:
        await pilot.press("end", "a")
        await until(pilot, lambda: len(ghost.asked) == 1)
        assert "✎ …" in status(pilot)
        await pilot.press("b")
        assert ("cancel",) in ghost.events
        await until(pilot, lambda: editor(pilot).ghost)
        late.set()
        await pilot.pause(0.1)
        assert editor(pilot).ghost is not None
        assert editor(pilot).ghost.text == " right"
        await pilot.press("left")
        assert editor(pilot).ghost is None


async def test_a_wish_waits_until_the_model_is_there(make_app: MakeApp, shop: Path):
    there, ghost = threading.Event(), FakeGhost(written={"    pass": " it()"})

    def loading(*_: object) -> FakeGhost:
        there.wait(60)
        return ghost

    app = make_app(loaded_client())
    app.services = replace(app.services, ghost=loading)  # type: ignore[arg-type]
    async with app.run_test(size=(110, 30)) as pilot:
        await until(pilot, lambda: app.chat.serving)
        await pilot.press("f3")
        await until(pilot, lambda: screen(pilot).files.paths)
        await screen(pilot).visit("src/cart.py:7")
        await pilot.press("end", "ctrl+@")
        await until(pilot, lambda: "waiting for the model" in status(pilot))
        there.set()
        await until(pilot, lambda: editor(pilot).ghost)
        assert [manual for _, _, manual in ghost.asked] == [True]


async def test_a_wish_without_a_model_says_why_and_what_helps(make_app: MakeApp, shop: Path):
    app = make_app(FakeClient([], load_error="the file is damaged"))
    async with app.run_test(size=(110, 30)) as pilot:
        await until(pilot, lambda: app.chat.unavailable)
        await pilot.press("f3")
        await screen(pilot).visit("src/cart.py:7")
        await pilot.press("end", "ctrl+@")
        await until(pilot, lambda: any("damaged; /model NAME in the chat" in line for line in told(pilot)))
        assert "the file is damaged" in status(pilot)


async def test_a_wish_after_a_failed_start_tries_again(make_app: MakeApp, shop: Path):
    ghosts: list[FakeGhost | HoneError] = [HoneError("the index is locked")]

    def failing(*_: object) -> FakeGhost:
        made = ghosts[0]
        if isinstance(made, HoneError):
            raise made
        return made

    app = make_app(loaded_client())
    app.services = replace(app.services, ghost=failing)  # type: ignore[arg-type]
    async with app.run_test(size=(110, 30)) as pilot:
        await until(pilot, lambda: app.chat.serving)
        await pilot.press("f3")
        await screen(pilot).visit("src/cart.py:7")
        await until(pilot, lambda: "the index is locked" in status(pilot))
        await pilot.press("end", "ctrl+@")
        await until(pilot, lambda: any("the index is locked" in line for line in told(pilot)))
        ghosts[0] = FakeGhost(written={"    pass": " it()"})
        await pilot.press("ctrl+@")
        await until(pilot, lambda: editor(pilot).ghost)


async def test_what_is_known_comes_at_once_and_a_failure_is_said(make_app: MakeApp, shop: Path):
    ghost = FakeGhost([HoneError("the engine ended (signal 9)")], known={"    passa": "bc"})
    async with code(make_app, "src/cart.py:7", ghost) as pilot:
        await pilot.press("end", "a")
        assert editor(pilot).ghost is not None
        assert "from memory" in status(pilot)
        assert ghost.asked == []
        await pilot.press("x")
        await until(pilot, lambda: "the engine ended (signal 9)" in status(pilot))


async def test_a_gateway_that_is_gone_is_started_again_from_here(make_app: MakeApp, shop: Path):
    class Mortal(FakeClient):
        dead = False

        def is_reached(self) -> bool:
            was_dead, self.dead = self.dead, False
            return not was_dead

    client, connected = Mortal([]), []
    client.loaded.set()

    @contextmanager
    def connect(model: str | None) -> Iterator[FakeClient]:
        connected.append(model)
        yield client

    ghost = FakeGhost([HoneError("the gateway does not answer")], written={"    passab": "c"})
    app = make_app(client, connect=connect, ghost=lambda client, model, root: ghost)
    async with app.run_test(size=(110, 30)) as pilot:
        await until(pilot, lambda: app.chat.serving)
        await pilot.press("f3")
        await screen(pilot).visit("src/cart.py:7")
        await until(pilot, lambda: screen(pilot)._ghost_now())
        client.dead = True
        await pilot.press("end", "a")
        await until(pilot, lambda: len(connected) == 2 and app.chat.serving)
        await pilot.press("b")
        await until(pilot, lambda: editor(pilot).ghost is not None)


async def test_a_language_is_switched_off_and_stays_so(make_app: MakeApp, shop: Path):
    ghost = FakeGhost([" by hand"])
    async with code(make_app, "src/cart.py", ghost) as pilot:
        await pilot.press("f8", "a")
        await pilot.pause(0.1)
        assert "off for python" in status(pilot)
        assert ghost.asked == []
        await pilot.press("ctrl+@")
        await until(pilot, lambda: editor(pilot).ghost)
    assert preferences.read().quiet_languages == {"python"}


async def test_long_lines_go_on_in_the_next_row_when_asked_and_stay_so(make_app: MakeApp, shop: Path):
    words = "alpha beta gamma " * 24
    (shop / "long.txt").write_text(f"first\n{words}\nlast\n")
    ghost = FakeGhost(written={f"{words}": "delta " * 14 + "\nnew"})
    async with code(make_app, "long.txt", ghost, size=(80, 48)) as pilot:
        assert view(pilot)[2] == "last"
        await pilot.press("alt+z")
        await until(pilot, lambda: view(pilot)[2] != "last")
        rows = view(pilot)[1 : view(pilot).index("last")]
        assert len(rows) > 4
        assert all(row.startswith(("alpha", "beta", "gamma")) for row in rows)
        assert "".join(f"{row} " for row in rows) == words
        assert "wrapped" in status(pilot)

        await pilot.press("down", "down", "down")
        assert editor(pilot).cursor_location == (1, len(f"{rows[0]} {rows[1]} "))
        await pilot.press("x")
        assert view(pilot)[3].startswith("x")
        await pilot.press("ctrl+z")
        await pilot.click(Editor, offset=(editor(pilot).gutter_width, 2))
        assert editor(pilot).cursor_location == (1, len(f"{rows[0]} "))

        editor(pilot).move_cursor((1, len(words)))
        await pilot.press("ctrl+@")
        await until(pilot, lambda: editor(pilot).ghost)
        shown = view(pilot)
        last = shown.index("last")
        assert shown[last - 1] == "new"
        assert "".join(f"{row} " for row in shown[1 : last - 1]) == words + "delta " * 14
        await pilot.press("tab")
        assert view(pilot)[: last + 1] == shown[: last + 1]
        await pilot.press("ctrl+z")

        await pilot.press("alt+z", "ctrl+home")
        await until(pilot, lambda: view(pilot)[2] == "last")
        await pilot.press("alt+z")
    assert preferences.read().soft_wrap
    async with code(make_app, "long.txt", size=(80, 48)) as pilot:
        assert view(pilot)[1 : 1 + len(rows)] == rows


async def test_a_file_that_changes_on_disk_is_read_again_or_asked_about(make_app: MakeApp, shop: Path):
    async with code(make_app, "src/cart.py") as pilot:
        (shop / "src/cart.py").write_text("a = 1\n")
        screen(pilot).query_one(FileTabs).look()
        assert editor(pilot).text == "a = 1\n"
        await pilot.press("ctrl+z")
        assert editor(pilot).text == CART
        (shop / "src/cart.py").write_text("b = 2\n")
        await pilot.pause()
        screen(pilot).query_one(FileTabs).look()
        assert "saving asks" in pane(pilot).conflict
        assert editor(pilot).text == CART
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        await pilot.press("escape")
        assert (shop / "src/cart.py").read_text() == "b = 2\n"
        await pilot.press("ctrl+s")
        await answer(pilot, "Overwrite it")
        await until(pilot, lambda: (shop / "src/cart.py").read_text() == CART)
        assert pane(pilot).conflict == ""
        (shop / "src/cart.py").unlink()
        screen(pilot).query_one(FileTabs).look()
        assert "gone" in pane(pilot).conflict


async def test_closing_and_leaving_ask_about_unsaved_changes(make_app: MakeApp, shop: Path):
    async with code(make_app, "src/cart.py") as pilot:
        await pilot.press("a", "ctrl+w")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        await pilot.press("escape")
        await pilot.pause()
        assert editor(pilot).text == "a" + CART
        await pilot.press("ctrl+q")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        await pilot.press("escape")
        await pilot.pause()
        assert pilot.app.is_running
        # However fast, and over a question of another kind.
        for keys in (("ctrl+q", "ctrl+q"), ("ctrl+w", "ctrl+q")):
            await pilot.press(*keys)
            await until(pilot, lambda: isinstance(pilot.app.screen, Question))
            await pilot.press("ctrl+q", "escape")
            await pilot.pause()
            assert pilot.app.screen is screen(pilot)
        await pilot.press("ctrl+w")
        await answer(pilot, "Discard")
        await until(pilot, lambda: screen(pilot).query_one(FileTabs).pane is None)
        assert (shop / "src/cart.py").read_text() == CART
        await screen(pilot).visit("src/cart.py")
        await pilot.press("b", "ctrl+q")
        await answer(pilot, "Save")
        await until(pilot, lambda: not pilot.app.is_running)
    assert (shop / "src/cart.py").read_text() == "b" + CART
    assert recovery.left_behind(shop) == []


@pytest.mark.parametrize("size", [(110, 30), (80, 24)])
async def test_unsaved_text_comes_back_after_a_crash(make_app: MakeApp, shop: Path, size: tuple[int, int]):
    async with code(make_app, "src/cart.py", size=size) as pilot:
        await pilot.press("a")
        tabs = screen(pilot).query_one(FileTabs)
        tabs._keep()
        await until(pilot, lambda: tabs._recovery._folder and list(tabs._recovery._folder.glob("*.json")))
    pilot.app.close()  # type: ignore[attr-defined]
    assert recovery.left_behind(shop) == [str(shop / "src/cart.py")]
    async with code(make_app, size=size) as pilot:
        assert any("in cart.py were kept" in line for line in told(pilot))
        await until(pilot, lambda: screen(pilot).query_one(FileTabs).pane)
        assert editor(pilot).text == "a" + CART
        assert pane(pilot).modified
        assert any("are back" in line for line in told(pilot))
        await pilot.press("ctrl+z")
        assert editor(pilot).text == CART
        assert (shop / "src/cart.py").read_text() == CART
    pilot.app.close()  # type: ignore[attr-defined]


async def test_unsaved_text_of_a_file_elsewhere_comes_back_and_is_told_from_a_folder_below(
    make_app: MakeApp, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "note.txt").write_text("one\n")
    async with code(make_app, str(tmp_path / "note.txt")) as pilot:
        await pilot.press("a")
    pilot.app.close()  # type: ignore[attr-defined]
    monkeypatch.chdir(shop / "src")
    async with code(make_app) as pilot:
        await until(pilot, lambda: any("in note.txt were kept" in line for line in told(pilot)))
        await until(pilot, lambda: screen(pilot).query_one(FileTabs).pane)
        assert editor(pilot).text == "aone\n"
        await pilot.press("ctrl+q")
        await answer(pilot, "Discard")


async def test_a_file_that_is_gone_is_not_closed_without_a_question(make_app: MakeApp, shop: Path):
    async with code(make_app, "src/cart.py") as pilot:
        (shop / "src/cart.py").unlink()
        screen(pilot).query_one(FileTabs).look()
        await pilot.press("ctrl+q")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        await pilot.press("escape")
        await pilot.press("ctrl+w")
        await answer(pilot, "Save")
        await until(pilot, lambda: screen(pilot).query_one(FileTabs).pane is None)
        assert (shop / "src/cart.py").read_text() == CART
        await screen(pilot).visit("src/cart.py")
        (shop / "src/cart.py").unlink()
        screen(pilot).query_one(FileTabs).look()
        (shop / "src/cart.py").write_text("a = 1\n")
        screen(pilot).query_one(FileTabs).look()
        assert (editor(pilot).text, pane(pilot).conflict) == ("a = 1\n", "")
        assert not pane(pilot).modified


async def test_searching_and_replacing(make_app: MakeApp, shop: Path):
    async with code(make_app, "src/cart.py") as pilot:
        await pilot.press("ctrl+r", *"def")
        bar = screen(pilot).query_one(FindBar)
        count = bar.query_one("#find-count", Static)
        assert str(count.content) == "1 of 2"
        assert editor(pilot).selection.start == (1, 4)
        await pilot.press("enter")
        assert editor(pilot).selection.start == (5, 0)
        await pilot.press("up")
        assert editor(pilot).selection.start == (1, 4)
        bar.query_one("#find-by", Input).focus()
        await pilot.press(*"fn", "enter")
        assert editor(pilot).text == CART.replace("def", "fn", 1)
        await pilot.press("alt+a")
        assert editor(pilot).text == CART.replace("def", "fn")
        assert "1 replaced" in str(count.content)
        await pilot.press("escape", "ctrl+z", "ctrl+z")
        assert not bar.display
        assert editor(pilot).text == CART


@pytest.mark.parametrize("turned", ["key", "click", "open"])
async def test_replacing_goes_on_in_the_file_that_is_in_front(make_app: MakeApp, shop: Path, turned: str):
    (shop / "other.py").write_text("def other(): pass\n")
    async with code(make_app, "other.py" if turned != "open" else "src/cart.py") as pilot:
        if turned != "open":
            await screen(pilot).visit("src/cart.py")
        first = editor(pilot)
        await pilot.press("ctrl+r", *"def")
        bar = screen(pilot).query_one(FindBar)
        bar.query_one("#find-by", Input).value = "fn"
        match turned:
            case "key":
                screen(pilot).action_turn(1)
            case "click":
                await pilot.click(next(iter(screen(pilot).query(Tab))))
                await until(pilot, lambda: editor(pilot) is not first)
            case "open":
                await screen(pilot).visit("other.py")
        assert bar.display
        bar.action_all()
        await pilot.pause()
        assert editor(pilot).text == "fn other(): pass\n"
        assert first.text == CART


async def test_a_match_that_looks_around_itself_is_replaced_one_by_one(make_app: MakeApp, shop: Path):
    async with code(make_app, "notes.md") as pilot:
        editor(pilot).load_text("ab ac ab\n")
        await pilot.press("ctrl+r", "alt+r")
        bar = screen(pilot).query_one(FindBar)
        bar.query_one("#find-text", Input).value = r"(?<=a)(b|c)(?= |$)"
        by = bar.query_one("#find-by", Input)
        by.value = r"<\1>"
        by.focus()
        await pilot.press("enter", "enter")
        assert editor(pilot).text == "a<b> a<c> ab\n"


async def test_keys_for_lines_tabs_and_the_tree(make_app: MakeApp, shop: Path):
    async with code(make_app, "src/cart.py") as pilot:
        await pilot.press("ctrl+g")
        await until(pilot, lambda: isinstance(pilot.app.screen, Prompt))
        await pilot.press("6", "enter")
        await until(pilot, lambda: editor(pilot).cursor_location == (5, 0))
        await pilot.press("end", "enter", "a")
        assert editor(pilot).source.lines[6] == "    a"
        await pilot.press("home", "shift+tab")
        assert editor(pilot).source.lines[6] == "a"
        await screen(pilot).visit("notes.md")
        await pilot.press("ctrl+pageup")
        await pilot.pause()
        assert pane(pilot).path == "src/cart.py"
        await pilot.press("ctrl+b")
        assert screen(pilot).query_one(FileTree).has_focus
        await pilot.press("ctrl+b")
        assert not screen(pilot).query_one(FileTree).display
        assert editor(pilot).has_focus


async def test_state_is_kept_behind_the_other_screens(make_app: MakeApp, shop: Path):
    async with code(make_app, "src/cart.py:3") as pilot:
        await pilot.press("a", "f2")
        assert pilot.app.current_mode == "chat"
        await pilot.press(*"/code notes.md:1", "enter")
        await until(pilot, lambda: pilot.app.current_mode == "code" and pane(pilot).path == "notes.md")
        assert [one.path for one in screen(pilot).query_one(FileTabs).panes] == ["src/cart.py", "notes.md"]
        assert screen(pilot).query_one(FileTabs).panes[0].modified


async def test_a_narrow_terminal_shows_the_tree_or_the_file(make_app: MakeApp, shop: Path):
    async with code(make_app, size=(60, 20)) as pilot:
        tree, tabs = screen(pilot).query_one(FileTree), screen(pilot).query_one(FileTabs)
        assert (tree.display, tabs.display) == (True, False)
        await screen(pilot).visit("notes.md")
        await pilot.pause()
        assert (tree.display, tabs.display) == (False, True)
        await pilot.press("ctrl+b")
        await pilot.pause()
        assert (tree.display, tabs.display) == (True, False)


async def test_control_characters_and_long_lines_are_shown_inert(make_app: MakeApp, shop: Path):
    (shop / "odd.py").write_bytes(b"a\x1b[31mb\x0cc\n" + "\u202ex\n".encode() + b"y" * 100_000 + b"\n\ttab\n")
    before = (shop / "odd.py").read_bytes()
    async with code(make_app, "odd.py") as pilot:
        assert view(pilot)[:2] == ["a␛[31mb␌c", "�x"]
        assert len(view(pilot)[2]) == editor(pilot).size.width - editor(pilot).gutter_width
        assert view(pilot)[3] == "    tab"
        await pilot.press("down", "down", "end", "z")
        assert view(pilot)[2].endswith("yz")
        await pilot.press("backspace", "ctrl+s")
        await until(pilot, lambda: not pane(pilot).modified)
        assert (shop / "odd.py").read_bytes() == before


async def test_another_editor_gets_only_what_is_saved(make_app: MakeApp, shop: Path):
    async with code(make_app, "src/cart.py") as pilot:
        await pilot.press("a", "f9")
        await until(pilot, lambda: any("Save first" in line for line in told(pilot)))
        await pilot.press("ctrl+z", "f9")
        # A headless app has no terminal to give away; test_code_tmux.py has one.
        await until(pilot, lambda: any("cannot be handed" in line for line in told(pilot)))
