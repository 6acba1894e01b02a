"""What every tuning run and every trial stands on: base, tokenizer, processes, number format, data."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from assistant import paths
from assistant.errors import HoneError
from assistant.models import store
from assistant.models.identity import base_identity
from assistant.models.resolve import resolve
from assistant.models.store import BaseModel
from assistant.models.transfer import Progress as Transfer
from tuning.corpus.assemble import Surprise
from tuning.corpus.sources import Source
from tuning.data import Data, make_rows, read_corpus
from tuning.distributed import is_first, start
from tuning.plan import Plan, changed_keys
from tuning.plan_checks import BASE_CHANGING, check_known_base
from tuning.train import Progress

if TYPE_CHECKING:
    import torch

    from tuning.model.footprint import Footprint


@dataclass(frozen=True)
class Watcher:
    """Where a run tells what it does."""

    note: Callable[[str], None]
    progress: Callable[[Progress], None]
    transfer: Transfer | None = None
    stopped: Callable[[], bool] = lambda: False
    checkpoint_minutes: float | None = None
    """None: as the plan says."""
    leaving: Callable[[], bool] = lambda: False
    """True ends the run after a checkpoint, to be gone on with later."""
    training: Callable[[bool], AbstractContextManager[None]] = lambda at_once: nullcontext()
    """Around steps after each of which `stopped` and `leaving` are asked: who is told to stop may rely on that there,
    from now on (True) or from the first progress on, and nowhere else."""


@dataclass(frozen=True)
class Ground:
    """What a run stands on."""

    name: str
    spec: str
    """Of the base, as the user named it."""
    base: BaseModel
    folder: Path
    """Its tuning form."""
    watcher: Watcher
    accelerator: Any


def stand(name: str, spec: str, plan: Plan, watcher: Watcher) -> Ground:
    """Fetches and converts the base, and finds the other processes.

    Raises:
        HoneError: the base is not to be had, has no GGUF form, or cannot do what the plan asks.
    """
    accelerator = start(plan.tracker, paths.tracked_dir() / name if plan.tracker != "none" else None)
    with accelerator.main_process_first():
        base = resolve(spec, progress=watcher.transfer).base
        if base.gguf is None:
            raise HoneError(
                f"{base.name} has no GGUF form, so an adapter for it could not be proven and served here; "
                "name a GGUF base"
            )
        folder = store.tuning_form(base, watcher.transfer)
    # Now everything is known of a base that was not on this disk before: better here than at the export.
    check_known_base(plan, changed_keys(plan), spec)
    if not is_first():
        quiet = Watcher(note=lambda _: None, progress=lambda _: None)
        watcher = replace(watcher, note=quiet.note, progress=quiet.progress, training=quiet.training)
    return Ground(name, spec, base, folder, watcher, accelerator)


def data_of(ground: Ground, sources: Sequence[Source], plan: Plan) -> Data:
    """Corpus and rows, made by the first process and read by the others.

    Raises:
        HoneError: as `tuning.data.prepare`.
    """
    from tuning.model.load import load_tokenizer

    with ground.accelerator.main_process_first():
        corpus = read_corpus(sources, plan.corpus, surprise=_surprise(ground, plan))
        tokenizer = load_tokenizer(ground.folder)
        data = make_rows(corpus, tokenizer, plan)
    if plan.feedback.rows:
        from tuning import feedback_rows

        data = feedback_rows.mixed(data, feedback_rows.read(plan.feedback.rows), tokenizer, plan)
    ground.watcher.note(describe(data))
    return data


def _surprise(ground: Ground, plan: Plan) -> Surprise | None:
    if plan.corpus.max_surprise is None:
        return None
    from tuning.surprise import scorer

    return Surprise(base_identity(ground.base).digest, scorer(ground.folder, plan.row_length))


def dtype_of(ground: Ground, plan: Plan) -> "torch.dtype":
    """The number format of the run, after a look at whether it fits in memory.

    Raises:
        HoneError: the machine lacks the memory, or what the plan asks for.
    """
    from tuning.model.footprint import available_memory, check_fits
    from tuning.model.load import check_quantize, dtype_for
    from tuning.ready import rows_per_pass

    check_quantize(plan.quantize, ground.accelerator)
    # What such a start takes out of the base's weights, bfloat16 cannot hold exactly.
    exact = plan.dtype == "auto" and BASE_CHANGING.fullmatch(plan.lora.init)
    dtype = dtype_for("float32" if exact else plan.dtype, ground.accelerator, ground.watcher.note)
    device = ground.accelerator.device.type
    footprint = _footprint(ground, plan, dtype, plan.row_length * rows_per_pass(plan, ground.accelerator.device))
    warning = check_fits(footprint, available_memory(device)) if footprint else None
    if warning:
        ground.watcher.note(warning)
    return dtype


def _footprint(ground: Ground, plan: Plan, dtype: "torch.dtype", tokens: int) -> "Footprint | None":
    from tuning.model.footprint import estimate

    return estimate(
        ground.folder,
        pass_tokens=tokens,
        rank=plan.rank,
        bytes_per_number=dtype.itemsize,
        quantize=plan.quantize,
        recompute=plan.activation_checkpointing,
        on_gpu=ground.accelerator.device.type == "cuda",
    )


def hardware_of(ground: Ground, plan: Plan) -> tuple[Plan, "torch.dtype"]:
    """The plan with as many tokens at once as a GPU has memory for, where it leaves that open; and `dtype_of` it.

    Raises:
        HoneError: as for `dtype_of`.
    """
    from tuning.distributed import agreed
    from tuning.model.footprint import available_memory
    from tuning.model.fused import unusable
    from tuning.ready import largest_pass

    if ground.accelerator.device.type != "cuda":
        return plan, dtype_of(ground, plan)
    one_row = replace(plan, pass_tokens=plan.pass_tokens or plan.row_length)
    dtype = dtype_of(ground, one_row)
    if reason := unusable():
        ground.watcher.note(f"no fused kernels for this GPU, so steps are slower ({reason})")
    if plan.pass_tokens is not None:
        return plan, dtype

    def bytes_for(tokens: int) -> int:
        found = _footprint(ground, plan, dtype, tokens)
        return found.total if found else 0

    tokens = largest_pass(plan.row_length, bytes_for, available_memory("cuda"))
    # Each process may see another GPU, or less free memory on it.
    return replace(plan, pass_tokens=round(agreed(ground.accelerator, float(tokens))[0])), dtype


def name_of(dtype: "torch.dtype") -> Literal["float32", "bfloat16"]:
    return "float32" if str(dtype) == "torch.float32" else "bfloat16"


def base_model(ground: Ground, plan: Plan, dtype: "torch.dtype") -> Any:
    """The frozen base with packed attention."""
    from tuning.model import attention
    from tuning.model.load import load_base

    attention.register()
    return load_base(ground.folder, dtype, attention.NAME, plan.quantize)


def adapted_model(ground: Ground, plan: Plan, dtype: "torch.dtype") -> Any:
    """A peft model of its own: base and an adapter that changes nothing yet, or the one that the run goes on from."""
    from tuning.feedback_run import start_folder
    from tuning.model import lora

    model = lora.add_lora(base_model(ground, plan, dtype), plan.lora, plan.seed)
    start = start_folder(plan)
    if start is not None:
        lora.load_weights(model, start)
    return model


def describe(data: Data) -> str:
    """One line on what the corpus came to."""
    summary = data.corpus.summary
    sides = summary.sides
    left_out = sum(count for verdict, count in summary.verdicts.items() if verdict != "taken")
    replaced = sum(summary.redactions.values())
    return (
        f"{summary.files:,} files: {sides['train']:,} train ({data.train_tokens:,} tokens in {len(data.rows):,} rows), "
        f"{sides['validation']:,} validation, {sides['test']:,} held out; {left_out:,} left out"
        + (f"; {replaced:,} secrets and personal data replaced" if replaced else "")
    )
