"""What a whole run makes of its plan: what it refuses, the trials of a sweep, and the scale of the adapter."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from assistant.errors import HoneError
from assistant.prompts import FIM_FAMILIES
from tests.tuning import tiny_gguf
from tests.tuning.runs import plan_on, train_and_discard
from tests.tuning.tiny import save_base
from tuning import train, unfinished
from tuning.ground import Watcher
from tuning.plan import ExampleOptions, LoraOptions, Plan
from tuning.run import Result, dry_run, resume, tune
from tuning.train import Left


@pytest.fixture
def base(hone_home: Path, tmp_path: Path) -> str:
    return tiny_gguf.ready_base(tmp_path / "tiny.gguf")


@pytest.fixture
def plan(make_repository: Any) -> Plan:
    return plan_on(make_repository)


def make_wild_rates_fail(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
    """Steps at a learning rate over 0.1 have no number for a loss, or end in an error."""
    usual = train.step_on

    def step_on(accelerator: Any, wrapped: Any, optimizer: Any, *rest: Any) -> tuple[float, int]:
        loss, tokens = usual(accelerator, wrapped, optimizer, *rest)
        if optimizer.param_groups[0]["lr"] < 0.1:
            return loss, tokens
        if error is not None:
            raise error
        return math.nan, tokens

    monkeypatch.setattr(train, "step_on", step_on)


def test_a_trial_that_diverges_is_told_and_the_run_is_made_with_another(
    base: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
):
    make_wild_rates_fail(monkeypatch)
    told = train_and_discard(base, replace(plan, sweep={"learning_rate": (1.0, 1e-3)}))
    assert "trial 1 of 2: learning_rate 1.0: diverged" in told.notes
    (table,) = (note for note in told.notes if note.startswith("learning_rate  "))
    chosen, diverged = (line.split() for line in table.splitlines()[1:])
    assert (chosen[0], chosen[-1]) == ("0.001", "chosen")
    assert (diverged[0], diverged[-1]) == ("1.0", "diverged")
    # A step of the one trial that has losses, and those of the run.
    assert len(told.losses) == 1 + 3


def test_another_error_in_a_trial_ends_the_sweep_whatever_its_words(
    base: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
):
    make_wild_rates_fail(monkeypatch, HoneError("the disk said that the loss became nan"))
    with pytest.raises(HoneError, match="the disk said"):
        train_and_discard(base, replace(plan, sweep={"learning_rate": (1.0, 1e-3)}))


def test_a_trial_leaves_as_told_and_the_run_of_before_does_not_come_back(base: str, plan: Plan, hone_home: Path):
    steps: list[int] = []
    inside: list[bool] = []

    @contextmanager
    def training(at_once: bool) -> Iterator[None]:
        inside.append(not at_once)
        yield
        inside.pop()

    watcher = replace(QUIET, progress=lambda one: steps.append(one.step), leaving=lambda: any(inside))
    with pytest.raises(Left, match="left at step 1 "):
        tune("own", base, replace(plan, steps=9), replace(watcher, leaving=lambda: True))
    assert unfinished.position("own") is not None
    swept = replace(plan, steps=30, sweep={"learning_rate": (1e-3, 2e-3)})
    with pytest.raises(Left, match="left in a trial of the sweep as told; the same command") as left:
        tune("own", base, swept, replace(watcher, training=training), restart=True)
    assert (left.value.exit_code, steps) == (143, [1, 1])
    assert unfinished.position("own") is None


QUIET = Watcher(note=lambda _: None, progress=lambda _: None)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"examples": ExampleOptions(fim_rate=0.7)}, "has no fill-in-the-middle tokens, so examples.fim_rate does not"),
        ({"lora": LoraOptions(rank=4, use_dora=True)}, "DoRA cannot be served from .*tiny.gguf's GGUF file"),
    ],
)
def test_what_a_base_cannot_do_is_refused_by_the_run_too_which_has_it_on_this_disk_for_certain(
    base: str, plan: Plan, settings: dict[str, Any], said: str
):
    with pytest.raises(HoneError, match=said):
        tune("own", base, replace(plan, **settings), QUIET)
    with pytest.raises(HoneError, match=said):
        dry_run(replace(plan, **settings), "own", base, QUIET)


def test_a_base_that_could_not_be_served_is_refused(hone_home: Path, plan: Plan, tmp_path: Path):
    with pytest.raises(HoneError, match=r"has no GGUF form, .*name a GGUF base"):
        tune("own", str(save_base(tmp_path / "base")), plan, QUIET)


def test_a_run_goes_on_on_the_base_that_it_began_on_and_on_none_with_another_tokenizer(base: str, plan: Plan):
    leaving = replace(QUIET, leaving=lambda: True)
    plan = replace(plan, steps=9)
    with pytest.raises(Left, match="left at step 1 "):
        tune("own", base, plan, leaving)
    # The same weights; three tokens have other names.
    tiny_gguf.ready_base(Path(base), fim=FIM_FAMILIES[0])
    with pytest.raises(HoneError, match=r"the unfinished run of own was on another .*begin anew with --restart"):
        resume("own", leaving)
    tiny_gguf.ready_base(Path(base))
    with pytest.raises(Left, match="left at step 2 "):
        resume("own", leaving)


def tuned(base: str, plan: Plan) -> tuple[Result, dict[str, torch.Tensor]]:
    result = tune("own", base, plan, QUIET)
    assert result is not None
    return result, load_file(result.version.folder / "adapter_model.safetensors")


@pytest.mark.slow
def test_a_fixed_scale_is_made_part_of_the_weights_whatever_validation_says(base: str, plan: Plan):
    plan = replace(plan, learning_rate=1e-2)
    whole, weights = tuned(base, replace(plan, adapter_scales=(1.0,)))
    # Three steps have not learnt too much: more of them would validate better.
    half, scaled = tuned(base, replace(plan, adapter_scales=(0.5,)))
    assert (whole.scale, half.scale) == (1.0, 0.5)
    assert weights.keys() == scaled.keys()
    for name, weight in weights.items():
        assert torch.equal(scaled[name], weight * 0.5 if "lora_B" in name else weight)
    assert half.outcome.validation_after is not None
    assert whole.outcome.validation_after is not None
    assert half.outcome.validation_after > whole.outcome.validation_after
    manifest = json.loads((half.version.folder / "manifest.json").read_text("utf-8"))
    assert manifest["figures"]["scale"] == 0.5
    assert manifest["figures"]["scales"] == {"0.5": half.outcome.validation_after}
    assert "| adapter scales | 0.5 |" in (half.version.folder / "card.md").read_text("utf-8")
