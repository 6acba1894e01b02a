"""A whole tuning run: data, pre-flight, training, export, proof, card, registry."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant import paths
from assistant.errors import HoneError
from assistant.models.identity import base_identity
from assistant.models.registry import AdapterVersion, check_name
from tuning import checkpoint, unfinished
from tuning.corpus.assemble import Corpus
from tuning.corpus.sources import Source
from tuning.data import Data, resolve_sources
from tuning.distributed import is_first, whole
from tuning.ground import Ground, Watcher, adapted_model, base_model, data_of, hardware_of, name_of, stand
from tuning.naming import check_new_name
from tuning.plan import Plan
from tuning.preferred import preferred
from tuning.proof import Proof
from tuning.train import Outcome

if TYPE_CHECKING:
    import torch

    from tuning.dryrun import DryRun
    from tuning.reviewer import Calibrated
    from tuning.sweep import Sweep


@dataclass(frozen=True)
class Result:
    version: AdapterVersion
    data: Data
    outcome: Outcome
    proof: Proof
    scale: float
    """Of the adapter, picked by validation or fixed by the plan; part of its weights."""
    sweep: "Sweep | None"
    reviewer: "Calibrated | None" = None
    """Of task review: from what on a line is called wrong."""
    feedback: dict[str, Any] | None = None
    """What was learnt from feedback, as the manifest says it."""


def tune(name: str, base_spec: str, plan: Plan, watcher: Watcher, *, restart: bool = False) -> Result | None:
    """Tunes `base_spec` on `plan.corpus.sources` and registers the adapter as a new version of `name`.

    Nothing is registered, and no adapter is left, unless the export is proven. A run that is killed leaves its
    checkpoints, and `resume` goes on from them. Under `accelerate launch` every process calls this.

    Args:
        restart: discard what an unfinished run of this name left.

    Returns:
        None in every process but the first.

    Raises:
        Left: the watcher said so; `resume` goes on from the checkpoint.
        HoneError: bad input, another run under this name, an unfinished one, a full disk, or an export that does not
            compute what was trained.
    """
    check_new_name(name, base_spec)
    sources = resolve_sources(plan.corpus.sources, plan.corpus)
    with _only_run(name):
        # A checkpoint that cannot be read must not stand in the way of --restart.
        left = None if restart else unfinished.position(name)
        if left is not None:
            raise HoneError(
                f"an unfinished run of {name} stands at step {left.step} ({left.share:.0%}); "
                f"go on with `hone tune --name {name} --resume`, or discard it with --restart"
            )
        ground = stand(name, base_spec, plan, watcher)
        return _tune(ground, sources, plan)


def resume(name: str, watcher: Watcher) -> Result | None:
    """Goes on with the unfinished run of `name`, to the adapter it would have become.

    Raises:
        HoneError: there is none, its corpus or base has changed, or as for `tune`.
    """
    check_name(name, "an adapter's name")
    with _only_run(name):
        asked = unfinished.read(name)
        ground = stand(name, asked.base, asked.plan, watcher)
        digest = base_identity(ground.base).digest
        if digest != asked.base_digest:
            raise HoneError(
                f"the unfinished run of {name} was on another {asked.base} ({asked.base_digest[:12]}, now "
                f"{digest[:12]}); begin anew with --restart"
            )
        return _tune(ground, asked.sources, asked.plan, asked)


def dry_run(plan: Plan, name: str, base_spec: str, watcher: Watcher) -> "DryRun":
    """What a run would be made of, and what it would take; nothing is trained.

    Raises:
        HoneError: as `tune` would before its first step.
    """
    from tuning.dryrun import DryRun
    from tuning.measured import key_of
    from tuning.model.load import load_tokenizer
    from tuning.preflight import check_data, measure
    from tuning.ready import make_ready

    sources = resolve_sources(plan.corpus.sources, plan.corpus)
    ground = stand(name, base_spec, replace(plan, tracker="none"), watcher)
    data = data_of(ground, sources, plan)
    check_data(data, plan)
    plan, dtype = hardware_of(ground, plan)
    key = key_of(base_identity(ground.base).digest, data, plan, dtype, ground.accelerator)
    ready = make_ready(adapted_model(ground, plan, dtype), plan, ground.accelerator)
    found = measure(ready, data, plan, load_tokenizer(ground.folder), key=key)
    return DryRun.of(name, base_spec, data, found)


@contextmanager
def _only_run(name: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    if not is_first():
        yield
        return
    lock = FileLock(paths.adapters_dir() / f".{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise HoneError(f"another `hone tune --name {name}` is running; wait for it or choose another name") from error
    try:
        yield
    finally:
        lock.release()


def _tune(
    ground: Ground, sources: Sequence[Source], plan: Plan, resumed: unfinished.Asked | None = None
) -> Result | None:
    from tuning.measured import key_of
    from tuning.model import lora
    from tuning.preflight import base_bits, check_data, measure
    from tuning.ready import make_ready

    name, note = ground.name, ground.watcher.note
    data = data_of(ground, sources, plan)
    if resumed is not None:
        unfinished.check_corpus(name, resumed, data.corpus)
    check_data(data, plan)
    plan, dtype = hardware_of(ground, plan if resumed is None else replace(plan, dtype=resumed.dtype))
    swept = None
    if plan.sweep and resumed is None:
        swept = _sweep(ground, data, plan, dtype)
        plan = swept.plan
    start_from = _begin(ground, _asked(ground, sources, plan, dtype, data.corpus), resumed is not None)
    model = adapted_model(ground, plan, dtype)
    start = lora.start_of(model)
    ready = make_ready(model, plan, ground.accelerator)
    key = key_of(base_identity(ground.base).digest, data, plan, dtype, ground.accelerator)
    for line in measure(ready, data, plan, key=key).describe():
        note(line)
    before = None if start_from is not None else base_bits(ready, data, key)
    if start_from is not None:
        note(f"going on from step {start_from.position.step} ({start_from.position.share:.0%})")
    asked_for = ground.watcher.checkpoint_minutes
    every = plan.checkpoint_minutes if asked_for is None else asked_for
    keeper = checkpoint.Keeper(unfinished.folder_of(name), note, every, ground.watcher.leaving)
    outcome = _trained(ground, ready, data, plan, keeper, start_from, before)
    if outcome.steps == 0:
        raise HoneError("stopped before the first step was done; nothing was saved")
    scale, tried = _scaled(ready, data, plan, outcome.validation_after) if start is None else (1.0, {})
    in_one_piece = whole(model, lambda: adapted_model(ground, plan, dtype))
    if in_one_piece is None or not is_first():
        return None
    if start is not None:
        in_one_piece = lora.as_plain(in_one_piece, start, base_model(ground, plan, dtype))
    if tried:
        outcome = replace(outcome, validation_after=tried[scale])
    feedback = preferred(ground, in_one_piece, data, plan, dtype) if plan.feedback.rows else None
    figures = {**asdict(outcome), "scale": scale}
    if tried:
        figures["scales"] = {f"{one:g}": bits for one, bits in tried.items()}
    rest = {
        "figures": figures,
        **({"sweep": swept.to_json()} if swept else {}),
        **({"feedback": feedback} if feedback else {}),
    }
    reviewer = _reviewer(ground, in_one_piece, data, plan)
    version, proof = _export(ground, in_one_piece, data, plan, dtype, outcome, rest, keeper.metrics, reviewer)
    unfinished.discard(name)
    return Result(version, data, outcome, proof, scale, swept, reviewer, feedback)


def _trained(
    ground: Ground,
    ready: Any,
    data: Data,
    plan: Plan,
    keeper: checkpoint.Keeper,
    start_from: checkpoint.Checkpoint | None,
    before: float | None,
) -> Outcome:
    from tuning.train import train

    watcher = ground.watcher
    try:
        with watcher.training(False):
            return train(ready, data, plan, watcher.progress, watcher.stopped, keeper, start_from, before)
    except KeyboardInterrupt:
        if is_first():
            unfinished.discard(ground.name)
        raise


def _begin(ground: Ground, asked: unfinished.Asked, resumed: bool) -> checkpoint.Checkpoint | None:
    """A fresh folder for the run's checkpoints; or the newest one of an unfinished run."""
    if resumed:
        found = checkpoint.read(unfinished.folder_of(ground.name), ground.watcher.note)
        assert found is not None
        return found
    if is_first():
        unfinished.begin(ground.name, asked)
    ground.accelerator.wait_for_everyone()
    return None


def _asked(
    ground: Ground, sources: Sequence[Source], plan: Plan, dtype: "torch.dtype", corpus: Corpus
) -> unfinished.Asked:
    return unfinished.Asked(
        sources=tuple(sources),
        base=ground.spec,
        base_digest=base_identity(ground.base).digest,
        plan=plan,
        dtype=name_of(dtype),
        files=unfinished.files_of(corpus),
    )


def _sweep(ground: Ground, data: Data, plan: Plan, dtype: "torch.dtype") -> "Sweep":
    """The trials of `plan.sweep`, and the plan of the run itself."""
    from tuning.distributed import agreed
    from tuning.measured import key_of
    from tuning.preflight import base_bits, measure, whole_steps
    from tuning.ready import make_ready
    from tuning.sweep import sweep
    from tuning.train import Diverged, Left, train

    if is_first():
        # Else who resumes after a sweep that was cut short would go on with the run before.
        unfinished.discard(ground.name)
    accelerator, base_digest = ground.accelerator, base_identity(ground.base).digest
    probed = measure(
        make_ready(adapted_model(ground, plan, dtype), plan, accelerator),
        data,
        plan,
        key=key_of(base_digest, data, plan, dtype, accelerator),
    )
    accelerator.free_memory()

    def trial(tried: Plan) -> float:
        ready = make_ready(adapted_model(ground, tried, dtype), tried, accelerator)
        try:
            before = base_bits(ready, data, key_of(base_digest, data, tried, dtype, accelerator))
            with ground.watcher.training(False):
                outcome = train(
                    ready,
                    data,
                    tried,
                    ground.watcher.progress,
                    ground.watcher.stopped,
                    before=before,
                    leaving=ground.watcher.leaving,
                )
        except Diverged:
            # A rate too high for these data is what a sweep is there to find.
            return float("nan")
        except Left as left:
            words = "left in a trial of the sweep as told; the same command goes on after the trials that are done"
            raise Left(words) from left
        finally:
            accelerator.free_memory()
        return float("nan") if outcome.validation_after is None else outcome.validation_after

    keep = paths.cache_dir() / "sweeps" / f"{ground.name}.json"
    identity = f"{base_digest} {data.corpus.summary.digest} {dtype}"
    steps = whole_steps(plan, len(data.rows), data.train_tokens, probed.tokens_per_second)
    found = sweep(
        plan,
        round(agreed(accelerator, float(steps))[0]),
        trial,
        ground.watcher.note,
        ground.watcher.stopped,
        keep if is_first() else None,
        identity,
    )
    ground.watcher.note(found.table())
    if is_first():
        keep.unlink(missing_ok=True)
    return found


def _scaled(ready: Any, data: Data, plan: Plan, unscaled: float | None) -> tuple[float, dict[float, float | None]]:
    """Leaves the trained adapter at the scale that validates best, or at the only one that the plan allows; every
    process takes part.

    Args:
        unscaled: its validation as it is, measured in training.
    """
    from tuning.scale import at_scale, pick_scale, scale_model
    from tuning.train import validation_bits

    scales = plan.adapter_scales
    if plan.lora.use_dora or len(scales) == 1 == scales[0]:
        return 1.0, {}

    def score(scale: float) -> float | None:
        if scale == 1.0:
            return unscaled
        with at_scale(ready.model, scale):
            return validation_bits(ready.accelerator, ready.wrapped, data.validation, rows_per_pass=ready.rows_per_pass)

    scale, tried = (scales[0], {scales[0]: score(scales[0])}) if len(scales) == 1 else pick_scale(score, scales)
    if scale != 1.0:
        scale_model(ready.model, scale)
    return scale, tried


def _reviewer(ground: Ground, model: Any, data: Data, plan: Plan) -> "Calibrated | None":
    """Of task review: the calibration of what was trained, and its threshold."""
    if plan.examples.task != "review":
        return None
    from tuning import reviewer
    from tuning.model.load import load_tokenizer

    ground.watcher.note("reading changes of the validation files, for the threshold")
    model.eval()
    found = reviewer.measure(model, data, load_tokenizer(ground.folder), plan)
    ground.watcher.note(
        found.describe()
        if found
        else "no threshold is stored, so this adapter is no reviewer yet: the validation files give fewer than "
        f"{reviewer.LEAST} changes, or it tells wrong lines no better than chance in them; tune longer or on more code"
    )
    return found


def _export(
    ground: Ground,
    model: Any,
    data: Data,
    plan: Plan,
    dtype: "torch.dtype",
    outcome: Outcome,
    rest: dict[str, Any],
    metrics: Path,
    reviewer: "Calibrated | None",
) -> tuple[AdapterVersion, Proof]:
    from tuning import manifest, publish
    from tuning import reviewer as reviewing
    from tuning.model.load import load_tokenizer
    from tuning.passages import of_documents
    from tuning.proof import picks_and_scores, prove

    ground.watcher.note("exporting, and comparing transformers with llama.cpp in a fresh process")
    held_out = ((document.path, document.text) for document in data.corpus.documents("test") if not document.turns)
    compared = of_documents(held_out, load_tokenizer(ground.folder))
    model.eval()
    _, expected = picks_and_scores(model, compared.tokens, frozenset())
    dtype_name = name_of(dtype)
    assert ground.base.gguf is not None
    with publish.staged(ground.name) as staging:
        publish.save(model, ground.folder, ground.base.name, staging)
        proof = prove(
            ground.folder,
            ground.base.gguf,
            staging,
            compared.tokens,
            expected,
            dtype_name,
            ground.accelerator.device.type,
            plan.quantize,
        )
        publish.refuse_bad(proof)
        content = manifest.tuned(data, plan, dtype_name, outcome, proof, rest)
        content["proof"]["compared_on"] = compared.source
        if reviewer is not None:
            reviewing.write(staging, reviewer)
            content["reviewer"] = reviewer.to_json()
        figures = {**asdict(outcome), **{f"proof_{key}": value for key, value in asdict(proof).items()}}
        version = publish.publish(staging, ground.name, ground.base, content, figures, metrics)
    return version, proof
