"""What `--why` and `/why` tell about an answer."""

import io
import math
import sys
from types import SimpleNamespace

import pytest

from assistant.client import Delta
from assistant.conversations import Message
from assistant.engines.base import TokenLogprob
from assistant.skills import why
from assistant.skills.chat import Part, Prompt
from assistant.skills.instructions import Instructions
from assistant.skills.material import Material
from tui.commands import answering


def token(written: str | bytes, probability: float, *others: tuple[str, float]) -> TokenLogprob:
    own = written.encode() if isinstance(written, str) else written
    text = own.decode("utf-8", "replace")
    top = tuple(
        TokenLogprob(at, name, tuple(name.encode()), math.log(share)) for at, (name, share) in enumerate(others)
    )
    number = next((at for at, (name, _) in enumerate(others) if name == text), 99)
    return TokenLogprob(number, text, tuple(own), math.log(probability), top)


def prompt(*parts: Part) -> Prompt:
    return Prompt((), 0, 10, 100, parts)


ANSWER = [
    token("def", 0.9),
    token(" area", 0.12, (" size", 0.5), (" area", 0.12)),
    token(":\n", 0.8),
    token("    return", 0.9),
    token(" w", 0.25, (" w", 0.25), (" height", 0.25)),
]


def test_doubts_say_where_they_stand_and_what_else_was_likely() -> None:
    first, second = why.doubts_of(ANSWER)
    assert (first.line, first.before, first.text) == (1, "def", " area")
    assert (round(first.probability, 6), first.instead) == (0.12, ((" size", pytest.approx(0.5)),))
    assert (second.line, second.before, second.text) == (2, "    return", " w")


def test_of_a_long_line_the_last_words_are_shown() -> None:
    (doubt,) = why.doubts_of([token("one two three four five six seven eight nine ten eleven", 0.9), token(" x", 0.1)])
    assert doubt.before == "…five six seven eight nine ten eleven"
    (doubt,) = why.doubts_of([token("a" * 60, 0.9), token(" x", 0.1)])
    assert doubt.before == "…" + "a" * 40


def test_a_character_of_several_tokens_is_no_obstacle() -> None:
    euro = "€".encode()
    found = why.doubts_of([token(euro[:1], 0.9), token(euro[1:], 0.1), token(" 5", 0.1)])
    assert [doubt.before for doubt in found] == ["\ufffd", "€"]


def test_what_was_shown_is_named_with_what_was_cut() -> None:
    materials = [
        Material("file", "a.py, lines 1-4", "x\n", "a.py", 1, note="lines 3-4 left out for lack of room"),
        Material("input", "", "piped"),
    ]
    told = Instructions(file="AGENTS.md", text="Use tabs.")
    cut = prompt(Part("instructions", 20, "the first 2 of 9 lines are used (at most 512 tokens)"))
    found = why.explain(ANSWER, cut, materials, told)
    assert found.shown == (
        "a.py, lines 1-4 (lines 3-4 left out for lack of room)",
        "Standard input",
        "AGENTS.md (instructions) (the first 2 of 9 lines are used (at most 512 tokens))",
    )
    shown, counted, *places = why.lines(found)
    assert shown.startswith("the model was shown a.py, lines 1-4")
    assert counted.startswith("5 tokens, typically 45 % probable; 2 below 30 %")
    assert places == [
        "  line 1, 12 %: def« area»  (others: « size» 50 %)",
        "  line 2, 25 %: return« w»  (others: « height» 25 %)",
    ]
    report = found.as_json()
    assert report["typical_probability"] == 0.4547
    assert report["unsure"][0] == {
        "line": 1,
        "text": " area",
        "probability": 0.12,
        "instead": [{"text": " size", "probability": 0.5}],
    }


def test_of_many_doubts_the_least_probable_are_listed_in_the_answers_order() -> None:
    many = [token(f" word{number}", 0.29 - number / 100) for number in range(12)]
    listed = why.lines(why.explain(many, prompt(), (), Instructions()))[2:]
    assert [line.rpartition("«")[2] for line in listed] == [f" word{number}»" for number in range(4, 12)]


def test_a_sure_answer_and_an_engine_without_probabilities() -> None:
    assert why.lines(why.explain([token("yes", 0.99)], prompt(), (), Instructions())) == [
        "the model was shown nothing but the words",
        "1 token, typically 99 % probable; none below 30 %",
    ]
    silent = why.explain([], prompt(), (), Instructions())
    assert why.lines(silent)[-1] == "this engine tells no probabilities"
    assert silent.as_json()["typical_probability"] is None


@pytest.mark.parametrize(
    ("terminal", "kind", "marked"), [(True, "xterm", True), (True, "dumb", False), (False, "xterm", False)]
)
def test_a_terminal_shows_doubts_underlined(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, kind: str, marked: bool
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: terminal, buffer=written))
    monkeypatch.setenv("TERM", kind)
    text = "".join(one.text for one in ANSWER)
    deltas = [Delta(text, None, None, tuple(ANSWER)), Delta("\x1b[31m", "stop", {}, (token("other", 0.1),))]
    done = answering.show(iter(deltas), None, "fake", silent=False)
    shown = written.getvalue().decode()
    assert done.text == text + "\x1b[31m"
    assert [one.text for one in done.tokens] == [*(one.text for one in ANSWER), "other"]
    assert ("def \x1b[4marea\x1b[24m:" in shown) == marked
    # The model's own control characters never reach a terminal.
    assert ("\x1b[31m" in shown) == (not terminal)


def test_the_report_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    question = Message("user", "why?", materials=(Material("file", "a.py", "x\n", "a.py", 1),))
    done = answering.Answered("x", "stop", {}, ANSWER)
    part = answering.explained(done, question, prompt(), Instructions(), as_json=False)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[0] == "hone: the model was shown a.py"
    assert part["why"]["tokens"] == 5
