"""Tokenized examples in memory-mapped files, and the rows that they are packed into: a corpus of any size trains in
the memory of one step."""

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np

from tuning.examples.pack import Row, pack_lengths
from tuning.examples.plain import Example

TOKENS = "tokens.bin"
SPANS = "spans.bin"
EXAMPLES = "examples.npy"
ROWS = "rows.npy"
ROW_STARTS = "row_starts.npy"
KINDS = "kinds.json"

_TOKEN = np.dtype("<i4")
_INDEX = np.dtype("<i8")


@dataclass(frozen=True)
class Kept:
    """An example as the files have it, which is small to send from the process that made it."""

    kind: str
    repeats: int
    """How often it is packed; its tokens are stored once."""
    tokens: bytes
    spans: bytes
    """Those that are learnt."""
    text_bytes: int


def kept(example: Example, kind: str, repeats: int = 1) -> Kept:
    tokens, spans = np.asarray(example.tokens, _TOKEN), np.asarray(example.supervised, _TOKEN)
    return Kept(kind, repeats, tokens.tobytes(), spans.tobytes(), example.text_bytes)


class RowsWriter:
    """Takes examples one at a time; `pack` lays them into rows. Nothing but lengths and offsets is kept in memory."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._tokens = (folder / TOKENS).open("wb")
        self._spans = (folder / SPANS).open("wb")
        # First token, first span and bytes of text of each example, flat.
        self._entries = array("q")
        self._order = array("q")
        self._kinds: Counter[str] = Counter()
        self._next = (0, 0)

    def __enter__(self) -> "RowsWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tokens.close()
        self._spans.close()

    def add(self, example: Kept) -> None:
        """Keeps an example."""
        token, span = self._next
        self._kinds[example.kind] += example.repeats
        self._order.extend([len(self._entries) // 3] * example.repeats)
        self._entries.extend((token, span, example.text_bytes))
        self._tokens.write(example.tokens)
        self._spans.write(example.spans)
        size = _TOKEN.itemsize
        self._next = (token + len(example.tokens) // size, span + len(example.spans) // (2 * size))

    def pack(self, row_length: int) -> None:
        """Writes which examples each row of at most `row_length` tokens holds.

        Raises:
            ValueError: an example is longer than `row_length`.
        """
        self._tokens.flush()
        self._spans.flush()
        self._entries.extend((*self._next, 0))
        entries = np.frombuffer(self._entries, _INDEX).reshape(-1, 3)
        order = np.frombuffer(self._order, _INDEX)
        rows = pack_lengths(np.diff(entries[:, 0])[order], row_length)
        np.save(self._folder / EXAMPLES, entries)
        np.save(self._folder / ROWS, order[[at for row in rows for at in row]] if rows else order)
        np.save(self._folder / ROW_STARTS, np.cumsum([0, *map(len, rows)], dtype=_INDEX))
        (self._folder / KINDS).write_text(json.dumps(dict(self._kinds.most_common())), "utf-8")


class Rows(Sequence[Row]):
    """The packed rows of a folder, read from disk when asked for."""

    def __init__(self, folder: Path) -> None:
        self._tokens = _mapped(folder / TOKENS)
        self._spans = _mapped(folder / SPANS).reshape(-1, 2)
        self._entries = np.load(folder / EXAMPLES, mmap_mode="r")
        self._rows = np.load(folder / ROWS, mmap_mode="r")
        self._starts = np.load(folder / ROW_STARTS, mmap_mode="r")
        self.kinds: dict[str, int] = json.loads((folder / KINDS).read_text("utf-8"))
        """Examples of each kind, repeats counted."""

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        first, last = self._starts[index % len(self)], self._starts[index % len(self) + 1]
        return tuple(self.example(int(at)) for at in self._rows[first:last])

    def __iter__(self) -> Iterator[Row]:
        return (self[at] for at in range(len(self)))

    @property
    def examples(self) -> int:
        return len(self._entries) - 1

    @property
    def tokens(self) -> int:
        """Tokens of one pass over the rows, repeats counted."""
        return int(np.diff(self._entries[:, 0])[self._rows].sum())

    @property
    def supervised(self) -> int:
        """Tokens of one pass that are learnt, repeats counted."""
        lengths = np.concatenate([[0], np.cumsum(np.diff(self._spans, axis=1)[:, 0])])
        per_example = np.diff(lengths[self._entries[:, 1]])
        return int(per_example[self._rows].sum())

    def example(self, index: int) -> Example:
        (token, span, text_bytes), (token_end, span_end, _) = self._entries[index], self._entries[index + 1]
        return Example(
            tokens=tuple(self._tokens[token:token_end].tolist()),
            supervised=tuple((first, last) for first, last in self._spans[span:span_end].tolist()),
            text_bytes=int(text_bytes),
        )


def _mapped(file: Path) -> Any:
    # An empty file cannot be mapped.
    return np.memmap(file, _TOKEN, "r") if file.stat().st_size else np.zeros(0, _TOKEN)
