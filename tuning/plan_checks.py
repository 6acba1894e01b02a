"""What a plan's settings say against each other, and against the base they are to be tuned on."""

import difflib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.errors import HoneError
from tuning.plan import KEYS, Plan, PlanError, Value, with_settings

if TYPE_CHECKING:
    from assistant.models.store import BaseModel

MOST_TRIALS = 64

BASE_CHANGING = re.compile(r"olora|pissa(_niter_[1-9]\d{0,2})?")
"""Starts of LoRA that move a part of the base's weights into the adapter."""

_INIT = re.compile(rf"default|gaussian|orthogonal|{BASE_CHANGING.pattern}")

SWEPT = frozenset(
    {"learning_rate", "warmup", "weight_decay", "clip", "rows_per_step", *(key for key in KEYS if key[:5] == "lora.")}
)
"""What a sweep can try: it must leave rows, seed and validation alone, or trials could not be compared."""


def contradiction(plan: Plan) -> tuple[tuple[str, ...], str] | None:
    """The first contradiction in a plan, as the keys it is between and one line; None if there is none."""
    corpus, examples = plan.corpus, plan.examples
    if corpus.weights and len(corpus.weights) != len(corpus.sources):
        count = f"{len(corpus.weights)} weights for {len(corpus.sources)} sources"
        return ("corpus.weights",), f"{count}; give one number per source, or none"
    replayed = (corpus.replay_source,) if corpus.replay > 0 and corpus.replay_source else ()
    raw = next((source for source in (*corpus.sources, *replayed) if not _is_records(source)), None)
    if not corpus.redact and raw is not None:
        return (
            ("corpus.redact",),
            f"redaction cannot be switched off for {raw}: secrets in repositories and folders would be learnt; "
            "only JSONL files and hf: datasets can go without",
        )
    if corpus.min_bytes > corpus.max_bytes:
        return (
            ("corpus.min_bytes", "corpus.max_bytes"),
            f"no file has at least {corpus.min_bytes} and at most {corpus.max_bytes} bytes",
        )
    both = sorted(set(corpus.licences) & set(corpus.excluded_licences))
    if both:
        return ("corpus.licences", "corpus.excluded_licences"), f"{both[0]} is both allowed and excluded"
    language = _unknown_language(corpus.languages)
    if language is not None:
        return ("corpus.languages",), language
    if corpus.replay > 0 and corpus.replay_source is None:
        return ("corpus.replay",), "corpus.replay needs general code to replay: set corpus.replay_source to a source"
    if plan.patience is not None:
        if corpus.validation_share == 0:
            return (
                "patience",
                "corpus.validation_share",
            ), "patience counts validations, and no file is held out"
        if plan.patience > plan.checks:
            return (
                ("patience", "checks"),
                f"patience {plan.patience} could never end a run of {plan.checks} validations; raise checks",
            )
    if plan.sweep and corpus.validation_share == 0:
        return ("sweep", "corpus.validation_share"), "a sweep picks by validation, and no file is held out for it"
    if examples.teach_fim and examples.fim_rate == 0:
        return ("examples.teach_fim", "examples.fim_rate"), "teach_fim with fim_rate 0 would teach no infilling"
    return _review_contradiction(plan) or _lora_contradiction(plan) or _sweep_contradiction(plan)


def _review_contradiction(plan: Plan) -> tuple[tuple[str, ...], str] | None:
    examples = plan.examples
    if examples.task == "review" and examples.review_rate == 0:
        return ("examples.task", "examples.review_rate"), "task review with review_rate 0 would learn no review"
    if examples.held_out_operators:
        from tuning.examples.mutate import OPERATORS

        unknown = next((name for name in examples.held_out_operators if name not in OPERATORS), None)
        if unknown is not None:
            nearest = difflib.get_close_matches(unknown, OPERATORS, 1, 0)[0]
            return (
                ("examples.held_out_operators",),
                f"{unknown!r} is no bug operator that is known here; the nearest is {nearest!r}",
            )
        if len(set(examples.held_out_operators)) == len(OPERATORS):
            return ("examples.held_out_operators",), "with all bug operators held out, no bug could be seeded"
    return None


def _lora_contradiction(plan: Plan) -> tuple[tuple[str, ...], str] | None:
    lora = plan.lora
    if not _INIT.fullmatch(lora.init):
        return (
            ("lora.init",),
            f"lora.init = {lora.init!r} is not possible; allowed: default, gaussian, orthogonal, olora, pissa, "
            "pissa_niter_N (N from 1 to 999)",
        )
    for key in (*lora.rank_pattern, *lora.alpha_pattern):
        try:
            re.compile(key)
        except re.error as error:
            name = "rank_pattern" if key in lora.rank_pattern else "alpha_pattern"
            return (f"lora.{name}",), f"lora.{name}: {key!r} is no regular expression: {error}"
    if lora.init == "orthogonal" and any(rank % 2 for rank in (lora.rank, *lora.rank_pattern.values())):
        return ("lora.init", "lora.rank", "lora.rank_pattern"), "lora.init orthogonal needs even ranks"
    if BASE_CHANGING.fullmatch(lora.init):
        if lora.use_dora:
            return (
                ("lora.init", "lora.use_dora"),
                f"{lora.init} changes the base's weights, and with DoRA they could not be given back at the export",
            )
        if plan.quantize != "none" or plan.dtype == "bfloat16":
            number = plan.dtype if plan.quantize == "none" else f"{plan.quantize} weights"
            return (
                ("lora.init", "quantize", "dtype"),
                f"{lora.init} changes the base's weights, which {number} cannot hold exactly; "
                'use dtype "float32" without quantize, or another lora.init',
            )
    whole = "DoRA" if lora.use_dora else lora.init if BASE_CHANGING.fullmatch(lora.init) else None
    if whole is not None and 1.0 not in plan.adapter_scales:
        return (
            ("adapter_scales", "lora.use_dora", "lora.init"),
            f"an adapter of {whole} is used as it was trained; leave out adapter_scales, or have 1.0 among them",
        )
    return None


def _sweep_contradiction(plan: Plan) -> tuple[tuple[str, ...], str] | None:
    if not plan.sweep:
        return None
    wrong = next((key for key in plan.sweep if key not in SWEPT), None)
    if wrong is not None:
        return ("sweep",), f"a sweep cannot try {wrong!r}; it can try {', '.join(key for key in KEYS if key in SWEPT)}"
    trials = prod(len(values) for values in plan.sweep.values())
    if trials < 2:
        return ("sweep",), "a sweep of one combination has nothing to choose from; name at least two values"
    if trials > MOST_TRIALS:
        return ("sweep",), f"{trials} combinations are too many to try; at most {MOST_TRIALS}"
    for settings in combinations(plan.sweep):
        try:
            found = contradiction(replace(with_settings(plan, settings), sweep={}))
        except PlanError as error:
            found = (), str(error)
        if found is not None:
            return ("sweep",), f"a trial of the sweep is not possible: {found[1]}"
    if plan.minutes is not None and trials * plan.sweep_share >= 1:
        return (
            ("sweep", "sweep_share", "minutes"),
            f"{trials} trials of {plan.sweep_share:.0%} of the minutes each leave no time for the run itself; "
            "lower sweep_share or try fewer values",
        )
    return None


def combinations(sweep: Mapping[str, Sequence[Value]]) -> list[dict[str, Value]]:
    """Every choice of one value per key; the last key changes fastest."""
    return [dict(zip(sweep, values, strict=True)) for values in product(*sweep.values())]


def check_base(plan: Plan, given: Collection[str], base: str, *, fim: bool | None, gguf: bool | None) -> None:
    """What cannot be tuned on, or served from, this base.

    Args:
        given: the keys that somebody set; a default that does not fit a base is no contradiction.
        fim: the base's tokenizer has fill-in-the-middle tokens; None when that is not known.
        gguf: the base is served from a GGUF file; None when that is not known.

    Raises:
        HoneError: and what to do.
    """
    examples = plan.examples
    if fim is False and not examples.teach_fim:
        asked = [key for key in ("fim_rate", "spm_rate", "aligned_rate") if f"examples.{key}" in given]
        if asked and examples.fim_rate > 0:
            raise HoneError(
                f"{base} has no fill-in-the-middle tokens, so examples.{asked[0]} does nothing; leave it out, choose "
                "another base, or teach infilling as an experiment with --teach-fim"
            )
    if fim and examples.teach_fim:
        raise HoneError(f"{base} fills in the middle with tokens of its own; leave out --teach-fim")
    if gguf and plan.lora.use_dora:
        raise HoneError(
            f"DoRA cannot be served from {base}'s GGUF file: a GGUF LoRA has no place for its magnitudes; "
            "leave out lora.use_dora"
        )


def check_known_base(plan: Plan, given: Collection[str], base: str) -> None:
    """`check_base` with what this disk tells of a base without loading it; what is not fetched, or not converted, yet
    is not known, so a run asks again once it is.

    Raises:
        HoneError: as for `check_base`, or a local path that is no model.
    """
    from assistant.models import store

    found = store.find(base)
    if found is not None:
        check_base(plan, given, base, fim=_has_fim(found), gguf=found.gguf is not None)


def _has_fim(base: "BaseModel") -> bool | None:
    from assistant import prompts
    from assistant.models import convert

    folder = base.folder or (convert.cached_folder(base.gguf) if base.gguf else None)
    if folder is None or not (file := folder / "tokenizer.json").is_file():
        return None
    try:
        tokenizer = json.loads(file.read_text("utf-8"))
        added = [token["content"] for token in tokenizer["added_tokens"]]
        names = [*added, *(piece if isinstance(piece, str) else piece[0] for piece in tokenizer["model"]["vocab"])]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        # The tokenizer's own loader says what is wrong with it.
        return None
    return prompts.find_fim_tokens({name: at for at, name in enumerate(names)}) is not None


def _is_records(source: str) -> bool:
    """A folder may have any name, also one that ends like a file of records."""
    from tuning.corpus.sources import DATASET_PREFIX, RECORD_ENDINGS

    return source.startswith(DATASET_PREFIX) or (source.endswith(RECORD_ENDINGS) and not Path(source).is_dir())


def _unknown_language(names: Collection[str]) -> str | None:
    from assistant import languages

    known = {*languages.names(), "text"}
    wrong = next((name for name in names if name not in known), None)
    if wrong is None:
        return None
    near = difflib.get_close_matches(wrong, sorted(known), n=1, cutoff=0)
    return f"corpus.languages: {wrong!r} is no language that is known here; the nearest is {near[0]!r}"
