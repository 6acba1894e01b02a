"""What an evaluation found, in one versioned form from which every kind of report is written."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from evals.errors import HarnessError

SCHEMA_VERSION: Literal[2] = 2

Better = Literal["higher", "lower", "neither"]
RIGHT = "right"
"""The class of a sample without an error, in `ModelResult.classes`."""

TaskOutcome = Literal["better", "equal", "within budget", "regression", "inconclusive"]
EXIT_CODES: Mapping[str, int] = {"pass": 0, "regression": 1, "inconclusive": 2}


@dataclass(frozen=True)
class Figure:
    """A number with its 95 % interval."""

    value: float
    low: float | None
    high: float | None
    """None: no interval was computed."""
    n: int
    """Items that it rests on."""
    unit: str
    """`share` (0 to 1, shown as per cent), `seconds`, `bytes`, `joules`, `bits per byte`, `tokens per second`, or
    empty."""
    better: Better
    method: str
    """How value and interval were computed: `Wilson`, `bootstrap over 41 files`."""


@dataclass(frozen=True)
class CalibrationBin:
    low: float
    high: float
    """Of the stated probability; the bin holds low <= p < high, the last one its high end too."""
    count: int
    stated: float
    """Mean stated probability in the bin."""
    observed: float
    """Share of them that were right."""


@dataclass(frozen=True)
class Calibration:
    """How far stated probabilities are from what happened."""

    bins: tuple[CalibrationBin, ...]
    """Bins that hold something, from low to high."""
    expected_error: float
    """Expected calibration error: the mean of |stated - observed|, weighed by count (Guo et al. 2017)."""


@dataclass(frozen=True)
class ModelResult:
    facts: Mapping[str, Any]
    """JSON-ready; `name` (immutable: a base's, or NAME@DIGEST) and `digest` (of all that decides an answer) among
    them. `asked` is what the user called the model."""
    figures: Mapping[str, Figure]
    """The deciding figure first."""
    classes: Mapping[str, int]
    """Samples of each error class, `right` among them; empty where the task knows no errors."""
    calibration: Calibration | None
    latency_seconds: tuple[float, ...]
    """Of each sample that has a time of its own, from request to last token."""


@dataclass(frozen=True)
class Comparison:
    """What one model changes against another one on the same items."""

    figure: str
    before: str
    """Name of the model compared with."""
    after: str
    difference: Figure
    """After minus before, in the figure's unit."""
    p: float | None
    """Two-sided, of no difference; exact McNemar, or the paired cluster bootstrap."""
    detectable: float | None
    """The smallest true difference that such a comparison finds in 80 % of cases at alpha 0.05."""
    outcomes: tuple[int, int, int, int] | None
    """Items that were right with both, only before, only after, with neither; None for figures that are no share of
    right items."""
    relative: Figure | None = None
    """Difference / before; None where before is 0 or the change is told in points."""
    clusters: tuple[tuple[float, float, float, float], ...] = ()
    """What a test at another level or budget is computed from, one entry a cluster: numerator and denominator before,
    numerator and denominator after. A figure is the sum of its numerators over the sum of its denominators."""


@dataclass(frozen=True)
class TaskReport:
    name: str
    """`humaneval`."""
    version: str
    """`humaneval@1`: another version's figures are not comparable."""
    settings: Mapping[str, Any]
    models: tuple[ModelResult, ...]
    """The first one is the reference."""
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    """What was measured and how, one plain sentence each."""
    samples: tuple[Mapping[str, Any], ...]
    """Rows of samples.jsonl."""
    details: Mapping[str, Any] | None = None
    """The task's own report, in its own form."""


@dataclass(frozen=True)
class TaskDecision:
    """What the gate says about one task."""

    task: str
    figure: str
    outcome: TaskOutcome
    difference: Figure
    """After minus before with its interval at 1 - alpha."""
    budget: float
    """How much worse the candidate may be, in the figure's unit."""
    p: float | None
    """Two-sided, of no difference at all."""
    p_regression: float
    """Two-sided p of being worse by more than the budget."""
    p_adjusted: float
    """The same, by Benjamini-Hochberg over all tasks of the gate."""
    p_within: float
    """Two-sided p of not being worse by more than the budget: small means shown."""
    detectable: float | None
    """The smallest true difference that this comparison finds in 80 % of cases at the gate's alpha."""
    method: str
    reason: str
    """One sentence."""


@dataclass(frozen=True)
class Decision:
    """What the gate says about a candidate."""

    outcome: Literal["pass", "regression", "inconclusive"]
    candidate: str
    against: str
    alpha: float
    tasks: tuple[TaskDecision, ...]
    explanation: str
    """One paragraph: what was decided and why."""

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.outcome]


@dataclass(frozen=True)
class Report:
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}

    schema_version: Literal[2]
    created: str
    """ISO 8601, UTC."""
    hone: str
    """Version."""
    environment: Mapping[str, Any]
    sandbox: str | None
    """The rung that ran untrusted code: `bubblewrap`, `landlock` or `none`; None: nothing was run."""
    tasks: tuple[TaskReport, ...]
    gate: Decision | None = None


def to_json(report: Report) -> dict[str, Any]:
    """JSON-ready."""
    return asdict(report)


def from_json(text: str | bytes) -> Report:
    """Reads what `to_json` wrote: no unknown, missing or wrongly typed field.

    Raises:
        HarnessError: it is something else; names the first place that is wrong.
    """
    import pydantic

    try:
        return pydantic.TypeAdapter(Report).validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the top"
        raise HarnessError(f"this is no report of schema version {SCHEMA_VERSION}: {where}: {first['msg']}") from None
