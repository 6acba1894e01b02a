"""The model's evidence: the probability that a changed line is wrong, by how likely it is to be written again."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from assistant.errors import HoneError
from assistant.review_calibration import LineCalibration, Sigmoid
from assistant.review_prompt import Hunk
from assistant.review_rewriting import log_odds, rewriting

FILE = "reviewer.json"
SCHEMA_VERSION = 3
FORMULATION = "rewriting"
_REQUIRED = (
    *("schema_version", "formulation", "threshold", "precision"),
    *("usual", "per_log_length", "added", "replaced", "validation"),
)


class Reader(Protocol):
    """What reads the logits; `assistant.client.Client` does, through the gateway."""

    def likelihoods(self, texts: Sequence[str], answers: Sequence[str], model: str | None = None) -> list[list[float]]:
        """For each answer, the natural log-probabilities of its tokens. The texts and the answers behind them follow
        each other in one context."""


@dataclass(frozen=True)
class Reviewer:
    """What an adapter that was tuned to review says of itself: from which probability on a line is a finding."""

    threshold: float
    """Of the calibrated probability."""
    precision: float
    """Of the findings at the threshold on the validation set."""
    calibration: LineCalibration
    validation: Mapping[str, Any] = field(default_factory=dict)
    """Figures of the validation set, for the reader."""


def read_reviewer(folder: Path) -> Reviewer | None:
    """What the adapter in `folder` says; None when it is no reviewer (it has no `reviewer.json`).

    Raises:
        HoneError: the file cannot be read, is of another form, or states what cannot be.
    """
    file = folder / FILE
    try:
        data = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HoneError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise HoneError(f"{file} is not valid JSON: {error}; tune the reviewer again") from error
    if not isinstance(data, dict):
        raise HoneError(f"{file} must hold one JSON object; tune the reviewer again")
    if data.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise HoneError(
            f"{file} is of another version of Hone (schema_version {data['schema_version']!r}, this one reads "
            f"{SCHEMA_VERSION}): tune the reviewer again, or name another model"
        )
    missing = [name for name in _REQUIRED if name not in data]
    unknown = [name for name in data if name not in _REQUIRED]
    if missing or unknown:
        wrong = f"lacks {', '.join(missing)}" if missing else f"has unknown {', '.join(map(repr, unknown))}"
        raise HoneError(f"{file} {wrong}; tune the reviewer again with this version of Hone")
    if data["formulation"] != FORMULATION:
        raise HoneError(
            f"{file} has formulation {data['formulation']!r}; this version of Hone reads {FORMULATION!r}: tune the "
            "reviewer again"
        )
    for name in ("threshold", "precision"):
        if not 0 <= _number(file, name, data[name]) <= 1:
            raise HoneError(f"{file}: {name} must be from 0 to 1, not {data[name]:g}")
    if not isinstance(data["validation"], dict):
        raise HoneError(f"{file}: validation must be an object")
    calibration = LineCalibration(
        _number(file, "usual", data["usual"]),
        _number(file, "per_log_length", data["per_log_length"]),
        _sigmoid(file, "added", data["added"]),
        _sigmoid(file, "replaced", data["replaced"]),
    )
    return Reviewer(float(data["threshold"]), float(data["precision"]), calibration, data["validation"])


def _sigmoid(file: Path, name: str, data: Any) -> Sigmoid:
    if not isinstance(data, dict) or set(data) != {"slope", "intercept"}:
        raise HoneError(f"{file}: {name} must be an object of slope and intercept; tune the reviewer again")
    slope, intercept = (_number(file, f"{name}.{part}", data[part]) for part in ("slope", "intercept"))
    if slope < 0:
        raise HoneError(f"{file}: {name}.slope must not be below 0, as {slope:g} is")
    return Sigmoid(slope, intercept)


def _number(file: Path, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise HoneError(f"{file}: {name} must be a number, not {value!r}")
    return float(value)


@dataclass(frozen=True)
class LineVerdict:
    """What the model thinks of one changed line."""

    index: int
    """In `Hunk.lines`."""
    logit: float
    """Log odds of another line in its place."""
    probability: float
    """Calibrated, that the line is wrong."""


def line_probabilities(
    reader: Reader, hunk: Hunk, reviewer: Reviewer, model: str | None = None
) -> tuple[LineVerdict, ...]:
    """One for each of `hunk.changed` that is judged, in order, from one pass over the hunk.

    Raises:
        HoneError: the hunk does not fit the model's context, or the gateway fails.
    """
    asked = rewriting(hunk)
    if not asked.spans:
        return ()
    odds = log_odds(hunk, asked.asked, reader.likelihoods(asked.texts, asked.answers, model))
    stated = reviewer.calibration.probabilities(hunk, odds)
    return tuple(
        LineVerdict(index, logit, probability)
        for index, logit, probability in zip(hunk.changed, odds, stated, strict=True)
        if math.isfinite(logit)
    )
