"""Whole runs of `tuning.run` on the tiny model, in this process."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.tuning.code import modules
from tuning.ground import Watcher
from tuning.plan import CorpusOptions, LoraOptions, Plan
from tuning.run import tune
from tuning.train import Progress


def plan_on(make_repository: Any, **settings: Any) -> Plan:
    """Three steps on a repository of its own."""
    corpus = CorpusOptions(sources=(str(make_repository(modules(30))),))
    small: dict[str, Any] = {"steps": 3, "row_length": 128, "dtype": "float32", "checks": 1}
    return Plan(**{**small, "lora": LoraOptions(rank=4), "corpus": corpus, **settings})


@dataclass(frozen=True)
class Trained:
    """What a run told until its last step."""

    notes: list[str]
    losses: list[float]
    validation: float | None


def train_and_discard(base: str, plan: Plan) -> Trained:
    """A run that a second Ctrl-C discards at its last step, since its export and proof take longer than all before."""
    notes: list[str] = []
    seen: list[Progress] = []

    def progress(one: Progress) -> None:
        seen.append(one)
        if one.step == plan.steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune("discarded", base, plan, Watcher(note=notes.append, progress=progress))
    return Trained(notes, [one.loss for one in seen], seen[-1].validation)
