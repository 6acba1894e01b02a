"""What answers are like, by day, model and use: counts in SQLite, and never a text.

For `hone models health`. Several gateways may count at once.
"""

import asyncio
import math
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from assistant import paths
from assistant.errors import HoneError
from assistant.feedback_events import Source
from assistant.network_disks import journal_mode

_BUSY_SECONDS = 30
_STEPS = 4
"""Of a histogram, to the factor two: a bucket is 19 % wide."""
_LOOKED_AT = 8000
"""Characters of an answer."""
_REPEATED = 0.5
_LEAST_GRAMS = 16
_SCHEMA = """
CREATE TABLE IF NOT EXISTS counts (
    day TEXT NOT NULL,       -- UTC, ISO 8601
    model TEXT NOT NULL,     -- immutable name
    source TEXT NOT NULL,    -- chat or complete
    measure TEXT NOT NULL,   -- answers, refused, repeating, cut; seconds, tokens
    bucket INTEGER NOT NULL, -- of seconds and tokens: 4 log2 of the value, rounded down; else 0
    count INTEGER NOT NULL,
    PRIMARY KEY (day, model, source, measure, bucket)
) WITHOUT ROWID;
"""
# The openings by which Zou et al. 2023 (arXiv 2307.15043, table of refusals) tell that a model refuses.
_REFUSAL = re.compile(
    r"\s*(?:i'?m (?:really |very |so )?sorry|sorry,|i apologi[sz]e|my apologies|as an ai\b|i'?m just an|"
    r"i (?:can(?:no|')?t|am not able to|am unable to|'m not able to|'m unable to|won't|will not)\b)",
    re.IGNORECASE,
)

Key = tuple[str, str, str, str, int]
"""Day, model, source, measure, bucket."""


@dataclass(frozen=True)
class Counted:
    """The answers of some days.

    Args:
        seconds, tokens: medians, to the width of a bucket; None without any.
    """

    answers: int = 0
    refused: int = 0
    repeating: int = 0
    cut: int = 0
    """They ended at their token limit."""
    seconds: float | None = None
    tokens: float | None = None


def refuses(text: str) -> bool:
    """Whether a chat answer begins as a refusal does."""
    return _REFUSAL.match(text.replace("\u2019", "'")) is not None


def repeats(text: str) -> bool:
    """Whether the answer goes round in circles: more than half of its word 4-grams came before in it (seq-rep-4 of
    Welleck et al. 2019, arXiv 1908.04319)."""
    words = text[:_LOOKED_AT].split()
    grams = [tuple(words[start : start + 4]) for start in range(len(words) - 3)]
    return len(grams) >= _LEAST_GRAMS and 1 - len(set(grams)) / len(grams) > _REPEATED


def measured(
    model: str, source: Source, texts: Sequence[str], seconds: float, tokens: int | None, cut: int
) -> Counter[Key]:
    """What one request adds.

    Args:
        texts: of its answers.
        seconds: from the request to the end.
        tokens: of all answers together; None when the server did not say.
        cut: how many answers ended at the token limit.
    """
    day = datetime.now(UTC).date().isoformat()
    counts: Counter[Key] = Counter()

    def add(measure: str, count: int, bucket: int = 0) -> None:
        if count:
            counts[day, model, source, measure, bucket] += count

    add("answers", len(texts))
    add("refused", sum(source == "chat" and refuses(text) for text in texts))
    add("repeating", sum(repeats(text) for text in texts))
    add("cut", cut)
    add("seconds", 1, _bucket(seconds))
    if tokens is not None and texts:
        add("tokens", 1, _bucket(tokens / len(texts)))
    return counts


def _bucket(value: float) -> int:
    return math.floor(_STEPS * math.log2(max(value, 1e-3)))


class AnswerCounts:
    """The counts in one file.

    Args:
        file: None is the one of the state folder.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file or paths.home() / "answers.sqlite"

    def add(self, counts: Counter[Key]) -> None:
        """
        Raises:
            HoneError: the file cannot be written.
        """
        rows = [(*key, count) for key, count in counts.items()]
        try:
            with closing(self._open()) as connection, connection:
                connection.executemany(
                    "INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT DO UPDATE SET count = count + excluded.count",
                    rows,
                )
        except sqlite3.Error as error:
            raise HoneError(f"cannot count answers in {self.file}: {error}") from error

    def read(self, model: str, first: date, last: date) -> Counted:
        """What is counted for a model from the first day to the last one, both included.

        Raises:
            HoneError: the file cannot be read.
        """
        if not self.file.exists():
            return Counted()
        try:
            with closing(self._open()) as connection:
                rows = connection.execute(
                    "SELECT measure, bucket, SUM(count) FROM counts WHERE model = ? AND day BETWEEN ? AND ?"
                    " GROUP BY measure, bucket ORDER BY bucket",
                    (model, first.isoformat(), last.isoformat()),
                ).fetchall()
        except sqlite3.Error as error:
            raise HoneError(f"cannot read {self.file}: {error}") from error
        sums: Counter[str] = Counter()
        for measure, _, count in rows:
            sums[measure] += count
        return Counted(
            sums["answers"],
            sums["refused"],
            sums["repeating"],
            sums["cut"],
            _median([(bucket, count) for measure, bucket, count in rows if measure == "seconds"]),
            _median([(bucket, count) for measure, bucket, count in rows if measure == "tokens"]),
        )

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, timeout=_BUSY_SECONDS)
        try:
            # Fails at once, without waiting, where it is to be changed while another process is here.
            with suppress(sqlite3.OperationalError):
                connection.execute(f"PRAGMA journal_mode = {journal_mode(self.file.parent)}")
            # What a crash of the machine may take is the last few answers' counts.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection


def _median(histogram: Iterable[tuple[int, int]]) -> float | None:
    """The middle of the bucket that holds it."""
    ordered = list(histogram)
    half = sum(count for _, count in ordered) / 2
    seen = 0
    for bucket, count in ordered:
        seen += count
        if seen >= half:
            return float(2 ** ((bucket + 0.5) / _STEPS))
    return None


class Recorder:
    """Writes what a gateway counts, in another thread, many answers at a time when there are many. Belongs to one event
    loop."""

    def __init__(self, kept: AnswerCounts) -> None:
        self._kept = kept
        self._waiting: Counter[Key] = Counter()
        self._writing: asyncio.Task[None] | None = None

    def add(self, counts: Counter[Key]) -> None:
        self._waiting += counts
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._waiting:
            counts, self._waiting = self._waiting, Counter()
            try:
                await asyncio.to_thread(self._kept.add, counts)
            except HoneError as error:
                # Answers do not fail for their statistics.
                print(f"hone: {error}", file=sys.stderr)  # noqa: T201
