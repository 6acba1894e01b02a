"""Suggestions while a person types: what is asked, what is reused, what is told."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.feedback import Feedback
from assistant.feedback_consent import Consent, write
from assistant.feedback_summary import examples
from assistant.skills import reuse
from assistant.skills.complete import Budget
from assistant.skills.ghost import Ghost, Shown
from assistant.skills.outcomes import rewritten, survival
from assistant.skills.pace import Pace
from tests.assistant.completion_fakes import FakeClient

Make = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("hone_home")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(tmp_path: Path) -> Feedback:
    write(Consent(elsewhere=True), tmp_path)
    return Feedback(tmp_path / "feedback.jsonl")


@pytest.fixture
def client() -> FakeClient:
    return FakeClient("compute(rows)\n")


@pytest.fixture
def ghost(client: FakeClient, kept: Feedback, clock: Clock) -> Iterator[Ghost]:
    made = Ghost(client, feedback=kept, clock=clock)
    yield made
    made.close()


def suggested(ghost: Ghost, text: str, after: str = "\n", path: str = "a.py", **options: bool) -> Shown:
    shown = ghost.suggest(path, text + after, len(text), **options)
    assert shown is not None
    return shown


def test_what_is_typed_of_a_suggestion_needs_no_request(ghost: Ghost, client: FakeClient) -> None:
    first = suggested(ghost, "total = ")
    assert (first.text, first.from_cache, first.language) == ("compute(rows)", False, "python")
    for typed in range(1, len(first.text)):
        rest = suggested(ghost, "total = " + first.text[:typed])
        assert (rest.id, rest.text, rest.from_cache) == (first.id, first.text[typed:], True)
        assert rest.prompt_sha256 == first.prompt_sha256
    assert len(client.prompts) == 1
    suggested(ghost, "total = cat")
    assert len(client.prompts) == 2


def test_a_suggestion_is_not_reused_when_what_follows_has_changed(ghost: Ghost, client: FakeClient) -> None:
    suggested(ghost, "total = ", "\n")
    suggested(ghost, "total = ", "\nprint(total)\n")
    suggested(ghost, "# new\ntotal = ", "\n")
    suggested(ghost, "total = ", "\n", path="b.py")
    assert len(client.prompts) == 4
    assert suggested(ghost, "total = ", "\n").from_cache


def test_a_place_where_nothing_was_suggested_is_asked_about_once(ghost: Ghost, client: FakeClient) -> None:
    client.answer = "\n"
    assert ghost.suggest("a.py", "total = \n", 8) is None
    assert ghost.suggest("a.py", "total = \n", 8) is None
    assert len(client.prompts) == 1
    assert ghost.suggest("a.py", "total = \n", 8, manual=True) is None
    assert len(client.prompts) == 2


def test_nothing_is_suggested_unasked_in_front_of_code_or_in_files_that_are_no_code(
    ghost: Ghost, client: FakeClient
) -> None:
    assert ghost.suggest("a.py", "x = compute_something(1)\n", 4) is None
    assert ghost.suggest(".env", "KEY=\n", 4) is None
    assert client.prompts == []
    assert ghost.suggest(".env", "KEY=\n", 4, manual=True) is not None
    assert ghost.suggest("a.py", "print()\n", 6) is not None


@pytest.mark.parametrize("how", ["cancel", "newer"])
def test_what_is_cancelled_when_it_is_written_is_kept_and_not_shown(
    client: FakeClient, kept: Feedback, how: str
) -> None:
    """The last moment: the completion is whole, and is about to be shown."""
    ended: list[Shown | None] = []

    def clock() -> float:
        if client.closed and not ended:
            ended.append(None)
            if how == "cancel":
                ghost.cancel()
            else:
                ended[0] = ghost.suggest("b.py", "other = \n", 8)
        return 0.0

    ghost = Ghost(client, feedback=kept, clock=clock)
    assert ghost.suggest("a.py", "total = \n", 8) is None
    assert len(ended) == 1
    assert (ended[0] is not None) == (how == "newer")
    again = suggested(ghost, "total = ")
    assert again.from_cache
    ghost.close()
    assert len(client.prompts) == (2 if how == "newer" else 1)


def test_a_newer_request_ends_the_older_one_within_one_token(client: FakeClient, clock: Clock) -> None:
    ghost = Ghost(client, clock=clock)
    client.answer = "value " * 40 + "\n"
    reached, go_on = threading.Event(), threading.Event()

    def wait_once() -> None:
        if not reached.is_set():
            reached.set()
            go_on.wait(30)

    client.before_token = wait_once
    found: list[Shown | None] = []
    older = threading.Thread(target=lambda: found.append(ghost.suggest("a.py", "x = \n", 4)))
    older.start()
    assert reached.wait(30)
    produced = client.produced
    client.answer = "1\n"
    newer = suggested(ghost, "x = y + ")
    go_on.set()
    older.join(30)
    assert found == [None]
    assert newer.text == "1"
    # The newer one's own two tokens.
    assert client.produced <= produced + 2
    assert client.closed == 2
    ghost.close()


def test_cancel_ends_the_running_request(client: FakeClient, clock: Clock) -> None:
    ghost = Ghost(client, clock=clock)
    client.before_token = ghost.cancel
    assert ghost.suggest("a.py", "x = \n", 4) is None
    assert client.produced == 0
    client.before_token = None
    assert suggested(ghost, "x = ").text == "compute(rows)"
    ghost.close()


LINES = [f"value_{number} = compute(first_{number}, second)\n" for number in range(120)]


def test_prompts_of_a_person_who_types_begin_alike(make_repository: Make, clock: Clock) -> None:
    root = make_repository({"helpers.py": "def compute(first, second):\n    return first + second\n" * 3})
    # Nothing is ever suggested, so that every key asks the model.
    client = FakeClient("\n")
    ghost = Ghost(client, root=root, clock=clock)
    assert ghost.wait(30)
    head = "from helpers import compute\n" + "".join(LINES[:100])
    typed = "".join(LINES[100:])
    for end in range(1, len(typed)):
        ghost.suggest("a.py", head + typed[:end] + "\n", len(head) + end)
    assert len(client.prompts) > 500
    shared = []
    for earlier, later in zip(client.prompts, client.prompts[1:], strict=False):
        same = next((at for at, (a, b) in enumerate(zip(earlier, later, strict=False)) if a != b), len(earlier))
        shared.append((len(later) - same) / len(later))
    assert sorted(shared)[len(shared) // 2] < 0.01
    # The window moves and other files are searched a few times in twenty lines.
    assert sum(share > 0.05 for share in shared) <= len(shared) * 0.02
    assert all("def compute" in prompt for prompt in client.prompts)
    # Each line is counted once when it is whole; keys cost no request.
    assert len(client.tokenized) < 250
    ghost.close()


def test_prompts_never_exceed_their_budget_while_a_line_is_typed(clock: Clock) -> None:
    client = FakeClient("\n")
    ghost = Ghost(client, clock=clock)
    for end in range(0, 3000, 37):
        ghost.suggest("a.py", "x = " + "y" * end + "\n", 4 + end)
    counts = [len(tokens) for tokens in client.tokenize(client.prompts)]
    assert max(counts) <= Budget().prompt
    ghost.close()


def test_other_files_that_were_edited_are_shown(make_repository: Make, clock: Clock) -> None:
    client = FakeClient("\n")
    ghost = Ghost(client, root=make_repository({"none.py": "pass\n"}), clock=clock)
    assert ghost.wait(30)
    edited = "def parse_header(stream, size):\n    return stream.read(size)\n"
    ghost.suggest("other.py", edited, len(edited))
    ghost.suggest("a.py", "header = parse_header(stream, \n", 30)
    assert client.prompts[1].startswith("# other.py\ndef parse_header")
    ghost.close()


def test_taken_by_word_and_by_line_it_is_accepted_in_the_end(ghost: Ghost, kept: Feedback) -> None:
    first = suggested(ghost, "total = ")
    ghost.accepted(first.id, "word", "compute")
    rest = suggested(ghost, "total = compute")
    assert (rest.id, rest.text) == (first.id, "(rows)")
    ghost.accepted(rest.id, "line", "(rows)")
    ghost.close()
    assert [(event.kind, event.completion) for event in kept.read().events] == [
        ("shown", " compute(rows)"),
        ("accepted", " compute(rows)"),
    ]


def test_what_was_typed_of_it_belongs_to_what_is_accepted(ghost: Ghost, kept: Feedback) -> None:
    first = suggested(ghost, "total = ")
    rest = suggested(ghost, "total = comp")
    ghost.accepted(rest.id, "whole", rest.text)
    ghost.close()
    assert [(event.id, event.kind, event.completion) for event in kept.read().events][1:] == [
        (first.id, "accepted", " compute(rows)")
    ]


def test_a_part_that_was_taken_counts_as_partly_and_is_looked_at_again(
    ghost: Ghost, kept: Feedback, clock: Clock
) -> None:
    first = suggested(ghost, "total = ")
    ghost.typed_on(first.id, "com")
    ghost.accepted(first.id, "word", "pute")
    clock.now += 1
    suggested(ghost, "total = compute + ")
    clock.now += 40
    suggested(ghost, "total = compute + x\ny = ")
    ghost.close()
    events = [event for event in kept.read().events if event.id == first.id]
    assert [event.kind for event in events] == ["shown", "partly", "edited"]
    assert (events[2].survival, events[2].seconds) == (1.0, 40.0)
    (example,) = examples(events)
    assert (example.completion, example.label) == (" compute", True)
    assert example.prompt == "# a.py\ntotal ="


def test_each_event_names_what_made_the_suggestion(client: FakeClient, kept: Feedback, clock: Clock) -> None:
    client.names, client.adapter = ("mine@0123456789ab",), "mine@0123456789ab"
    ghost = Ghost(client, feedback=kept, clock=clock)
    first = suggested(ghost, "total = ")
    ghost.accepted(first.id, "whole", first.text)
    clock.now += 31
    suggested(ghost, "total = compute(rows)\ny = ")
    ghost.close()
    events = [event for event in kept.read().events if event.id == first.id]
    assert [event.kind for event in events] == ["shown", "accepted", "edited"]
    asked = hashlib.sha256(client.prompts[0].encode()).hexdigest()
    assert {(event.model, event.adapter, event.language, event.prompt_sha256) for event in events} == {
        ("mine@0123456789ab", "mine@0123456789ab", "python", asked)
    }


def test_what_a_name_stands_for_is_asked_again_after_a_while(client: FakeClient, clock: Clock) -> None:
    ghost = Ghost(client, clock=clock)
    assert suggested(ghost, "a = ").model == "fake"
    client.names = ("promoted",)
    clock.now += 5
    assert suggested(ghost, "b = ").model == "fake"
    clock.now += 6
    assert suggested(ghost, "c = ").model == "promoted"
    # What the other model wrote is not shown for this one's.
    assert not suggested(ghost, "a = ").from_cache
    ghost.close()


def test_the_wait_after_a_key_follows_the_keys_and_the_answers(client: FakeClient, clock: Clock) -> None:
    ghost = Ghost(client, clock=clock)

    def answers(seconds: float) -> None:
        client.before_token = lambda: setattr(clock, "now", clock.now + seconds / 6)
        for number in range(30):
            suggested(ghost, f"{seconds}_{number} = ")

    def keys(seconds: float) -> None:
        for _ in range(40):
            clock.now += seconds
            ghost.typed_on(None, "x")

    answers(0.6)
    keys(0.1)
    assert ghost.debounce_seconds() == pytest.approx(0.15, abs=0.01)
    keys(0.06)
    assert ghost.debounce_seconds() == pytest.approx(0.09, abs=0.01)
    answers(0.006)
    assert ghost.debounce_seconds() == pytest.approx(0.02)
    ghost.close()


def test_what_is_turned_down_is_told_and_not_suggested_again(ghost: Ghost, client: FakeClient, kept: Feedback) -> None:
    first = suggested(ghost, "total = ")
    ghost.rejected(first.id)
    assert ghost.suggest("a.py", "total = \n", 8) is None
    assert suggested(ghost, "total = ", manual=True).id != first.id
    ghost.close()
    assert [event.kind for event in kept.read().events if event.id == first.id] == ["shown", "rejected"]


def test_typing_something_else_turns_down_what_was_there_to_read(ghost: Ghost, kept: Feedback, clock: Clock) -> None:
    first = suggested(ghost, "total = ")
    clock.now += 0.1
    ghost.typed_on(first.id, "x")
    second = suggested(ghost, "total = x")
    clock.now += 2
    ghost.typed_on(second.id, "compu")
    ghost.typed_on(second.id, "z")
    ghost.close()
    assert [(event.id, event.kind) for event in kept.read().events] == [(second.id, "shown"), (second.id, "rejected")]


def test_leaving_passes_a_suggestion_by(ghost: Ghost, kept: Feedback, clock: Clock) -> None:
    first = suggested(ghost, "total = ")
    clock.now += 2
    suggested(ghost, "other = 1\nmore = ")
    ghost.close()
    assert [(event.id, event.kind) for event in kept.read().events] == [(first.id, "shown")]


def test_what_is_left_of_an_accepted_text_is_told_after_half_a_minute(
    ghost: Ghost, kept: Feedback, clock: Clock
) -> None:
    first = suggested(ghost, "total = ")
    ghost.accepted(first.id, "whole", first.text)
    clock.now += 29.5
    ghost.suggest("a.py", "total = compute(rows)\ny = \n", 26)
    clock.now += 0.5
    ghost.suggest("a.py", "total = sum(cells)\ny = 2 + \n", 27)
    clock.now += 60
    ghost.suggest("a.py", "z = compute(rows) + \n", 20)
    ghost.close()
    (edited,) = (event for event in kept.read().events if event.kind == "edited")
    assert (edited.id, edited.survival, edited.seconds) == (first.id, 0.0, 30.0)
    # What the user made of it, and nothing of what was written behind it.
    assert edited.completion == " sum(cells)"
    assert edited.path == "a.py"


def test_nothing_is_left_of_an_accepted_text_in_a_file_that_was_emptied(
    ghost: Ghost, kept: Feedback, clock: Clock
) -> None:
    first = suggested(ghost, "total = ")
    ghost.accepted(first.id, "whole", first.text)
    clock.now += 40
    ghost.suggest("a.py", "", 0)
    ghost.close()
    (edited,) = (event for event in kept.read().events if event.kind == "edited")
    assert (edited.survival, edited.completion) == (0.0, None)


def test_survival_is_the_share_that_stays_wherever_it_moved() -> None:
    accepted = "return compute(rows, limit)"
    assert survival(accepted, "def f():\n    " + accepted + "\n", 13) == 1.0
    assert survival(accepted, "# one more line\n" * 9 + "def f():\n    " + accepted + "\n", 13) == 1.0
    assert survival(accepted, "def f():\n    pass\n\ndef g(): return (1, 2)\n", 13) == 0.0
    assert survival(accepted, "def f():\n    return compute(rows)\n", 13) == pytest.approx(4 / 7)


BEFORE = "def f(rows):\n"
AFTER = "\n\n\ndef g():\n"


@pytest.mark.parametrize(
    ("now", "made"),
    [
        ("    total = sum(rows)\n    return total", "    total = sum(rows)\n    return total"),
        (
            "    if not rows:\n        return 0\n    return sum(rows)",
            "    if not rows:\n        return 0\n    return sum(rows)",
        ),
        ("    total = sum(rows)\n    return total\n    # more\n    x = 1", "    total = sum(rows)\n    return total"),
        ("    return max(rows)\n\n    x = 1", "    return max(rows)"),
        ("", None),
    ],
)
def test_what_was_made_of_a_text_ends_where_it_ended(now: str, made: str | None) -> None:
    accepted = "    total = sum(rows)\n    return total"
    for moved in ("", "# a new line\n" * 5):
        assert rewritten(accepted, BEFORE, AFTER, moved + BEFORE + now + AFTER, len(BEFORE)) == made


@pytest.mark.parametrize(
    ("now", "made"),
    [
        ("sum(cells)\nx = 1", "sum(cells)"),
        ("[\n    1,\n]\n\nx = 1", "[\n    1,\n]"),
        ("1 if x else 2", "1 if x else 2"),
    ],
)
def test_one_line_is_taken_for_one_line_unless_it_opens_a_block(now: str, made: str) -> None:
    assert rewritten("sum(rows)", "y = ", "\nz = 3\n", f"y = {now}\nz = 3\n", 4) == made


def test_the_nearest_of_several_like_places_is_meant() -> None:
    text = BEFORE + "    return 1" + AFTER + BEFORE + "    return 2" + AFTER
    second = len(text) - len(AFTER) - len("    return 2")
    assert rewritten("    return 0", BEFORE, AFTER, text, len(BEFORE)) == "    return 1"
    assert rewritten("    return 0", BEFORE, AFTER, text, second) == "    return 2"
    assert rewritten("    return 0", "class A:\n", AFTER, text, 0) is None
    assert rewritten("    return 0", BEFORE, "\nclass A:\n", text, 0) is None


@given(
    st.text("ab\n (", max_size=30), st.text("ab\n (", max_size=30), st.text("ab\n (", max_size=30), st.integers(0, 40)
)
def test_what_was_not_touched_was_not_rewritten(before: str, accepted: str, after: str, offset: int) -> None:
    # The place must be the only one that is like it, or another may be nearer.
    before, after = "BEGIN" + before + "|", "|" + after
    assert rewritten(accepted, before, after, before + accepted + after, offset) in (accepted, None)


def test_crlf_files_get_their_line_ends_and_feedback_what_the_model_wrote(kept: Feedback, clock: Clock) -> None:
    client = FakeClient("\n    x = 1\n    y = 2\ndone\n")
    ghost = Ghost(client, feedback=kept, clock=clock)
    text = "a = 1\r\ndef f():\r\n"
    shown = ghost.suggest("a.py", text, len(text) - 2)
    assert shown is not None
    assert shown.text == "\r\n    x = 1\r\n    y = 2"
    ghost.accepted(shown.id, "whole", shown.text)
    ghost.close()
    assert kept.read().events[-1].completion == "\n    x = 1\n    y = 2"


def test_unknown_ids_are_ignored(ghost: Ghost, kept: Feedback) -> None:
    ghost.accepted("none", "whole", "x")
    ghost.rejected("none")
    ghost.typed_on("none", "x")
    ghost.close()
    assert kept.read().events == ()


def test_feedback_that_cannot_be_written_is_a_problem_and_stops_nothing(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "feedback.jsonl").mkdir()
    ghost = Ghost(FakeClient("1\n"), feedback=Feedback(tmp_path / "feedback.jsonl"), clock=clock)
    shown = suggested(ghost, "x = ")
    ghost.accepted(shown.id, "whole", "1")
    ghost.close()
    assert "where feedback is kept" in str(ghost.problem)


def test_an_answer_that_comes_between_two_keys_is_asked_for_at_once() -> None:
    fast, slow = Pace(), Pace()
    for key in range(50):
        fast.key(key * 0.1)
        slow.key(key * 0.1)
        fast.answered(0.05)
        slow.answered(0.8)
    assert fast.debounce() == pytest.approx(0.02)
    assert 0.14 < slow.debounce() < 0.16
    slow.key(100.0)
    assert slow.debounce() < 0.16


@given(st.lists(st.floats(0, 1e6), max_size=30), st.lists(st.floats(0, 60), max_size=30))
def test_the_debounce_stays_within_bounds(keys: list[float], answers: list[float]) -> None:
    pace = Pace()
    for key in sorted(keys):
        pace.key(key)
    for answer in answers:
        pace.answered(answer)
    assert 0.02 <= pace.debounce() <= 0.3


def test_of_two_that_lead_here_the_one_typed_farthest_is_shown_and_the_oldest_are_forgotten() -> None:
    completions = reuse.Completions()
    completions.add("near", reuse.place("a.py", "m", "x = com", 7), "pile()")
    completions.add("far", reuse.place("a.py", "m", "x = ", 4), "compute(rows)")
    here = reuse.place("a.py", "m", "x = com", 7)
    assert completions.find(here) == reuse.Reused("far", "pute(rows)", 3)
    assert completions.find(reuse.place("a.py", "n", "x = com", 7)) is None
    # Far behind the cursor something was written.
    long = "x = com" + "\n" * 9_000
    completions.add("long", reuse.place("a.py", "m", long, 7), "b()")
    assert completions.find(reuse.place("a.py", "m", long + "y = 1\n", 7)) is None
    for number in range(600):
        completions.add(str(number), reuse.place("a.py", "m", f"{number} = ", 5), "1")
    assert completions.find(here) is None


EDITS = st.tuples(st.text("ab\n(", max_size=20), st.text("ab\n(", max_size=20), st.text("ab(", min_size=1, max_size=8))


@given(EDITS, EDITS, st.integers(0, 8))
def test_only_the_same_file_with_the_beginning_typed_reuses(
    one: tuple[str, str, str], other: tuple[str, str, str], typed: int
) -> None:
    completions = reuse.Completions()
    before, after, text = one
    completions.add("one", reuse.place("a.py", "m", before + after, len(before)), text)
    for prefix, suffix in ((before + text[:typed], after), (other[0], other[1])):
        found = completions.find(reuse.place("a.py", "m", prefix + suffix, len(prefix)))
        wanted = suffix == after and any(
            prefix == before + text[:size] for size in range(len(text)) if size < len(text)
        )
        assert (found is not None) == wanted
        if found is not None:
            assert prefix + found.text == before + text
