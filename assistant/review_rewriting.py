"""How a reviewer tells wrong lines: each line that was added is written again below the change, as it should be.

Nothing is generated. How likely the line that stands there is to be written again is read from the logits of one pass;
where another one is likelier, the line is suspect. What is learnt is to write the right line below a change that has a
wrong one, so that each token of each line is a lesson (a one-word verdict a line is one in ten of them).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assistant.review_prompt import Hunk, hunk_text

QUESTION = "Write each changed line as it should be.\n"
UNJUDGED = -math.inf
"""The log odds of a removed line that others replace, which are judged in its place."""
_EXACT = 30.0
"""Nats from which log((1 - p) / p) is -log p to a float's last digit."""
_LEAST = 1e-6
"""Nats: the least surprise that rounding tells from none."""


@dataclass(frozen=True)
class Rewriting:
    text: str
    asked: tuple[int, ...]
    """Indices in `Hunk.lines` of the lines that are written again."""
    spans: tuple[tuple[int, int], ...]
    """For each of them the half-open character span of what is written, from the space in front to the line end."""

    @property
    def texts(self) -> tuple[str, ...]:
        """What stands before each of the spans, from the end of the span above."""
        starts = (0, *(end for _, end in self.spans))
        return tuple(self.text[start:end] for start, (end, _) in zip(starts, self.spans, strict=False))

    @property
    def answers(self) -> tuple[str, ...]:
        return tuple(self.text[start:end] for start, end in self.spans)


def rewriting(hunk: Hunk, fixes: Mapping[int, Sequence[str]] | None = None) -> Rewriting:
    """The lines that are asked for are the added ones that are not blank, and the line below what is only removed:
    where what was removed is needed, it belongs above that line.

    Args:
        fixes: by index in `hunk.lines`, what should stand in place of a line; empty where the fix of a line above has
            taken its place too. Other lines are right as they are.
    """
    fixes = fixes or {}
    pieces = [hunk_text(hunk), QUESTION]
    position = sum(map(len, pieces))
    asked, spans = [], []
    for index, line in enumerate(hunk.lines):
        added = line.marker == "+" or (line.marker == " " and index > 0 and hunk.lines[index - 1].marker == "-")
        written = fixes.get(index, (line.text,)) if added and line.text.strip() else ()
        if not written:
            continue
        number = str(line.number)
        # As the change shows it, with its indentation: the tokens are the same, and that may be what is wrong.
        body = "".join(f" {text.rstrip()}\n" for text in written)
        asked.append(index)
        spans.append((position + len(number), position + len(number) + len(body)))
        pieces += [number, body]
        position += len(number) + len(body)
    return Rewriting("".join(pieces), tuple(asked), tuple(spans))


def judge(hunk: Hunk, index: int) -> int | None:
    """The line by which a changed one is judged: itself; for the first of lines that are only removed, the one below.

    Returns:
        An index in `hunk.lines`; None for a removed line that others replace or that follows another one, and where no
        line of code is below.
    """
    if hunk.lines[index].marker != "-":
        return index
    for above in reversed(hunk.lines[:index]):
        if above.marker != "-":
            break
        if above.text.strip():
            return None
    below = next((at for at in range(index + 1, len(hunk.lines)) if hunk.lines[at].marker != "-"), None)
    return below if below is not None and hunk.lines[below].marker == " " and hunk.lines[below].text.strip() else None


def log_odds(hunk: Hunk, asked: Sequence[int], log_probabilities: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """For each of `hunk.changed` the log odds of another line against the one that stands there.

    Args:
        asked: of a `Rewriting` of the hunk.
        log_probabilities: of the tokens of each line that is asked for, natural logarithms.

    Returns:
        log((1 - p) / p); `UNJUDGED` where `judge` gives no line.
    """
    read = {index: _odds(-math.fsum(values)) for index, values in zip(asked, log_probabilities, strict=True)}
    return tuple(UNJUDGED if at is None else read[at] for at in (judge(hunk, index) for index in hunk.changed))


def _odds(surprise: float) -> float:
    return surprise if surprise > _EXACT else math.log(math.expm1(max(surprise, _LEAST)))
