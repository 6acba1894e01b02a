"""The reviewer that writes nothing: the probability that each changed line is wrong, read from the logits of one pass
(`assistant.review_rewriting`), and how far it can be believed.

A bug is asked for at its first wrong line; the lines below that are not counted.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from assistant.review_calibration import RAW, LineCalibration
from assistant.review_rewriting import log_odds
from evals import statistics
from evals.report.schema import Calibration, Figure
from evals.tasks.review_data import Case
from evals.tasks.review_metrics import calibration, ranking
from tuning.examples import rewritten

VERSION = "review-scores@3"
MAX_TOKENS = 2048
"""Twice the row that training cuts a hunk to."""


class Scorer(Protocol):
    def score_spans(self, token_ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[list[float]]:
        """Natural log-probabilities of the tokens of half-open spans, each given all tokens before it."""


@dataclass(frozen=True)
class Scored:
    """One hunk with the probability of each of its changed lines."""

    case: Case
    wrong: tuple[float, ...]
    """That the line is wrong, by `case.hunk.changed`; 0 for a line that is not judged."""

    @property
    def any_wrong(self) -> float:
        return 1 - math.prod(1 - one for one in self.wrong)

    @property
    def first_bug(self) -> int | None:
        """Index in `wrong` of the first wrong line; None in a clean hunk, or where the bug is in no changed line."""
        lines = [self.case.hunk.lines[index] for index in self.case.hunk.changed]
        inside = [
            (line.marker, index)
            for index, line in enumerate(lines)
            if any(bug.line <= line.number <= bug.last for bug in self.case.bugs)
        ]
        # A removed line has the number of the new line below it: it is meant only where no new line is.
        added = [index for marker, index in inside if marker == "+"]
        return next(iter(added or [index for _, index in inside]), None)


def score(
    case: Case, scorer: Scorer, tokenizer: Any, end_token: int, most_tokens: int, calibrated: LineCalibration = RAW
) -> Scored | None:
    """None for a hunk of more than `most_tokens`, and for one that has no line to judge.

    Args:
        calibrated: how the model's log odds become probabilities.
    """
    asked = rewritten.ask(case.hunk, tokenizer, end_token)
    if not asked.lines or len(asked.tokens) > most_tokens:
        return None
    odds = log_odds(case.hunk, asked.lines, scorer.score_spans(asked.tokens, asked.spans))
    return Scored(case, calibrated.probabilities(case.hunk, odds))


def read(
    cases: Sequence[Case],
    folder: Path,
    adapter: Path | None = None,
    most_tokens: int = MAX_TOKENS,
    calibrated: LineCalibration = RAW,
    done: Callable[[], None] = lambda: None,
) -> list[Scored]:
    """Each hunk's probabilities by a base's tuning form in fp32; hunks that `score` gives nothing for are left out.

    Args:
        calibrated: as for `score`.
        done: called after each hunk.

    Raises:
        HoneError: the model cannot be loaded.
    """
    from evals import bits

    loaded, tokenizer, end_token = bits.load(folder, adapter)
    scorer: Any = loaded
    found = []
    for case in cases:
        one = score(case, scorer, tokenizer, end_token, most_tokens, calibrated)
        found += [one] if one is not None else []
        done()
    return found


def claims(scored: Sequence[Scored]) -> tuple[list[tuple[float, bool]], list[tuple[float, bool]]]:
    """(stated probability, what is so) of the lines, and of the hunks as a whole."""
    lines: list[tuple[float, bool]] = []
    hunks: list[tuple[float, bool]] = []
    for one in scored:
        hunks.append((min(one.any_wrong, 1.0), bool(one.case.bugs)))
        if one.case.bugs and one.first_bug is None:
            continue
        asked = one.wrong if one.first_bug is None else one.wrong[: one.first_bug + 1]
        lines += [(stated, index == one.first_bug) for index, stated in enumerate(asked)]
    return lines, hunks


def figures(scored: Sequence[Scored], seed: int) -> tuple[dict[str, Figure], Calibration | None]:
    """The figures by name, and the calibration of the lines.

    Raises:
        ValueError: nothing was scored.
    """
    if not scored:
        raise ValueError("no hunk was scored")
    lines, hunks = claims(scored)
    found = {}
    for name, pairs in (("AUC, change wrong or clean", hunks), ("AUC, line wrong or fine", lines)):
        area = ranking(pairs)
        if area is not None and pairs is hunks:
            low, high = _interval(area, pairs)
            found[name] = Figure(area, low, high, len(pairs), "", "higher", "Mann and Whitney; Hanley and McNeil")
        elif area is not None:
            found[name] = Figure(area, None, None, len(pairs), "", "higher", "Mann and Whitney, no interval")
    groups: dict[str, list[bool]] = defaultdict(list)
    for one in scored:
        if one.first_bug is not None:
            groups[one.case.group].append(max(range(len(one.wrong)), key=one.wrong.__getitem__) == one.first_bug)
    if groups:
        right, asked = [float(sum(held)) for held in groups.values()], [float(len(held)) for held in groups.values()]
        estimate = statistics.ratio(right, asked, seed)
        found["top line is the bug"] = Figure(
            estimate.value,
            estimate.low,
            estimate.high,
            int(sum(asked)),
            "share",
            "higher",
            f"bootstrap over {len(groups)} groups of changes",
        )
    made = calibration(lines)
    if made is not None:
        found["calibration error"] = Figure(
            made.expected_error, None, None, len(lines), "", "lower", "10 bins of equal width, no interval"
        )
    return found, made


def _interval(area: float, pairs: Sequence[tuple[float, bool]]) -> tuple[float, float]:
    """The 95 % interval of an area under the ROC curve of independent pairs (Hanley and McNeil 1982)."""
    happened = sum(one for _, one in pairs)
    other = len(pairs) - happened
    both, neither = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (happened - 1) * (both - area**2) + (other - 1) * (neither - area**2)
    error = 1.959964 * math.sqrt(max(variance, 0.0) / (happened * other))
    return max(area - error, 0.0), min(area + error, 1.0)
