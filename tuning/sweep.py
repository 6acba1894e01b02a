"""A sweep: short trials of some settings from the same start on the same rows, and the run with the best of them.

What a trial is made with, and who trains it, is the caller's: here is only which trials there are, what their
validations say, and what a killed sweep goes on from.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from assistant import atomic
from assistant.errors import HoneError
from tuning.plan import Plan, Value, to_json, with_settings
from tuning.plan_checks import combinations

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Trial:
    settings: Mapping[str, Value]
    """Key -> the value tried."""
    steps: int
    validation: float | None
    """Bits per byte at its best; None: the loss stopped being a number."""
    seconds: float


@dataclass(frozen=True)
class Sweep:
    trials: tuple[Trial, ...]
    best: Trial
    plan: Plan
    """Of the run itself: the best trial's settings, and of the minutes what the trials have left."""

    def to_json(self) -> dict[str, Any]:
        """For the manifest: the trials in order, and what was chosen."""
        return {"trials": [asdict(trial) for trial in self.trials], "chosen": dict(self.best.settings)}

    def table(self) -> str:
        """The trials, best first, as lines of a text table."""
        names = list(self.best.settings)
        head = [*names, "steps", "bits per byte", ""]
        rows = [
            [
                *(f"{trial.settings[name]}" for name in names),
                str(trial.steps),
                "diverged" if trial.validation is None else f"{trial.validation:.4f}",
                "chosen" if trial is self.best else "",
            ]
            for trial in sorted(self.trials, key=_rank)
        ]
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
        return "\n".join(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)
        )


def trial_plans(plan: Plan, whole_steps: int) -> list[tuple[dict[str, Value], Plan]]:
    """What each trial tries, and its plan: as many tokens as every other, one validation at its end.

    Args:
        whole_steps: optimizer steps of the run itself at `plan.rows_per_step`; estimated, for a run of minutes.
    """
    plans = []
    for settings in combinations(plan.sweep):
        tried = with_settings(replace(plan, sweep={}), settings)
        steps = max(1, round(whole_steps * plan.sweep_share * plan.rows_per_step / tried.rows_per_step))
        tried = replace(
            tried,
            steps=steps,
            minutes=None,
            epochs=None,
            checks=1,
            patience=None,
            tracker="none",
            adapter_scales=(1.0,),
        )
        plans.append((settings, tried))
    return plans


def sweep(
    plan: Plan,
    whole_steps: int,
    train_trial: Callable[[Plan], float],
    note: Callable[[str], None],
    stopped: Callable[[], bool] = lambda: False,
    keep: Path | None = None,
    identity: str = "",
) -> Sweep:
    """Makes the trials of `plan.sweep` and picks the one with the lowest validation; the first of equals.

    Args:
        whole_steps: as in `trial_plans`.
        train_trial: trains from the untouched base on the run's rows and returns bits per byte of validation; a value
            that is no finite number means that the trial diverged.
        note: told of each trial's outcome.
        stopped: asked after each trial; True ends the sweep, and the trial that it cut short does not count.
        keep: where finished trials are kept until the caller removes it, so that a killed sweep goes on after them.
        identity: of base and rows; kept trials of others are made again.

    Raises:
        HoneError: stopped, every trial diverged, or the disk refuses to keep a trial.
    """
    trials = trial_plans(plan, whole_steps)
    asked = hashlib.sha256(json.dumps([to_json(plan), whole_steps, identity], sort_keys=True).encode()).hexdigest()
    done = _read(keep, asked)[: len(trials)] if keep is not None else []
    for number, (settings, tried) in enumerate(trials, start=1):
        if number <= len(done):
            note(f"trial {number} of {len(trials)}: {_described(done[number - 1])} (made before)")
            continue
        began = time.monotonic()
        bits = train_trial(tried)
        if stopped():
            kept = " what was measured is kept, and the same command goes on from there" if keep and done else ""
            raise HoneError(f"stopped in trial {number} of {len(trials)};{kept or ' nothing was saved'}")
        validation = bits if math.isfinite(bits) else None
        done.append(Trial(settings, tried.steps or 1, validation, time.monotonic() - began))
        if keep is not None:
            _write(keep, asked, done)
        note(f"trial {number} of {len(trials)}: {_described(done[-1])}")
    best = min(done, key=_rank)
    if best.validation is None:
        raise HoneError("in every trial of the sweep the loss stopped being a number; try lower values")
    return Sweep(tuple(done), best, _rest(plan, best, done))


def _rest(plan: Plan, best: Trial, trials: list[Trial]) -> Plan:
    """The run itself. Trials count in its minutes, but never for more than the share of them that was asked for."""
    chosen = with_settings(replace(plan, sweep={}), best.settings)
    if plan.minutes is None:
        return chosen
    spent = min(sum(trial.seconds for trial in trials) / 60, plan.minutes * len(trials) * plan.sweep_share)
    return replace(chosen, minutes=max(0.01, plan.minutes - spent))


def _rank(trial: Trial) -> float:
    return math.inf if trial.validation is None else trial.validation


def _described(trial: Trial) -> str:
    tried = ", ".join(f"{key} {value}" for key, value in trial.settings.items())
    return f"{tried}: " + ("diverged" if trial.validation is None else f"{trial.validation:.4f} bits per byte")


def _write(file: Path, asked: str, trials: list[Trial]) -> None:
    content = {"schema_version": SCHEMA_VERSION, "asked": asked, "trials": [asdict(trial) for trial in trials]}
    try:
        atomic.write_json(file, content)
    except OSError as error:
        raise HoneError(f"cannot keep the sweep's trials in {file}: {error.strerror or error}") from error


def _read(file: Path, asked: str) -> list[Trial]:
    """Finished trials of the same sweep; none when there are none, or the file is of another sweep."""
    try:
        content = json.loads(file.read_text("utf-8"))
        if content["schema_version"] != SCHEMA_VERSION or content["asked"] != asked:
            return []
        return [Trial(**trial) for trial in content["trials"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
