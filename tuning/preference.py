"""Learning from preferences by TRL's trainers: DPO from edits, KTO from answers that were liked or not.

The adapter as it is when this begins is the reference that it is held to. The rows are tokenized here and not by TRL,
which would tokenize prompt and text as one and end every text with the tokenizer's end token: what was kept does not
end the file.
"""

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from assistant.errors import HoneError
from tuning.distributed import launched
from tuning.feedback_data import Row
from tuning.feedback_rows import Encoder
from tuning.plan import Plan

if TYPE_CHECKING:
    import torch

BATCH = 4
"""Rows of one pass. KTO estimates how far the model has moved from mismatched rows of a batch, so it needs several."""
STEP = 8
"""Rows of one optimizer step."""


@dataclass(frozen=True)
class Preferred:
    """What came of it. Rewards are TRL's: beta times how much more likely a text is than before, in nats."""

    method: Literal["dpo", "kto"]
    rows: int
    too_long: int
    """Rows that do not fit, and were left out."""
    steps: int
    loss_first: float
    loss_last: float
    """Means of the first and the last quarter of the steps."""
    margin_last: float | None
    """Reward of what was preferred over what was not, in the last quarter; None where TRL tells none."""

    def describe(self) -> str:
        """One line."""
        margin = "" if self.margin_last is None else f", reward margin {self.margin_last:+.3f}"
        longer = f"; {self.too_long} are too long" if self.too_long else ""
        return (
            f"{self.method.upper()} on {self.rows} rows{longer}: {self.steps} steps, loss {self.loss_first:.3f} -> "
            f"{self.loss_last:.3f}{margin}"
        )


def check_possible() -> None:
    """
    Raises:
        HoneError: TRL is not installed, or several processes run.
    """
    from importlib.util import find_spec

    if find_spec("trl") is None:
        raise HoneError(
            "there is enough feedback to learn preferences from, which takes TRL: "
            "pip install 'hone-assistant[preference]', or leave them out with --set feedback.objective=completions"
        )
    if launched() > 1:
        raise HoneError(
            "preferences are learnt in one process; start without accelerate launch, or leave them out with "
            "--set feedback.objective=completions"
        )


def prefer(
    model: Any,
    load_base: Callable[[], Any],
    tokenizer: Any,
    end_token: int,
    rows: Sequence[Row],
    method: Literal["dpo", "kto"],
    plan: Plan,
    ends: Callable[[], bool] = lambda: False,
    told: Callable[[int, int, float], object] = lambda step, steps, loss: None,
) -> Preferred:
    """Trains the adapter of a peft model in place.

    Args:
        model: with one adapter, `default`; only its weights change.
        load_base: a fresh base with an attention that takes padded batches, held in memory meanwhile.
        ends: asked after each step; True ends the training there, with what was learnt.
        told: of each step, of how many, and its loss.

    Raises:
        HoneError: TRL is missing, several processes run, the loss is no number, or too few rows fit.
    """
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    check_possible()
    encoded = _encoded(rows, method, Encoder(tokenizer, end_token, plan.row_length))
    if len(encoded) < BATCH:
        raise HoneError(
            f"{len(encoded)} of {len(rows)} rows of preference fit a row of {plan.row_length} tokens; "
            "raise --row-length"
        )
    Random(f"{plan.seed}/preference").shuffle(encoded)
    configuration = copy.deepcopy(model.peft_config["default"])
    # A start of its own would change the base's weights, which the adapter is not for.
    configuration.init_lora_weights, configuration.inference_mode = True, False
    trained = get_peft_model(load_base(), configuration, autocast_adapter_dtype=True)
    set_peft_model_state_dict(trained, get_peft_model_state_dict(model))
    with tempfile.TemporaryDirectory(prefix="hone-preference-") as folder:
        trainer = _trainer(trained, encoded, method, tokenizer, plan, Path(folder))
        trainer.add_callback(_watching(ends, told))
        trainer.train()
        history = [entry for entry in trainer.state.log_history if "loss" in entry]
    set_peft_model_state_dict(model, _finite(get_peft_model_state_dict(trained, adapter_name="default")))
    quarter = max(1, len(history) // 4)
    margins = [entry["rewards/margins"] for entry in history[-quarter:] if "rewards/margins" in entry]
    return Preferred(
        method=method,
        rows=len(encoded),
        too_long=len(rows) - len(encoded),
        steps=int(trainer.state.global_step),
        loss_first=_mean([entry["loss"] for entry in history[:quarter]]),
        loss_last=_mean([entry["loss"] for entry in history[-quarter:]]),
        margin_last=_mean(margins) if margins else None,
    )


def _encoded(rows: Sequence[Row], method: str, encoder: Encoder) -> list[dict[str, Any]]:
    """In the columns of TRL's own tokenized datasets."""
    found = []
    for row in rows:
        text = encoder.encode(row, row.text)
        if text is None:
            continue
        if method == "kto":
            found.append({"prompt_ids": list(text.prompt), "completion_ids": list(text.answer), "label": row.good})
            continue
        assert row.rejected is not None
        rejected = encoder.encode(row, row.rejected)
        # A pair is two answers to one prompt; a longer answer may have cost it lines.
        if rejected is not None and rejected.prompt == text.prompt:
            found.append(
                {
                    "prompt_ids": list(text.prompt),
                    "chosen_ids": list(text.answer),
                    "rejected_ids": list(rejected.answer),
                }
            )
    return found


def _trainer(model: Any, rows: list[dict[str, Any]], method: str, tokenizer: Any, plan: Plan, folder: Path) -> Any:
    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    options = plan.feedback
    device = next(model.parameters()).device
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": BATCH,
        "gradient_accumulation_steps": max(1, STEP // BATCH),
        "num_train_epochs": options.preference_epochs,
        "learning_rate": options.preference_rate,
        "lr_scheduler_type": "cosine",
        "max_grad_norm": plan.clip,
        "weight_decay": 0.0,
        "beta": options.beta,
        "seed": plan.seed % 2**32,
        "use_cpu": device.type == "cpu",
        "bf16": False,
        "activation_checkpointing": False,
        "max_length": None,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    if method == "kto":
        good = sum(row["label"] for row in rows)
        bad = len(rows) - good
        # The rarer label counts for as much as the other: equation 8 of Ethayarajh et al. 2024, at its lower end.
        settings["desirable_weight"] = max(1.0, bad / max(good, 1))
        settings["undesirable_weight"] = max(1.0, good / max(bad, 1))
        rows = _with_mismatched(rows)
    trainer_class, configuration_class = _classes(method)
    trainer = trainer_class(
        model=model,
        args=configuration_class(**settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=copy.deepcopy(tokenizer),
    )
    # They write to standard output.
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    return trainer


def _watching(ends: Callable[[], bool], told: Callable[[int, int, float], object]) -> Any:
    """What a trainer asks and tells after each step."""
    from transformers.trainer_callback import TrainerCallback

    class Watching(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = ends() or control.should_training_stop

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            # The last log is of the whole training.
            if logs and "loss" in logs:
                told(state.global_step, state.max_steps, logs["loss"])

    return Watching()


def _with_mismatched(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row with the text of the one before it in its batch, from which KTO estimates its reference point. What does
    not fill a batch is left out."""
    whole = rows[: len(rows) // BATCH * BATCH]
    return [
        {**row, "KL_completion_ids": whole[at - 1 if at % BATCH else at + BATCH - 1]["completion_ids"]}
        for at, row in enumerate(whole)
    ]


@cache
def _classes(method: str) -> tuple[Any, Any]:
    """TRL's trainer, taking rows that are tokenized already, and the class of its settings."""
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

    trainer, configuration = (DPOTrainer, DPOConfig) if method == "dpo" else (KTOTrainer, KTOConfig)

    class Tokenized(trainer):  # type: ignore[misc, valid-type]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    return Tokenized, configuration


def _finite(weights: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    if not all(bool(weight.isfinite().all()) for weight in weights.values()):
        raise HoneError("learning from preferences diverged; lower feedback.preference_rate")
    return weights


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
