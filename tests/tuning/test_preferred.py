"""How much of what preferences changed is kept."""

from typing import Any

import pytest
import torch

from tests.tuning.tiny import make_model
from tuning.model import lora
from tuning.plan import LoraOptions
from tuning.preferred import Kept, hold_back, weights_of


def adapted(value: float) -> Any:
    model = lora.add_lora(make_model(), LoraOptions(rank=2), 0)
    fill(model, value)
    return model


def fill(model: Any, value: float) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(value)


def level(model: Any) -> float:
    return float(next(weight for name, weight in weights_of(model).items() if "lora_B" in name).mean())


@pytest.mark.parametrize(
    ("budget", "share"),
    [(1.0, 1.0), (0.8, 0.75), (0.6, 0.5), (0.5, 0.5), (0.49, 0.25), (0.0, 0.0)],
)
def test_what_costs_too_much_is_taken_back_in_part(budget: float, share: float) -> None:
    model = adapted(0.0)
    before = weights_of(model)
    fill(model, 1.0)
    # Each part of the change costs as much as it is large.
    kept = hold_back(model, before, lambda: 2.0 * (1 + level(model)), 2.0, budget)
    assert kept == Kept(share, 2.0, 2.0 * (1 + share))
    assert level(model) == share


def test_without_validation_all_is_kept_and_said() -> None:
    model = adapted(0.0)
    before = weights_of(model)
    fill(model, 1.0)
    kept = hold_back(model, before, lambda: None, None, 0.0)
    assert kept == Kept(1.0, None, None)
    assert level(model) == 1.0
    assert "nothing says" in kept.describe()


def test_what_makes_it_better_is_kept() -> None:
    model = adapted(0.0)
    before = weights_of(model)
    fill(model, 1.0)
    assert hold_back(model, before, lambda: 1.5, 2.0, 0.0).describe() == (
        "with what was preferred: validation 2.000 -> 1.500 bits per byte"
    )
