"""Lines that are typed, pasted or piped in."""

import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.plain import lines
from tui.plain.lines import End, Line, Lines, Pasted, Read, Unreadable


@dataclass
class Typing:
    """The other end of a pipe that lines are read from."""

    descriptor: int
    came: "queue.SimpleQueue[Read]"

    def type(self, data: bytes) -> None:
        os.write(self.descriptor, data)

    def next(self) -> Read:
        return self.came.get(timeout=60)


@pytest.fixture
def typing() -> Iterator[Typing]:
    """As by a person at a terminal."""
    read, write = os.pipe()
    typed = Typing(write, queue.SimpleQueue())
    Lines(read, typed.came.put, terminal=True).start()
    yield typed
    os.close(write)
    while typed.next() != End():
        pass
    os.close(read)


def all_read(data: bytes, terminal: bool = False) -> list[Read]:
    """What is made of a pipe that holds `data` and has ended."""
    read, write = os.pipe()
    came: list[Read] = []
    ended = threading.Event()

    def post(one: Read) -> None:
        came.append(one)
        if isinstance(one, Line):
            reader.taken()
        if isinstance(one, End):
            ended.set()

    reader = Lines(read, post, terminal)
    reader.start()
    with os.fdopen(write, "wb") as file:
        file.write(data)
    assert ended.wait(60)
    os.close(read)
    return came


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\\")), max_size=8))
def test_each_line_of_a_pipe_is_one(texts: list[str]):
    data = "".join(text + "\n" for text in texts).encode()
    assert all_read(data) == [*(Line(text) for text in texts), End()]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", [End()]),
        (b"no end", [Line("no end"), End()]),
        (b"one \\\ntwo\nthree", [Line("one \ntwo"), Line("three"), End()]),
        (b"open \\", [Line("open "), End()]),
        (b"dos\r\n", [Line("dos"), End()]),
        (b"\xff\nfine\n", [Unreadable("this line is not UTF-8 text; it is passed over"), Line("fine"), End()]),
    ],
)
def test_what_belongs_together(data: bytes, expected: list[Read]):
    assert all_read(data) == expected


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lines, "LONGEST", 100_000)
    refused, end = all_read(b"x" * 150_000)
    assert isinstance(refused, Unreadable)
    assert end == End()


def test_more_lines_than_are_read_ahead_all_come():
    assert len(all_read(b"x\n" * 5_000)) == 5_001


def test_a_paste_is_one_text_that_an_empty_line_sends(typing: Typing):
    typing.type(b"Traceback:\n\n  File x \\\n")
    assert typing.next() == Pasted(3)
    time.sleep(0.2)
    assert typing.came.empty(), "nothing is sent by itself"
    typing.type(b"\n")
    assert typing.next() == Line("Traceback:\n\n  File x \\")


def test_a_typed_line_is_sent_at_once(typing: Typing):
    typing.type(b"hello\n")
    assert typing.next() == Line("hello")
    typing.type(b"first \\\n")
    time.sleep(0.2)
    typing.type(b"second\n")
    assert typing.next() == Line("first \nsecond")
