"""What a run learns from preferences once it has trained, and what its manifest says of feedback."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tuning import unfinished
from tuning.data import Data
from tuning.feedback_run import FRESH
from tuning.ground import Ground
from tuning.plan import Plan

if TYPE_CHECKING:
    import torch


def preferred(ground: Ground, model: Any, data: Data, plan: Plan, dtype: "torch.dtype") -> dict[str, Any]:
    """What the manifest says of the feedback that was learnt, after its preferences were learnt too."""
    from tuning import feedback_rows
    from tuning.model.load import load_base, load_tokenizer

    written = feedback_rows.read(plan.feedback.rows)
    found = None
    if written.method != "none" and ground.watcher.stopped():
        ground.watcher.note(f"stopped, so nothing is learnt from {len(written.preferences)} preferences")
    elif written.method != "none":
        from tuning.preference import prefer

        ground.watcher.note(f"learning from {len(written.preferences)} preferences ({written.method.upper()})")
        with ground.watcher.training(True):
            found = prefer(
                model,
                lambda: _on(ground, load_base(ground.folder, dtype, quantize=plan.quantize)),
                load_tokenizer(ground.folder),
                data.end_token,
                written.preferences,
                written.method,
                plan,
                lambda: _ends(ground),
            )
        ground.watcher.note(found.describe())
    return {
        "start": None if plan.feedback.start == FRESH else plan.feedback.start,
        "task": plan.examples.task,
        "completions": len(written.completions),
        "preferences": asdict(found) if found else None,
        "left_out": written.left_out,
        "ids": list(written.ids),
    }


def _on(ground: Ground, model: Any) -> Any:
    """A model on the device of the run; a quantized one is there and says no to being moved."""
    return model if getattr(model, "is_quantized", False) else model.to(ground.accelerator.device)


def _ends(ground: Ground) -> bool:
    """Whether learning from preferences shall end with this step.

    Raises:
        Left: it is told to leave; what was learnt from preferences is learnt again.
    """
    from tuning.train import Left

    if ground.watcher.leaving():
        kept = unfinished.position(ground.name) is not None
        again = "--resume goes on from the training's last checkpoint" if kept else "the same command begins anew"
        raise Left(f"left while it learnt from preferences as told; {again}")
    return ground.watcher.stopped()
