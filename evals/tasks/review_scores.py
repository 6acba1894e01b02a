"""The reviewer that writes nothing: the probability that each changed line is wrong, read from the logits of one pass,
and how far it can be believed.

With `ok` put at every line, what is read at a line is the probability that it is the first wrong one
(`assistant.review_prompt`), so lines below the first wrong one are not asked about.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from assistant import review_prompt
from assistant.errors import HoneError
from evals import statistics
from evals.report.schema import Calibration, Figure
from evals.tasks.review_data import Case
from evals.tasks.review_metrics import calibration, ranking
from tuning.examples import encode
from tuning.examples.review import Written, tokenized

VERSION = "review-scores@1"
MAX_TOKENS = 2048
"""Twice the row that training cuts a hunk to."""


class Chooser(Protocol):
    def score_choices(
        self, token_ids: Sequence[int], positions: Sequence[int], choices: Sequence[int]
    ) -> list[list[float]]:
        """Natural log-probabilities of `choices` at some positions, each given all tokens before it."""


@dataclass(frozen=True)
class Scored:
    """One hunk with the probability of each of its changed lines."""

    case: Case
    wrong: tuple[float, ...]
    """That the line is the first wrong one, by `case.hunk.changed`."""

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


def score(case: Case, chooser: Chooser, tokenizer: Any, end_token: int, most_tokens: int) -> Scored | None:
    """None for a hunk of more than `most_tokens`.

    Raises:
        HoneError: the tokens of one verdict are the beginning of the other's.
    """
    text, spans = review_prompt.verdicts(case.hunk)
    example = tokenized(Written(text, spans), tokenizer, end_token)
    if len(example.tokens) > most_tokens:
        return None
    fine, wrong = (encode.continuation(tokenizer, verdict) for verdict in (review_prompt.FINE, review_prompt.WRONG))
    # A tokenizer may write the space that both begin with apart.
    shared = next((index for index, (one, two) in enumerate(zip(fine, wrong, strict=False)) if one != two), None)
    if shared is None:
        raise HoneError("this tokenizer does not tell the verdicts ok and wrong apart, so none can be read")
    positions = [start + shared for start, _ in example.supervised][: len(spans)]
    read = chooser.score_choices(example.tokens, positions, (fine[shared], wrong[shared]))
    # Of the two words alone: a model that was not tuned for it says mostly something else.
    return Scored(case, tuple(1 / (1 + math.exp(min(ok - bad, 700))) for ok, bad in read))


def read(
    cases: Sequence[Case], folder: Path, adapter: Path | None = None, most_tokens: int = MAX_TOKENS
) -> list[Scored]:
    """Each hunk's probabilities by a base's tuning form in fp32; hunks of more than `most_tokens` are left out.

    Raises:
        HoneError: the model cannot be loaded, or its tokenizer does not tell the verdicts apart.
    """
    from evals import bits

    scorer, tokenizer, end_token = bits.load(folder, adapter)
    chooser: Any = scorer
    found = (score(case, chooser, tokenizer, end_token, most_tokens) for case in cases)
    return [one for one in found if one is not None]


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
        if area is not None:
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
