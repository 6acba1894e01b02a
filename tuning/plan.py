"""What one tuning run is asked to do: everything that decides the adapter, besides corpus, base and library versions.

One tree of frozen dataclasses. A field's place in it is its key in a configuration file: `learning_rate`,
`lora.rank`. The bounds beside the types are checked where values come in from outside (`tuning.config`, `from_json`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Annotated, Any, Literal, get_args

from annotated_types import Ge, Gt, Le, Lt, MinLen

from assistant.errors import HoneError

Share = Annotated[float, Ge(0), Le(1)]
Value = bool | int | float | str


@dataclass(frozen=True)
class CorpusOptions:
    sources: tuple[str, ...] = ()
    """PATH, PATH@REV, FILE.jsonl or hf:NAME[:CONFIG][@SPLIT]."""
    weights: tuple[Annotated[float, Gt(0), Le(100)], ...] = ()
    """How often each source's rows are seen in an epoch, one number per source; none: once each."""
    languages: tuple[str, ...] = ()
    """Names as in `assistant.languages`; none: all."""
    licences: tuple[str, ...] = ()
    """SPDX ids that may be taken, `unknown` for files without one; none: all that are not excluded."""
    excluded_licences: tuple[str, ...] = ()
    """SPDX ids that are left out, `unknown` for files without one."""
    include: tuple[str, ...] = ()
    """Globs of repository paths; none: all."""
    exclude: tuple[str, ...] = ()
    min_bytes: Annotated[int, Ge(0)] = 0
    max_bytes: Annotated[int, Ge(1)] = 1_000_000
    near_duplicates: Annotated[float, Ge(0.3), Le(1)] | None = 0.7
    """Jaccard similarity from which two files count as one; None keeps them all, and only exact duplicates go. 0.7 is
    the lower end of what BigCode and datatrove use (0.7 to 0.85); below 0.3 nearly all files would be compared."""
    shingle: Annotated[int, Ge(1), Le(50)] = 5
    """Words in a row that are compared as one; 5 as in datatrove's MinHash."""
    hashes: Annotated[int, Ge(16), Le(1024)] = 128
    """MinHash permutations; the estimate's standard error is at most 0.5 / sqrt(hashes)."""
    split_by: Literal["cluster", "date"] = "cluster"
    """Which files are held out: near-duplicate clusters by hash, or the files committed last."""
    validation_share: Annotated[float, Ge(0), Lt(0.5)] = 0.05
    test_share: Annotated[float, Ge(0), Lt(0.5)] = 0.10
    decontaminate: Annotated[int, Ge(5), Le(50)] | None = 13
    """Words in a row that a training file may not share with an eval set; None checks nothing. 13 as for GPT-3."""
    decontaminate_files: tuple[str, ...] = ()
    """More eval sets, as JSONL files."""
    redact: bool = True
    """False only for corpora without a git source: secrets in repositories are replaced always."""
    max_surprise: Annotated[float, Gt(0)] | None = None
    """Bits per byte of the base model above which a file is left out; None measures nothing."""
    replay: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the training tokens that comes from `replay_source`, against forgetting."""
    replay_source: str | None = None
    """General code, written as a source."""


@dataclass(frozen=True)
class ExampleOptions:
    task: Literal["code", "review", "chat"] = "code"
    code_rate: Share = 1.0
    """Share of the documents that are taught as what they are."""
    fim_rate: Share = 0.5
    """Share of those that are taught as fill-in-the-middle, where the base has it."""
    spm_rate: Share = 0.5
    """Share of those with the suffix first."""
    aligned_rate: Share = 0.5
    """Share of those whose middle ends at lines or syntax nodes instead of anywhere."""
    teach_fim: bool = False
    """Infilling with plain-text sentinels for a base that has none; an experiment."""
    instruct_rate: Share = 0.0
    """Share of the documents that are also taught as instruction and answer."""
    review_rate: Share = 0.0
    """Share of the documents that are also taught as changes to review."""
    review_form: Literal["both", "rewriting", "findings"] = "both"
    """What is learnt of a change: to write each of its lines as it should be, the findings in words, or both in
    turn."""
    reviews_per_file: Annotated[int, Ge(1), Le(1000)] = 4
    """At most, each of another function."""
    review_lines: Annotated[int, Ge(5), Le(200)] = 60
    """Of a change with its context; what is longer loses context, then the end of the change."""
    review_twins: bool = False
    """Each change is taught with its bug and without; else one of the two is drawn."""
    review_several: Share = 0.0
    """Share of the documents whose changes have several bugs at once, of those that change a line each; else a change
    has one bug at most."""
    held_out_operators: tuple[str, ...] = ()
    """Bug operators (`examples.mutate.OPERATORS`) that seed no example: an evaluation asks for their bugs."""


@dataclass(frozen=True)
class LoraOptions:
    """Rank, alpha and targets after Biderman et al. 2024 (alpha = 2 rank, all linear layers)."""

    rank: Annotated[int, Ge(1), Le(4096)] = 32
    alpha: Annotated[float, Gt(0)] | None = None
    """None: twice the rank."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    target_modules: Literal["all-linear"] | Annotated[tuple[str, ...], MinLen(1)] = "all-linear"
    """Endings of module names, or every linear layer but the head."""
    rank_pattern: Mapping[str, Annotated[int, Ge(1), Le(4096)]] = field(default_factory=dict)
    """Other ranks for modules whose name ends in, or as a regular expression matches, the key."""
    alpha_pattern: Mapping[str, Annotated[float, Gt(0)]] = field(default_factory=dict)
    use_dora: bool = False
    use_rslora: bool = False
    """Scale by alpha / sqrt(rank) instead of alpha / rank."""
    init: str = "default"
    """default, gaussian, orthogonal, olora, pissa or pissa_niter_N (N iterations of a fast decomposition)."""

    @property
    def effective_alpha(self) -> float:
        return 2 * self.rank if self.alpha is None else self.alpha


@dataclass(frozen=True)
class FeedbackOptions:
    """What is learnt from feedback, beside the corpus (`tuning.feedback_run`)."""

    rows: str = ""
    """Digest of the rows as they were written down for this run; empty learns from none."""
    start: str | None = None
    """The adapter that training goes on from, `base` for a fresh one; None: the champion."""
    objective: Literal["auto", "completions", "dpo", "kto"] = "auto"
    """completions leaves preferences out; auto learns them by DPO where edits dominate, else by KTO."""
    replay: Annotated[float, Ge(0), Lt(1)] = 0.5
    """Share of the training tokens that comes from the corpus, against forgetting."""
    per_file: Annotated[int, Ge(1)] = 20
    """Suggestions of one file, the newest ones."""
    per_user: Annotated[float, Gt(0), Le(1)] = 0.5
    """Share of one user, where there are several."""
    least: Annotated[int, Ge(2)] = 20
    """Completions, pairs, or answers of each label below which none of them are learnt from."""
    beta: Annotated[float, Gt(0), Le(10)] = 0.1
    """How strongly preferences are held to what the model was before; 0.1 as in DPO and KTO."""
    preference_rate: Annotated[float, Gt(0), Le(1)] = 5e-5
    """Learning rate of preferences; LoRA takes about ten times that of a full model (5e-6 in KTO)."""
    preference_epochs: Annotated[float, Ge(0.01), Le(100)] = 1.0
    forgetting: Annotated[float, Ge(0)] = 0.005
    """Relative growth of the corpus's validation that preferences may cost, in bits per byte; what they changed is
    scaled down until they do not cost more. Code that is not replayed was seen to lose about twice as much
    (`benchmarks/learn.py`: 1.0 % here, 1.8 % there)."""


@dataclass(frozen=True)
class Plan:
    """A run. Exactly one of steps, minutes and epochs ends it.

    Learning rate swept on the 135M model (2e-4 suits billions); AdamW betas, weight decay, clip and warm-up as in the
    LoRA recipes of axolotl and torchtune.
    """

    steps: Annotated[int, Ge(1)] | None = None
    minutes: Annotated[float, Ge(0.01), Le(1e6)] | None = None
    epochs: Annotated[float, Ge(0.01), Le(1e6)] | None = None
    learning_rate: Annotated[float, Gt(0), Le(1)] = 1e-3
    warmup: Annotated[float, Gt(0), Lt(1)] = 0.05
    """Share of the run in which the learning rate rises."""
    weight_decay: Annotated[float, Ge(0), Le(1)] = 0.01
    clip: Annotated[float, Gt(0), Le(1e6)] = 1.0
    """Greatest norm of a step's gradient."""
    row_length: Annotated[int, Ge(64)] = 1024
    """Tokens per packed row."""
    rows_per_step: Annotated[int, Ge(1)] = 1
    pass_tokens: Annotated[int, Ge(64)] | None = None
    """Tokens of a step that are computed at once, in whole rows and at least one; the sum is the same, up to rounding.
    None: one row on a CPU, which gains nothing by more, and 16,384 tokens on a GPU."""
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: what the machine computes fastest, measured."""
    quantize: Literal["none", "4bit", "8bit"] = "none"
    """Of the frozen base while training (QLoRA)."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third slower."""
    checks: Annotated[int, Ge(1), Le(1000)] = 3
    """Validations in a run, after the one before it; each costs as much as a few steps. The last is at its end."""
    patience: Annotated[int, Ge(1)] | None = None
    """Validations in a row without improvement that end the run; None: none do."""
    checkpoint_minutes: Annotated[float, Ge(0), Le(1e6)] = 2.0
    """0 makes a checkpoint after each step. One of rank 32 on the 135M model is 160 MB and takes about a second."""
    adapter_scales: Annotated[tuple[Annotated[float, Gt(0), Le(2)], ...], MinLen(1)] = (0.5, 0.75, 1.0)
    """Validation picks one of them after training; a single one is taken whatever it says."""
    tracker: Literal["none", "tensorboard", "trackio", "mlflow"] = "none"
    sweep: Mapping[str, Annotated[tuple[Value, ...], MinLen(1)]] = field(default_factory=dict)
    """Key -> values: short trials of every combination, the best of which the run is then made with."""
    sweep_share: Annotated[float, Gt(0), Le(0.5)] = 0.1
    """Length of one trial, as a share of the run's."""
    lora: LoraOptions = LoraOptions()
    corpus: CorpusOptions = CorpusOptions()
    examples: ExampleOptions = ExampleOptions()
    feedback: FeedbackOptions = FeedbackOptions()

    @property
    def rank(self) -> int:
        return self.lora.rank

    @property
    def alpha(self) -> float:
        return self.lora.effective_alpha


class PlanError(HoneError):
    """A value that no plan can have. The line names the key; `key` and `reason` are its parts."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}{reason}")
        self.key, self.reason = key, reason


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values; `from_json` gives it back."""
    return asdict(plan)


def from_json(content: Mapping[str, Any]) -> Plan:
    """The plan that `to_json` wrote, checked as strictly as a configuration file.

    Args:
        content: nested as the dataclasses are; missing keys take their defaults.

    Raises:
        PlanError: an unknown key, a wrong type, or a value out of range; the first one is named, with what is allowed.
    """
    import json

    from pydantic import ValidationError

    check_keys(content)
    try:
        # As JSON, since pydantic's strict mode takes a list for a tuple only there.
        return _validator().validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        errors = [(_key(one["loc"]), one["msg"]) for one in error.errors()]
        key = errors[0][0]
        if not key:
            raise PlanError("the configuration", " has text that is not Unicode") from error
        given: Any = content
        for name in key.split("."):
            given = given[name]
        # A union has an error for each of its members: what any of them allows is allowed.
        allowed = [message.removeprefix("Input should be ") for at, message in errors if at == key]
        if key in NULLABLE:
            allowed.append('"none"')
        reason = " or ".join(dict.fromkeys(allowed))
        raise PlanError(key, f" = {given!r} is not possible; allowed: {reason}") from error


@cache
def _validator() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Plan)


def _key(location: Sequence[int | str]) -> str:
    """The setting of a place in pydantic's terms, which goes on into members of unions and of lists."""
    parts = [str(part) for part in location]
    return ".".join(parts[: 2 if parts and parts[0] in SECTIONS else 1])


def with_settings(plan: Plan, settings: Mapping[str, Any]) -> Plan:
    """The plan with other values for these dotted keys.

    Raises:
        PlanError: as for `from_json`.
    """
    content = to_json(plan)
    for key, value in settings.items():
        section, _, name = key.rpartition(".")
        (content[section] if section else content)[name] = value
    return from_json(content)


def changed_keys(plan: Plan) -> frozenset[str]:
    """The keys with another value than their default."""
    mine, plain = _by_key(plan), _by_key(Plan())
    return frozenset(key for key in KEYS if mine[key] != plain[key])


def _by_key(plan: Plan) -> dict[str, Any]:
    content = to_json(plan)
    sections = {f"{section}.{name}": value for section in SECTIONS for name, value in content[section].items()}
    return {**content, **sections}


def check_keys(content: Mapping[str, Any], section: str = "") -> None:
    """
    Raises:
        PlanError: a key that no plan has; the nearest known one is named.
    """
    for name, value in content.items():
        key = f"{section}{name}"
        if key in SECTIONS:
            if not isinstance(value, Mapping):
                raise PlanError(key, f" = {value!r} is not possible; allowed: a table, [{key}]")
            check_keys(value, f"{key}.")
        elif key not in KEYS or "." in name:
            raise PlanError(key, f" is no setting; the nearest one is {nearest_key(key)}")


def nearest_key(key: str) -> str:
    """The known key that is most like `key`, in whatever section it is."""
    import difflib

    def likeness(known: str) -> float:
        return max(
            difflib.SequenceMatcher(None, key, known).ratio(),
            difflib.SequenceMatcher(None, key.rpartition(".")[2], known.rpartition(".")[2]).ratio() - 0.01,
        )

    return SHORT_NAMES.get(key) or max(KEYS, key=likeness)


SECTIONS: dict[str, type] = {
    "lora": LoraOptions,
    "corpus": CorpusOptions,
    "examples": ExampleOptions,
    "feedback": FeedbackOptions,
}
KEYS: tuple[str, ...] = (
    *(one.name for one in fields(Plan) if one.name not in SECTIONS),
    *(f"{section}.{one.name}" for section, options in SECTIONS.items() for one in fields(options)),
)
"""Every setting by its dotted key, in the order of a configuration file."""
NULLABLE = frozenset(
    f"{section}{one.name}"
    for section, options in (("", Plan), *((f"{name}.", options) for name, options in SECTIONS.items()))
    for one in fields(options)
    if type(None) in get_args(one.type)
)
"""Those that can be None; a file says `"none"`, since TOML has no null."""
SHORT_NAMES = {"lr": "learning_rate", "rank": "lora.rank", "alpha": "lora.alpha", "dropout": "lora.dropout"}
"""Taken for keys where a user types them by hand."""
