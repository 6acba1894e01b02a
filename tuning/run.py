"""A whole tuning run: data, training, export, proof, card, registry."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assistant import atomic, paths
from assistant.errors import HoneError, UsageError, WrongBase
from assistant.models import store
from assistant.models.catalogue import CATALOGUE
from assistant.models.identity import adapter_digest, base_identity
from assistant.models.registry import AdapterVersion, Registry, check_name
from assistant.models.resolve import resolve
from assistant.models.store import BaseModel
from assistant.models.transfer import Progress as Transfer
from tuning import checkpoint, unfinished
from tuning.data import Data
from tuning.proof import Proof
from tuning.train import Outcome, Plan, Progress

PASSAGE_TOKENS = 160
PASSAGES = 6


@dataclass(frozen=True)
class Result:
    version: AdapterVersion
    data: Data
    outcome: Outcome
    proof: Proof


@dataclass(frozen=True)
class Watcher:
    """Where a run tells what it does."""

    note: Callable[[str], None]
    progress: Callable[[Progress], None]
    transfer: Transfer | None = None
    stopped: Callable[[], bool] = lambda: False
    checkpoint_minutes: float = checkpoint.EVERY_MINUTES


def tune(
    corpus: Sequence[Path], name: str, base_spec: str, plan: Plan, watcher: Watcher, *, restart: bool = False
) -> Result:
    """Tunes `base_spec` on the git repositories `corpus` and registers the adapter as a new version of `name`.

    Nothing is registered, and no adapter is left, unless the export is proven. A run that is killed leaves its
    checkpoints, and `resume` goes on from them.

    Args:
        restart: discard what an unfinished run of this name left.

    Raises:
        HoneError: bad input, another run under this name, an unfinished one, a full disk, or an export that does not
            compute what was trained.
    """
    check_new_name(name, base_spec)
    for path in corpus:
        if not path.exists():
            raise HoneError(f"{path} does not exist; name a git repository")
    with _only_run(name):
        # A checkpoint that cannot be read must not stand in the way of --restart.
        left = None if restart else unfinished.position(name)
        if left is not None:
            raise HoneError(
                f"an unfinished run of {name} stands at step {left.step} ({left.share:.0%}); "
                f"go on with `hone tune --name {name} --resume`, or discard it with --restart"
            )
        base = _base(base_spec, watcher)
        folder = store.tuning_form(base, watcher.transfer)
        return _tune(corpus, name, base_spec, base, folder, plan, watcher)


def resume(name: str, watcher: Watcher) -> Result:
    """Goes on with the unfinished run of `name`, to the adapter it would have become.

    Raises:
        HoneError: there is none, its corpus or base has changed, or as for `tune`.
    """
    check_name(name, "an adapter's name")
    with _only_run(name):
        asked = unfinished.read(name)
        base = _base(asked.base, watcher)
        digest = base_identity(base).digest
        if digest != asked.base_digest:
            raise HoneError(
                f"the unfinished run of {name} was on another {asked.base} ({asked.base_digest[:12]}, now "
                f"{digest[:12]}); begin anew with --restart"
            )
        folder = store.tuning_form(base, watcher.transfer)
        corpus = [Path(path) for path in asked.corpus]
        return _tune(corpus, name, asked.base, base, folder, asked.plan, watcher, asked)


def _base(spec: str, watcher: Watcher) -> BaseModel:
    base = resolve(spec, progress=watcher.transfer).base
    if base.gguf is None:
        raise HoneError(
            f"{base.name} has no GGUF form, so an adapter for it could not be proven and served here; name a GGUF base"
        )
    return base


def check_new_name(name: str, base_spec: str) -> None:
    """Raises UsageError for a name that an adapter cannot have, before any work is done."""
    check_name(name, "an adapter's name")
    registry = Registry()
    if name in CATALOGUE or name in registry.aliases():
        raise UsageError(f"{name} is the name of a base model or alias; choose another --name")
    if registry.find(base_spec) is not None:
        raise UsageError(f"--base {base_spec} is an adapter; name a base model (see `hone models`)")


@contextmanager
def _only_run(name: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

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
    corpus: Sequence[Path],
    name: str,
    base_spec: str,
    base: BaseModel,
    folder: Path,
    plan: Plan,
    watcher: Watcher,
    resumed: unfinished.Asked | None = None,
) -> Result:
    import torch
    from accelerate.state import PartialState

    from tuning.data import prepare
    from tuning.examples.plain import windows
    from tuning.model import attention, lora
    from tuning.model.load import fastest_dtype, load_base, load_tokenizer
    from tuning.proof import picks_and_scores, prove
    from tuning.train import train

    tokenizer = load_tokenizer(folder)
    data = prepare(corpus, tokenizer, plan.row_length)
    watcher.note(describe(data))
    if resumed is not None:
        unfinished.check_corpus(name, resumed, data)
    attention.register()
    dtype = fastest_dtype(PartialState().device) if resumed is None else getattr(torch, resumed.dtype)
    dtype_name = str(dtype).removeprefix("torch.")
    model = lora.add_lora(load_base(folder, dtype, attention.NAME), plan.rank, plan.alpha, plan.seed)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if resumed is None:
        asked = unfinished.Asked(
            corpus=tuple(str(path.absolute()) for path in corpus),
            base=base_spec,
            base_digest=base_identity(base).digest,
            plan=plan,
            dtype=dtype_name,
            files=unfinished.files_of(data),
        )
        run_folder, start_from = unfinished.begin(name, asked), None
        watcher.note(f"training {trainable / 1e6:.1f} M LoRA parameters in {dtype_name}")
    else:
        run_folder = unfinished.folder_of(name)
        start_from = checkpoint.read(run_folder)
        assert start_from is not None
        watcher.note(f"going on from step {start_from.position.step} ({start_from.position.share:.0%}) in {dtype_name}")
    keeper = checkpoint.Keeper(run_folder, watcher.note, watcher.checkpoint_minutes)
    try:
        outcome = train(model, data, plan, watcher.progress, watcher.stopped, keeper, start_from)
    except KeyboardInterrupt:
        unfinished.discard(name)
        raise
    if outcome.steps == 0:
        raise HoneError("stopped before the first step was done; nothing was saved")

    watcher.note("exporting, and comparing transformers with llama.cpp in a fresh process")
    held_out = [document for document in data.collection.documents if data.sides[document.path] == "test"]
    passages = [
        list(example.tokens[:PASSAGE_TOKENS])
        for document in held_out
        for example in windows(document.path, document.text, tokenizer, plan.row_length, data.end_token)[:PASSAGES]
    ]
    passages = sorted(passages, key=len, reverse=True)[:PASSAGES]
    model.eval()
    _, expected = picks_and_scores(model, passages, frozenset())
    configuration = json.loads((folder / "config.json").read_text("utf-8"))
    with _disk_errors(), _staged(name) as staging:
        _save_adapter(model, staging, configuration)
        proof = prove(folder, _gguf(base), staging, passages, expected, dtype_name)
        if not proof.holds:
            raise HoneError(
                "the export does not compute what was trained, so it was not saved: llama.cpp agrees with transformers "
                f"on {proof.agreement:.1%} of {proof.positions} next tokens with the adapter and "
                f"{proof.base_agreement:.1%} without, and the reloaded adapter differs by {proof.reload_difference:.2g}"
            )
        version = _publish(staging, name, base, data, plan, dtype_name, outcome, proof)
    unfinished.discard(name)
    return Result(version, data, outcome, proof)


def _gguf(base: BaseModel) -> Path:
    if base.gguf is None:
        raise WrongBase(f"{base.name} has no GGUF form")
    return base.gguf


@contextmanager
def _staged(name: str) -> Iterator[Path]:
    import shutil
    import tempfile

    staging = Path(tempfile.mkdtemp(dir=paths.adapters_dir(), prefix=f".{name}.", suffix=".part"))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HoneError(
            f"cannot save the adapter in {paths.adapters_dir()}: {error.strerror or error}; nothing was left there"
        ) from error


def _save_adapter(model: Any, folder: Path, base_configuration: dict[str, Any]) -> None:
    from safetensors import SafetensorError

    from tuning.export import gguf_lora

    try:
        model.save_pretrained(folder, safe_serialization=True)
    except SafetensorError as error:
        raise OSError(28, str(error)) from error
    gguf_lora(folder, base_configuration, folder / "adapter.gguf")


def _publish(
    staging: Path, name: str, base: BaseModel, data: Data, plan: Plan, dtype: str, outcome: Outcome, proof: Proof
) -> AdapterVersion:
    from tuning.manifest import FILE_NAME, card, manifest

    identity = base_identity(base)
    digest = adapter_digest(staging, identity.digest)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    content = manifest(name, digest, created, base.name, identity, data, plan, dtype, outcome, proof)
    atomic.write_json(staging / FILE_NAME, content)
    atomic.write_text(staging / "README.md", card(content))
    target = paths.adapters_dir() / name / digest[:12]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        for file in staging.iterdir():
            atomic.sync_file(file)
        staging.rename(target)
        atomic.sync_folder(target.parent)
        staging.mkdir()
    version = AdapterVersion(
        name=name,
        digest=digest,
        base_name=base.name,
        base_digest=identity.digest,
        folder=target,
        created=created,
        figures={**asdict(outcome), **{f"proof_{key}": value for key, value in asdict(proof).items()}},
    )
    Registry().register(version)
    return version


def describe(data: Data) -> str:
    """One line on what the corpus came to."""
    counts = {side: list(data.sides.values()).count(side) for side in ("train", "validation", "test")}
    dropped = len(data.collection.dropped)
    secrets = sum(data.redactions.values())
    return (
        f"{len(data.sides)} files: {counts['train']} train ({data.train_tokens:,} tokens in {len(data.rows)} rows), "
        f"{counts['validation']} validation, {counts['test']} held out; {dropped} left out"
        + (f"; {secrets} secrets replaced" if secrets else "")
    )
