"""Where a run's figures go: `metrics.jsonl` always, a tracker of accelerate's where the plan names one.

Without one nothing of a tracker is imported and nothing is sent.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from assistant import atomic
from assistant.errors import HoneError
from tuning.plan import Plan

PACKAGES = {"tensorboard": ("tensorboard", "tensorboard"), "trackio": ("trackio", "trackio")} | {
    "mlflow": ("mlflow", "mlflow-skinny")
}
"""Tracker -> the module it needs and the package that has it."""

PROJECT = "hone"


def check_tracker(name: str) -> None:
    """
    Raises:
        HoneError: no such tracker, or its package is not installed.
    """
    if name == "none":
        return
    if name not in PACKAGES:
        raise HoneError(f"tracker = {name!r} is not known; known: none, {', '.join(PACKAGES)}")
    module, package = PACKAGES[name]
    if find_spec(module) is None:
        raise HoneError(f"tracker = {name!r} needs a package that is not installed: pip install {package}")


class MetricsFile:
    """One JSON object a line, one line a step. A kill leaves whole lines, but for the last one perhaps.

    Going on from a checkpoint drops the lines of the steps after it, which are done again.
    """

    def __init__(self, path: Path, after_step: int, note: Callable[[str], None]) -> None:
        """
        Args:
            after_step: the step that the run goes on from; 0 begins an empty file.
        """
        self._path, self._note, self._refused = path, note, False
        try:
            # Rewritten at every start, so that an unreadable end is never written on to.
            lines = [json.dumps(one) for one in read_metrics(path) if one["step"] <= after_step] if after_step else []
            atomic.write_text(path, "".join(f"{line}\n" for line in lines))
        except OSError as error:
            self._refuse(error)

    def append(self, values: dict[str, Any]) -> None:
        """A disk that refuses is noted once; the training goes on."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values, allow_nan=False) + "\n")
        except OSError as error:
            self._refuse(error)

    def sync(self) -> None:
        """Puts the lines on the disk, so that a checkpoint is never ahead of them."""
        try:
            with self._path.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            self._refuse(error)

    def _refuse(self, error: OSError) -> None:
        if not self._refused:
            self._note(f"cannot write {self._path}: {error.strerror or error}; training goes on")
        self._refused = True


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl` in order, up to the first that is not whole; none without a file."""
    if not path.is_file():
        return []
    whole: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            values = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n") or not isinstance(values, dict) or "step" not in values:
            break
        whole.append(values)
    return whole


class Metrics:
    """A run's figures, step by step, to the file and the tracker.

    Every process has one; accelerate's trackers and the path are those of the first.
    """

    def __init__(
        self, accelerator: Any, plan: Plan, path: Path | None, after_step: int, note: Callable[[str], None]
    ) -> None:
        """
        Args:
            accelerator: from `distributed.start`, with the plan's tracker.
            path: of `metrics.jsonl`; None writes none.
            after_step: the step that the run goes on from.

        Raises:
            HoneError: the tracker refuses, for instance because its server does not answer.
        """
        self._accelerator, self._note = accelerator, note
        self._file = None if path is None else MetricsFile(path, after_step, note)
        self._tracked = plan.tracker != "none"
        if not self._tracked:
            return
        # TensorBoard hides what an earlier process wrote about steps that are done again.
        options: dict[str, Any] = {"tensorboard": {"purge_step": after_step + 1}} if after_step else {}
        try:
            accelerator.init_trackers(PROJECT, config=_flat(asdict(plan)), init_kwargs=options)
        except Exception as error:  # whatever the tracker's package raises
            raise HoneError(f"tracker = {plan.tracker!r} cannot begin a run: {error}") from error

    def log(self, values: dict[str, Any]) -> None:
        """
        Args:
            values: numbers by name, one of them `step`; None where something was not measured.
        """
        if self._file is not None:
            self._file.append(values)
        if self._tracked:
            measured = {name: value for name, value in values.items() if value is not None and name != "step"}
            try:
                self._accelerator.log(measured, step=values["step"])
            except Exception as error:  # whatever the tracker's package raises
                self._note(f"the tracker failed at step {values['step']}: {error}; training goes on without it")
                self._tracked = False

    def sync(self) -> None:
        """Before a checkpoint is made, so that none is ahead of the figures."""
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        if self._tracked:
            try:
                self._accelerator.end_training()
            except Exception as error:  # whatever the tracker's package raises
                self._note(f"the tracker did not end well: {error}")
            self._tracked = False


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Dotted keys, and the values that every tracker takes."""
    flat: dict[str, bool | int | float | str] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat
