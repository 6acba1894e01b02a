"""Slash commands and the input history."""

from pathlib import Path

import pytest

from assistant import atomic
from assistant.conversations import Message
from assistant.errors import UsageError
from tui.chat.commands import Invocation, comparison, matching, parse, parse_skill
from tui.chat.history import InputHistory


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hello", None),
        ("/usr/bin/env python fails", None),
        ("/etc.conf is broken", None),
        ("/help", Invocation("help", "")),
        ("/chat", Invocation("chat", "")),
        ("/compare a b why?\n  x = 1", Invocation("compare", "a b why?\n  x = 1")),
        ("/MODEL shop@abc123 ", Invocation("model", "shop@abc123")),
        ("/explain @a.py", Invocation("explain", "@a.py")),
        ("/fix Traceback:\n  File\n", Invocation("fix", "Traceback:\n  File\n")),
        ("/fix\nTraceback", Invocation("fix", "Traceback")),
        ("/hlep", "there is no command /hlep; did you mean /help?"),
        ("/q", "there is no command /q; did you mean /quit?"),
        ("/xyzzy", "there is no command /xyzzy; /help lists the commands"),
    ],
)
def test_a_line_is_a_command_a_mistake_or_a_message(line: str, expected: Invocation | str | None):
    assert parse(line) == expected


def test_a_half_typed_command_shows_what_it_can_become():
    assert [command.name for command in matching("/c")] == ["compare", "copy", "context", "clear", "code"]
    assert matching("/model x") == ()
    assert matching("c") == ()


def test_the_history_is_walked_and_the_typed_text_kept(hone_home: Path):
    history = InputHistory()
    history.add("one")
    history.add("two\nlines")
    assert history.older("typing") == "two\nlines"
    assert history.older("two\nlines") == "one"
    assert history.older("one") is None
    assert history.newer() == "two\nlines"
    assert history.newer() == "typing"
    assert history.newer() is None


def test_the_history_outlives_the_process_and_a_torn_line(hone_home: Path):
    InputHistory().add("kept")
    with (hone_home / "input_history.jsonl").open("a") as file:
        file.write('"torn')
    assert InputHistory().older("") == "kept"


def test_a_history_that_is_too_long_is_shortened_where_the_disk_lets_it(
    hone_home: Path, monkeypatch: pytest.MonkeyPatch
):
    file = hone_home / "input_history.jsonl"
    file.write_text("".join(f'"{number}"\n' for number in range(2_001)))

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(atomic, "write_text", refuse)
        assert len(InputHistory().entries) == 1_000
    assert len(file.read_text().splitlines()) == 2_001
    assert InputHistory().older("") == "2000"
    assert len(file.read_text().splitlines()) == 1_000


@pytest.mark.parametrize(
    ("argument", "text"),
    [("a b", "last"), ("a b why?", "why?"), ("a  b\n  x = 1\n  y", "  x = 1\n  y"), ("a\nb why?\nso", "why?\nso")],
)
def test_two_models_are_asked_what_stands_behind_them_with_its_lines(argument: str, text: str):
    pair, asked, _ = comparison(argument, [Message("user", "last")])
    assert (pair, asked) == (("a", "b"), text)


@pytest.mark.parametrize("argument", ["", "a", "a "])
def test_a_comparison_needs_two_models(argument: str):
    with pytest.raises(UsageError, match="two models"):
        comparison(argument, [])


def test_only_skills_and_comparisons_take_several_lines():
    assert parse_skill("/Explain @a") == Invocation("explain", "@a")
    assert parse_skill("/help") is None
    assert parse_skill("explain this") is None
    assert parse("/help\nme") is None
