"""An answer that runs into a loop is ended."""

import random
from collections.abc import Iterator
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.client import Delta
from assistant.skills import chat, loops

PROSE = "".join(f"Line {number} says something about case {number * 7 % 13}.\n" for number in range(400))
PROMPT = chat.Prompt(({"role": "user", "content": "why?"},), 0, 1, 1000)


@given(piece=st.text(min_size=1, max_size=300), before=st.text(max_size=500))
def test_a_piece_that_is_repeated_long_enough_is_a_loop(piece: str, before: str) -> None:
    repeats = max(loops.LEAST_REPEATS, -(-loops.LEAST_CHARACTERS // len(piece)))
    assert loops.looping(before + piece * repeats)
    # Also in the middle of the next repeat.
    assert loops.looping(before + piece * (repeats + 1) + piece[: len(piece) // 2])


@given(text=st.text(max_size=loops.LEAST_CHARACTERS - 1))
def test_what_is_short_is_none(text: str) -> None:
    assert not loops.looping(text)


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        "# " + "-" * 300 + "\n",
        "[" + ", ".join(["0"] * 150) + "]",
        "| a | b |\n" * 40,
        PROSE[:700] * 2,
        "".join(random.Random(1).choices("ab", k=3000)),
    ],
    ids=("prose", "rule", "zeros", "table", "twice", "two letters"),
)
def test_what_repeats_a_little_is_none(text: str) -> None:
    assert not loops.looping(text)


def client_that(pieces: Iterator[str], closed: list[bool]) -> Any:
    def answer(messages: list[Any], **asked: Any) -> Iterator[Delta]:
        try:
            for piece in pieces:
                yield Delta(piece)
            yield Delta("", "stop", {"completion_tokens": 3})
        finally:
            closed.append(True)

    return SimpleNamespace(chat=answer)


def test_the_request_is_cancelled_and_what_came_is_kept() -> None:
    closed: list[bool] = []
    endless = repeat("This is the same again. ")
    deltas = list(chat.stream(client_that(endless, closed), PROMPT, chat.Options()))
    assert deltas[-1] == Delta("", chat.REPETITION)
    assert 600 <= len("".join(delta.text for delta in deltas)) < 1000
    assert closed == [True]


def test_an_answer_without_a_loop_comes_whole() -> None:
    lines = iter(PROSE.splitlines(keepends=True))
    *deltas, last = chat.stream(client_that(lines, []), PROMPT, chat.Options())
    assert "".join(delta.text for delta in deltas) == PROSE
    assert (last.finish_reason, last.details) == ("stop", {"completion_tokens": 3})
