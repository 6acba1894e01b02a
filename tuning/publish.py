"""From a trained model to a registered adapter: saved, exported, proven in a fresh process, described, then moved to
its place. Nothing is left, and nothing registered, unless the proof holds."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assistant import atomic, feedback_forgotten, paths
from assistant.errors import HoneError
from assistant.models.identity import adapter_digest, base_identity
from assistant.models.registry import AdapterVersion, Registry
from assistant.models.store import BaseModel
from tuning.proof import Proof


@contextmanager
def staged(name: str) -> Iterator[Path]:
    """A folder beside the adapters' own, gone when the block ends.

    Raises:
        HoneError: the disk refuses something that is written in the block.
    """
    try:
        staging = Path(tempfile.mkdtemp(dir=paths.adapters_dir(), prefix=f".{name}.", suffix=".part"))
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise HoneError(
            f"cannot save the adapter in {paths.adapters_dir()}: {error.strerror or error}; nothing was left there"
        ) from error


def save(model: Any, base_folder: Path, base_name: str, staging: Path) -> None:
    """Writes a peft model's adapter, and its GGUF LoRA.

    Raises:
        HoneError: an adapter or architecture that has no GGUF form.
        OSError: the disk is full.
    """
    from safetensors import SafetensorError

    try:
        model.save_pretrained(staging, safe_serialization=True)
    except SafetensorError as error:
        raise OSError(28, str(error)) from error
    complete(staging, base_folder, base_name)


def complete(staging: Path, base_folder: Path, base_name: str) -> None:
    """Takes this machine's paths out of a PEFT adapter's configuration, and writes its GGUF LoRA.

    Raises:
        HoneError: as for `save`.
    """
    from assistant.models.peft_files import CONFIGURATION
    from tuning.export import gguf_lora
    from tuning.formats.adapter import shared_configuration

    atomic.write_json(staging / CONFIGURATION, shared_configuration(staging, base_name))
    configuration = json.loads((base_folder / "config.json").read_text("utf-8"))
    gguf_lora(staging, configuration, staging / "adapter.gguf")


def refuse_bad(proof: Proof, made: str = "trained") -> None:
    """
    Raises:
        HoneError: what was saved does not compute what was `made`.
    """
    if not proof.holds:
        raise HoneError(
            f"the export does not compute what was {made}, so it was not saved: llama.cpp agrees with transformers "
            f"on {proof.agreement:.1%} of {proof.positions} next tokens with the adapter and "
            f"{proof.base_agreement:.1%} without, the reloaded adapter differs by {proof.reload_difference:.2g} and "
            f"the merged one by {proof.merged_difference:.2g}"
        )


def publish(
    staging: Path,
    name: str,
    base: BaseModel,
    content: Mapping[str, Any],
    figures: Mapping[str, Any],
    metrics: Path | None = None,
) -> AdapterVersion:
    """Gives a staged adapter its digest, manifest and card, moves it to its place and registers it.

    Args:
        content: what the manifest says beside the adapter's and the base's identity.
        figures: what the registry shows.
        metrics: the run's metrics.jsonl, kept with the adapter and plotted in the card.

    Raises:
        OSError: the disk is full.
    """
    from tuning.card import METRICS, write_card
    from tuning.formats.hashes import file_hashes
    from tuning.manifest import FILE_NAME, identified

    identity = base_identity(base)
    digest = adapter_digest(staging, identity.digest)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    whole = identified(content, name, digest, created, base.name, identity)
    if metrics is not None and metrics.exists():
        shutil.copy(metrics, staging / METRICS)
    write_card(staging, whole)
    atomic.write_json(staging / FILE_NAME, {**whole, "hashes": file_hashes(staging)})
    target = paths.adapters_dir() / name / digest[:12]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        for file in staging.iterdir():
            atomic.sync_file(file)
        staging.rename(target)
        atomic.sync_folder(target.parent)
    version = AdapterVersion(
        name=name,
        digest=digest,
        base_name=base.name,
        base_digest=identity.digest,
        folder=target,
        created=created,
        figures=dict(figures),
    )
    registry = Registry()
    registry.register(version)
    # Feedback may have been forgotten since the run read it, or before a parent was merged. The adapter is made: what
    # cannot be told now, such as of another one's damaged manifest, the next `hone feedback forget` tells.
    with suppress(HoneError):
        feedback_forgotten.mark_adapters(registry)
    return version
