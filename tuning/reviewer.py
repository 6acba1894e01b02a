"""What makes a tuned adapter a reviewer: how what it would write is turned into probabilities, and from which one on a
line is called wrong. Measured after training on changes of validation files, kept beside the adapter as
`reviewer.json`.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from assistant import atomic
from assistant.review_calibration import LineCalibration, Sigmoid, places, prior
from assistant.review_prompt import Hunk
from assistant.review_rewriting import log_odds
from tuning import calibration
from tuning.corpus.assemble import Corpus
from tuning.examples import review
from tuning.examples.make import taught_operators
from tuning.examples.review import Review
from tuning.examples.rewritten import ask
from tuning.plan import Plan

if TYPE_CHECKING:
    from tuning.data import Data

FILE = "reviewer.json"
SCHEMA_VERSION = 3
FORMULATION = "rewriting"
CHANGES = 240
"""Read for the calibration, half of them clean: at 0.1 false alarms a change their count has an error of 0.03."""
LEAST = 40
"""With fewer the threshold would be a guess."""
MOST_ALARMS = 0.1
"""False alarms per clean change at the threshold; what developers are told of noisy reviewers is ten times that."""
_PER_FILE = 8
_TIMES = 4
"""That a file is gone through, each time with other bugs: of a corpus with few validation files, one time gives a
threshold that a handful of clean changes decide."""

Read = Callable[[Sequence[int], Sequence[tuple[int, int]]], list[list[float]]]
"""Natural log-probabilities of the tokens of each span."""


@dataclass(frozen=True)
class Scored:
    """One change with what the model says of its changed lines."""

    hunk: Hunk
    scores: tuple[float, ...]
    """Log odds that another line belongs there, by `hunk.changed`; minus infinity for one that is not judged."""
    bug: int | None
    """Index in `scores` of the first wrong line; None for a clean change."""

    @property
    def asked(self) -> list[int]:
        """Indices in `scores` of the lines that are judged. None below the wrong one: what a wrong line has spoilt
        there is nobody's to tell."""
        until = self.scores if self.bug is None else self.scores[: self.bug + 1]
        return [at for at, value in enumerate(until) if math.isfinite(value)]


@dataclass(frozen=True)
class Calibrated:
    """What `assistant.skills.review.verdicts.read_reviewer` reads. A line is called wrong from `threshold` on."""

    formulation: str
    threshold: float
    precision: float
    """Of the lines that are called wrong in the validation changes, half of which are clean; 0 where none is."""
    calibration: LineCalibration
    validation: dict[str, float | int | None]

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        return {"schema_version": SCHEMA_VERSION, **data.pop("calibration"), **data}

    def describe(self) -> str:
        """One line."""
        found = self.validation
        return (
            f"a line is called wrong from probability {self.threshold:.3f} on: "
            f"{found['false_alarms_per_clean_change']:.2f} false alarms a clean change, "
            f"{found['recall']:.0%} of the bugs found at their line ({found['changes']} validation changes, "
            f"AUC {found['auc_change']:.2f})"
        )


def validation_changes(corpus: Corpus, operators: Collection[str], seed: int, most: int = CHANGES) -> list[Review]:
    """At most `most` changes of validation files, as long as the ones that are reviewed, half of them clean, no more of
    one file than of another as far as they go, and no change twice.

    Args:
        operators: those that seeded the bugs of the training.
    """
    documents = list(corpus.documents("validation"))
    Random(f"{seed}/calibration").shuffle(documents)
    found: dict[Hunk, Review] = {}
    for again in range(_TIMES):
        by_file: list[list[Review]] = []
        for document in documents:
            generator = Random(f"{seed}/calibration/{document.key}" + (f"/{again}" if again else ""))
            by_file.append(
                list(review.reviews(document.path, document.text, document.language, generator, operators, _PER_FILE))
            )
        turns = max(map(len, by_file), default=0)
        for one in (file[turn] for turn in range(turns) for file in by_file if turn < len(file)):
            found.setdefault(one.hunk, one)
        if len(found) >= most:
            break
    return list(found.values())[:most]


def score(changes: Sequence[Review], read: Read, tokenizer: Any, end_token: int, most_tokens: int) -> list[Scored]:
    """Those of more than `most_tokens` are left out, as in training."""
    found = []
    for change in changes:
        asked = ask(change.hunk, tokenizer, end_token)
        if asked.lines and len(asked.tokens) <= most_tokens:
            scores = log_odds(change.hunk, asked.lines, read(asked.tokens, asked.spans))
            found.append(Scored(change.hunk, scores, first_wrong(change.hunk, change.wrong)))
    return found


def calibrate(
    scored: Sequence[Scored], formulation: str = FORMULATION, most_alarms: float = MOST_ALARMS
) -> Calibrated | None:
    """None where there are too few changes to tell, or where higher scores do not go with wrong lines: no threshold
    makes a reviewer of such a model."""
    clean = [one for one in scored if one.bug is None]
    wrong = [one for one in scored if one.bug is not None]
    if min(len(clean), len(wrong)) < LEAST // 2:
        return None
    fitted = _fitted(scored)
    if max(fitted.added.slope, fitted.replaced.slope) <= 0:
        return None
    stated = [(one.bug, fitted.probabilities(one.hunk, one.scores)) for one in scored]
    lines = [(values[at], at == one.bug) for one, (_, values) in zip(scored, stated, strict=True) for at in one.asked]
    threshold = calibration.threshold([values for bug, values in stated if bug is None], most_alarms)
    called = [(bug, sum(value >= threshold for value in values)) for bug, values in stated]
    alarms = sum(count for bug, count in called if bug is None)
    hits = sum(values[bug] >= threshold for bug, values in stated if bug is not None)
    claims = sum(count for _, count in called)
    tops = sum(max(range(len(values)), key=values.__getitem__) == bug for bug, values in stated if bug is not None)
    any_wrong = [1 - math.prod(1 - value for value in values) for _, values in stated]
    return Calibrated(
        formulation=formulation,
        threshold=threshold,
        precision=hits / claims if claims else 0.0,
        calibration=fitted,
        validation={
            "changes": len(scored),
            "clean_changes": len(clean),
            "lines": len(lines),
            "auc_change": calibration.area(any_wrong, [one.bug is not None for one in scored]),
            "auc_line": calibration.area([value for value, _ in lines], [held for _, held in lines]),
            "top_line": tops / len(wrong),
            "recall": hits / len(wrong),
            "false_alarms_per_clean_change": alarms / len(clean),
            "most_false_alarms": most_alarms,
        },
    )


def _fitted(scored: Sequence[Scored]) -> LineCalibration:
    asked = []
    for one in scored:
        known, known_places = prior(one.scores), places(one.hunk)
        asked += [(known_places[at], one.scores[at], at == one.bug, known) for at in one.asked]
    right = [(place.log_length, value) for place, value, wrong, _ in asked if not wrong]
    usual, per_log_length = calibration.line([length for length, _ in right], [value for _, value in right])
    plain = LineCalibration(usual, per_log_length, Sigmoid(1, 0), Sigmoid(1, 0))
    added, replaced = calibration.fit(
        [plain.surplus(place, value) for place, value, _, _ in asked],
        [wrong for _, _, wrong, _ in asked],
        [known for _, _, _, known in asked],
        [place.replaces for place, _, _, _ in asked],
    )
    # Of a kind whose scores tell nothing, each line is as suspect as another.
    kept = (Sigmoid(max(one.slope, 0.0), one.intercept) for one in (added, replaced))
    return LineCalibration(usual, per_log_length, *kept)


def measure(model: Any, data: "Data", tokenizer: Any, plan: Plan) -> Calibrated | None:
    """The reviewer that a trained model is; None where the validation files have too few changes to tell.

    Args:
        model: a peft model with packed attention.
    """
    from tuning.model.likelihoods import reader

    changes = validation_changes(data.corpus, taught_operators(plan.examples), plan.seed)
    return calibrate(score(changes, reader(model), tokenizer, data.end_token, plan.row_length))


def write(folder: Path, reviewer: Calibrated) -> None:
    """
    Raises:
        OSError: the disk is full.
    """
    atomic.write_json(folder / FILE, reviewer.to_json())


def first_wrong(hunk: Hunk, wrong: Sequence[int]) -> int | None:
    """The place of the first wrong line among the changed ones."""
    return next((at for at, index in enumerate(hunk.changed) if index in wrong), None)
