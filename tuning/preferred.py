"""What a run learns from preferences once it has trained, and what its manifest says of feedback."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tuning import unfinished
from tuning.data import Data
from tuning.feedback_run import FRESH
from tuning.ground import Ground
from tuning.plan import Plan

if TYPE_CHECKING:
    import torch

SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Of what was learnt from preferences, in the order in which they are tried."""
_NOTE_SECONDS = 20.0


@dataclass(frozen=True)
class Kept:
    """What was kept of what preferences changed."""

    share: float
    validation_before: float | None
    """Bits per byte of the corpus's validation files."""
    validation_after: float | None

    def describe(self) -> str:
        """One line."""
        if self.validation_before is None or self.validation_after is None:
            return "there are no validation files, so nothing says what these preferences made it forget"
        bits = f"validation {self.validation_before:.3f} -> {self.validation_after:.3f} bits per byte"
        if self.share == 1.0:
            return f"with what was preferred: {bits}"
        return f"{self.share:.0%} of what was preferred is kept, more would forget too much: {bits}"


def preferred(ground: Ground, model: Any, data: Data, plan: Plan, dtype: "torch.dtype") -> dict[str, Any]:
    """What the manifest says of the feedback that was learnt, after its preferences were learnt too."""
    from tuning import feedback_rows
    from tuning.model.load import load_base, load_tokenizer

    written = feedback_rows.read(plan.feedback.rows)
    found = kept = None
    if written.method != "none" and ground.watcher.stopped():
        ground.watcher.note(f"stopped, so nothing is learnt from {len(written.preferences)} preferences")
    elif written.method != "none":
        from tuning.preference import prefer

        ground.watcher.note(f"learning from {len(written.preferences)} preferences ({written.method.upper()})")
        before, bits = weights_of(model), _bits(ground, model, data)
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
                _teller(ground.watcher.note),
            )
        ground.watcher.note(found.describe())
        kept = hold_back(model, before, lambda: _bits(ground, model, data), bits, plan.feedback.forgetting)
        ground.watcher.note(kept.describe())
    return {
        "start": None if plan.feedback.start == FRESH else plan.feedback.start,
        "task": plan.examples.task,
        "completions": len(written.completions),
        "preferences": {**asdict(found), **asdict(kept)} if found and kept else None,
        "left_out": written.left_out,
        "ids": list(written.ids),
    }


def weights_of(model: Any) -> "dict[str, torch.Tensor]":
    """A copy of the adapter's."""
    from peft import get_peft_model_state_dict

    return {name: weight.detach().clone() for name, weight in get_peft_model_state_dict(model).items()}


def hold_back(
    model: Any,
    before: "dict[str, torch.Tensor]",
    measure: Callable[[], float | None],
    bits_before: float | None,
    budget: float,
) -> Kept:
    """Takes back as much of what changed the adapter as makes it forget, and no more.

    Args:
        before: the adapter's weights from before the change.
        measure: the validation of the model as it is, in bits per byte; None: there is none to go by.
        bits_before: the same from before the change.
        budget: the relative growth that is allowed.
    """
    import torch
    from peft import set_peft_model_state_dict

    after, bits = weights_of(model), measure()
    if bits_before is None or bits is None:
        return Kept(1.0, bits_before, bits)
    share, *rest = SHARES
    while bits is not None and bits > bits_before * (1 + budget) and rest:
        share, *rest = rest
        # Linear in each factor of the LoRA: from one function to the other it is not far.
        mixed = {name: torch.lerp(before[name], after[name], share) for name in after}
        set_peft_model_state_dict(model, mixed)
        bits = measure()
    return Kept(share, bits_before, bits)


def _bits(ground: Ground, model: Any, data: Data) -> float | None:
    from tuning.model.packed import PackedModel
    from tuning.train import validation_bits

    # Not of held-out feedback, which preferences make likelier whatever else they do.
    return validation_bits(ground.accelerator, PackedModel(model), data.corpus_validation)


def _teller(note: Callable[[str], object]) -> Callable[[int, int, float], None]:
    """Says now and then how far it is."""
    began = said = time.monotonic()

    def tell(step: int, steps: int, loss: float) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= _NOTE_SECONDS:
            said = now
            minutes, seconds = divmod(round((now - began) / step * (steps - step)), 60)
            note(
                f"{step / steps:4.0%}  preference step {step} of {steps}  loss {loss:.3f}  ETA {minutes}:{seconds:02d}"
            )

    return tell


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
