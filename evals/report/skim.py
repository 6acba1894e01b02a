"""A report file of any size, read without its samples; these are read one at a time when they are asked for."""

import json
import os
import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from evals.errors import HarnessError
from evals.report.schema import Report, from_json

_CHUNK = 1 << 20
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]"]', re.DOTALL)
"""A text, a bracket, or the quotation mark of a text that does not end yet."""
_DEEPEST = 200
_FIRST = 200
"""After so many samples the items are told for the first time."""


class StoppedError(Exception):
    """The reader wants it no more."""


@dataclass(frozen=True)
class Span:
    """Where a sample stands in the file."""

    start: int
    end: int


@dataclass(frozen=True)
class Answer:
    """The verdict on one model's answer; the rest is read by its span."""

    span: Span
    value: float
    error: str | None

    @property
    def is_right(self) -> bool:
        return self.error is None


@dataclass(frozen=True)
class Place:
    """An item, asked for the same time by every model."""

    item: str
    attempt: int
    answers: tuple[Answer | None, ...]
    """Of each model of the task, in its order; None: not measured."""


class ReportFile:
    """A report on disk, held open: one that is replaced meanwhile is read on as it was."""

    def __init__(self, path: Path, stopped: Callable[[], bool] = lambda: False) -> None:
        """
        Raises:
            HarnessError: there is none, or it is something else.
            StoppedError: `stopped` said so.
        """
        self.path = path
        try:
            self._file: BinaryIO = open(path, "rb", buffering=0)  # noqa: SIM115
            try:
                skimmed = _Skimmer(stopped)
                while chunk := self._file.read(_CHUNK):
                    skimmed.feed(chunk)
                skimmed.end()
                self.report: Report = from_json(bytes(skimmed.head))
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise HarnessError(f"cannot read {path}: {error.strerror}") from error
        except HarnessError as error:
            raise HarnessError(f"{path}: {error}") from error
        self.samples = tuple(map(tuple, skimmed.spans))
        """Of each task."""
        # Several screens and threads may hold it; the last one closes it.
        weakref.finalize(self, self._file.close)

    def row(self, span: Span) -> dict[str, Any]:
        """A row as `samples.jsonl` has it.

        Raises:
            HarnessError: the file was changed in its place.
        """
        try:
            data = os.pread(self._file.fileno(), span.end - span.start, span.start)
            found = json.loads(data.decode("utf-8", "replace"))
        except (OSError, ValueError) as error:
            raise HarnessError(f"{self.path} was changed while it was read; open it again") from error
        if not isinstance(found, dict):
            raise HarnessError(f"{self.path} was changed while it was read; open it again")
        return found

    def places(self, task: int) -> Iterator[list[Place]]:
        """All items of a task as far as they are read, now and then (each time twice as many samples) and at the end;
        in the order of the file.

        Raises:
            HarnessError: a sample is damaged, or is of a model that the report does not know.
        """
        names = [str(model.facts["name"]) for model in self.report.tasks[task].models]
        numbers = {name: number for number, name in enumerate(names)}
        found: dict[tuple[str, int], list[Answer | None]] = {}
        due = _FIRST
        for count, span in enumerate(self.samples[task], 1):
            row = self.row(span)
            try:
                place = str(row["item"]), int(row["attempt"])
                verdict = row["verdict"]
                error = None if verdict["error"] is None else str(verdict["error"])
                answer = Answer(span, float(verdict["value"]), error)
                found.setdefault(place, [None] * len(names))[numbers[row["name"]]] = answer
            except (KeyError, TypeError, ValueError) as problem:
                raise HarnessError(f"{self.path}: sample {count} is none that an evaluation wrote") from problem
            if count == due:
                due *= 2
                yield _places(found)
        yield _places(found)


def prompt_of(ask: Mapping[str, Any]) -> str:
    """What a model was shown; empty where only its digest was kept. `prompt_title` says in which form."""
    if ask.get("rendered"):
        return str(ask["rendered"]["prompt"])
    if ask.get("messages"):
        return "\n\n".join(f"{message['role']}: {message['content']}" for message in ask["messages"])
    return ask.get("prompt") or ""


def prompt_title(ask: Mapping[str, Any]) -> str:
    """Who wrote out what `prompt_of` gives."""
    if not ask.get("messages"):
        return "prompt"
    if ask.get("rendered"):
        return "prompt, rendered by the model's chat template"
    # What an earlier version kept does not tell.
    return "messages, rendered by the server" if "rendered" in ask else "messages"


def _places(found: Mapping[tuple[str, int], list[Answer | None]]) -> list[Place]:
    return [Place(item, attempt, tuple(answers)) for (item, attempt), answers in found.items()]


class _Skimmer:
    """Takes JSON piece by piece; keeps all but each task's `samples` and `details`, and where samples are.

    The key of an object or a list is the text before it: that is all of the grammar that it needs. Whether the rest is
    JSON at all is seen when it is parsed.
    """

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self.head = bytearray()
        self.spans: list[list[Span]] = []
        self._stopped = stopped
        self._left = b""
        self._at = 0
        """Where `_left` stands in the file."""
        self._depth = 0
        self._key = b""
        """The last text at the depth of the report's or of a task's own fields."""
        self._in_tasks = False
        self._cut = b""
        """The key of what is left out now."""
        self._start = 0

    def feed(self, chunk: bytes) -> None:
        if self._stopped():
            raise StoppedError
        data = self._left + chunk
        kept, rest = 0, len(data)
        """Where what is to be kept begins, and how far the data is understood."""
        for token in _TOKEN.finditer(data):
            begin, done = token.span()
            kind = data[begin : begin + 1]
            if token.group() == b'"':
                rest = begin
                break
            if kind == b'"':
                if self._depth in (1, 3):
                    self._key = token.group() if done - begin < 16 else b""
            elif kind in b"{[":
                if self._opened(kind, self._at + begin):
                    # A list stays, without what is in it.
                    self.head += data[kept:done] if kind == b"[" else data[kept:begin]
            elif self._closed(self._at + done):
                kept = begin if kind == b"]" else done
                self.head += b"null" if kind == b"}" else b""
        if not self._cut:
            self.head += data[kept:rest]
        self._left = data[rest:]
        self._at += rest

    def end(self) -> None:
        self.head += b"" if self._cut else self._left

    def _opened(self, kind: bytes, at: int) -> bool:
        """True where what is left out begins."""
        begins = False
        if self._depth == 1:
            self._in_tasks = kind == b"[" and self._key == b'"tasks"'
        elif self._in_tasks and not self._cut:
            if self._depth == 2:
                self.spans.append([])
            elif self._depth == 3 and (kind, self._key) in ((b"[", b'"samples"'), (b"{", b'"details"')):
                self._cut, begins = self._key, True
        elif self._cut == b'"samples"' and self._depth == 4:
            self._start = at
        self._depth += 1
        if self._depth > _DEEPEST:
            raise HarnessError("this is no report: it is nested too deeply")
        return begins

    def _closed(self, at: int) -> bool:
        """True where what is left out ends."""
        self._depth -= 1
        if self._cut == b'"samples"' and self._depth == 4:
            self.spans[-1].append(Span(self._start, at))
        if self._depth == 3 and self._cut:
            self._cut = b""
            return True
        return False
