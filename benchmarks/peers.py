"""Peers: in a process of their own, since two libraries' threads in one process slow each other down; and TRL."""

import multiprocessing
import tempfile
from collections.abc import Callable
from typing import Any

from tuning.examples.plain import IGNORED


class Peer:
    """Calls to what `make(*arguments)` returns, answered by another process."""

    def __init__(self, make: Callable[..., Callable[..., Any]], *arguments: Any) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._mine, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._mine.recv()

    def __call__(self, *arguments: Any) -> Any:
        """
        Raises:
            EOFError: the process has died; what it said stands on standard error.
        """
        self._mine.send(arguments)
        return self._mine.recv()

    def close(self) -> None:
        """Ends the process in order: what it registered with `atexit` runs."""
        self._mine.close()
        self._process.join()


def _serve(pipe: Any, make: Callable[..., Callable[..., Any]], arguments: tuple[Any, ...]) -> None:
    run = make(*arguments)
    pipe.send("ready")
    while True:
        try:
            asked = pipe.recv()
        except EOFError:
            return
        pipe.send(run(*asked))


def train_by_trl(
    model: Any, tokenizer: Any, steps: list[list[Any]], at_once: int, told: Callable[[float], None], **settings: Any
) -> None:
    """Trains a peft model by TRL's SFTTrainer on packed rows, with the boundaries of their documents kept.

    Args:
        steps: the rows of each optimizer step.
        at_once: rows of one pass.
        told: called with the loss of each step.
        settings: further ones of `SFTConfig`.
    """
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Watch(TrainerCallback):
        def on_log(self, arguments: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" in logs:
                told(logs["loss"])

    rows = [
        {
            "input_ids": [token for example in row for token in example.tokens],
            "labels": [label for example in row for label in labels_of(example)],
            "seq_lengths": [len(example.tokens) for example in row],
        }
        for some in steps
        for row in some
    ]
    with tempfile.TemporaryDirectory() as out:
        configuration = SFTConfig(
            output_dir=out,
            max_length=None,
            padding_free=True,
            dataset_kwargs={"skip_prepare_dataset": True},
            train_sampling_strategy="sequential",
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=len(steps[0]) // at_once,
            max_steps=len(steps),
            lr_scheduler_type="constant",
            adam_beta2=0.95,
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **settings,
        )
        trainer = SFTTrainer(
            model=model,
            args=configuration,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[Watch()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def labels_of(example: Any) -> list[int]:
    """The first token is predicted by nothing, least of all by the document before it."""
    return [IGNORED, *example.labels[1:]]
