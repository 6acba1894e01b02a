"""The model's evidence: the probability that a changed line is wrong, read from the logits of a one-token answer."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from assistant import review_prompt
from assistant.errors import HoneError
from assistant.review_prompt import Hunk

FILE = "reviewer.json"
SCHEMA_VERSION = 1
FORMULATION = "verdicts"
_REQUIRED = ("schema_version", "formulation", "threshold", "precision", "slope", "intercept", "validation")


class Chooser(Protocol):
    """What reads the logits; `assistant.client.Client` does, through the gateway."""

    def choose(
        self, texts: Sequence[str], choices: Sequence[str], assumed: int = 0, model: str | None = None
    ) -> list[list[float]]:
        """For each text, the natural log-probabilities of `choices` after it, which sum to one over the choices.

        The texts follow each other in one context; after each, `choices[assumed]` is put as the answer given.
        """


@dataclass(frozen=True)
class Reviewer:
    """What an adapter that was tuned to review says of itself: from which probability on a line is a finding."""

    threshold: float
    """Of the calibrated probability."""
    precision: float
    """Of the findings at the threshold on the validation set."""
    slope: float
    intercept: float
    """Calibrated p = sigmoid(slope * logit + intercept), logit = log p(wrong) - log p(ok)."""
    validation: Mapping[str, Any] = field(default_factory=dict)
    """Figures of the validation set, for the reader."""

    def probability(self, logit: float) -> float:
        return _sigmoid(self.slope * logit + self.intercept)


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
    missing = [name for name in _REQUIRED if name not in data]
    unknown = [name for name in data if name not in _REQUIRED]
    if missing or unknown:
        wrong = f"lacks {', '.join(missing)}" if missing else f"has unknown {', '.join(map(repr, unknown))}"
        raise HoneError(f"{file} {wrong}; tune the reviewer again with this version of Hone")
    if data["schema_version"] != SCHEMA_VERSION or data["formulation"] != FORMULATION:
        raise HoneError(
            f"{file} has schema_version {data['schema_version']!r} and formulation {data['formulation']!r}; this "
            f"version of Hone reads {SCHEMA_VERSION} and {FORMULATION!r}: tune the reviewer again"
        )
    numbers = {name: data[name] for name in ("threshold", "precision", "slope", "intercept")}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise HoneError(f"{file}: {name} must be a number, not {value!r}")
    for name in ("threshold", "precision"):
        if not 0 <= numbers[name] <= 1:
            raise HoneError(f"{file}: {name} must be from 0 to 1, not {numbers[name]:g}")
    if numbers["slope"] <= 0:
        raise HoneError(f"{file}: slope must be above 0, not {numbers['slope']:g}")
    if not isinstance(data["validation"], dict):
        raise HoneError(f"{file}: validation must be an object")
    return Reviewer(**{name: float(value) for name, value in numbers.items()}, validation=data["validation"])


@dataclass(frozen=True)
class LineVerdict:
    """What the model thinks of one changed line."""

    index: int
    """In `Hunk.lines`."""
    logit: float
    """log p(wrong) - log p(ok), of the two words alone: a model that was not tuned says mostly something else."""
    probability: float
    """Calibrated, that the line is the first wrong one of its hunk."""


def line_probabilities(
    chooser: Chooser, hunk: Hunk, reviewer: Reviewer, model: str | None = None
) -> tuple[LineVerdict, ...]:
    """One for each of `hunk.changed`, in order, from one pass over the hunk.

    Raises:
        HoneError: the hunk does not fit the model's context, its tokenizer does not tell the two verdicts apart, or the
            gateway fails.
    """
    text, spans = review_prompt.verdicts(hunk)
    if not spans:
        return ()
    ends = [0, *(end for _, end in spans)]
    texts = [text[end:start] for end, (start, _) in zip(ends, spans, strict=False)]
    read = chooser.choose(texts, (review_prompt.FINE, review_prompt.WRONG), 0, model)
    logits = [wrong - fine for fine, wrong in read]
    return tuple(
        LineVerdict(index, logit, reviewer.probability(logit))
        for index, logit in zip(hunk.changed, logits, strict=True)
    )


def _sigmoid(value: float) -> float:
    if value >= 0:
        return 1 / (1 + math.exp(-min(value, 700)))
    power = math.exp(max(value, -700))
    return power / (1 + power)
