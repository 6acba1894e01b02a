"""Preferences by TRL's trainers, on a tiny random model."""

from typing import Any

import pytest
import torch
from peft import get_peft_model_state_dict

from assistant.errors import HoneError
from tests.tuning.test_feedback_rows import END, TOKENIZER, row
from tests.tuning.tiny import make_model
from tuning.feedback_data import Row
from tuning.feedback_rows import Encoder
from tuning.model import lora
from tuning.plan import FeedbackOptions, LoraOptions, Plan
from tuning.preference import prefer

pytest.importorskip("trl")
PLAN = Plan(
    row_length=96, feedback=FeedbackOptions(preference_rate=5e-3, preference_epochs=4.0), lora=LoraOptions(rank=4)
)


def adapted() -> Any:
    """The tiny model with an adapter that already does something, which is what preferences are held to."""
    model = lora.add_lora(make_model(), PLAN.lora, 0)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    return model


def log_probability(model: Any, one: Row, text: str) -> float:
    encoded = Encoder(TOKENIZER, END, PLAN.row_length).encode(one, text)
    assert encoded is not None
    tokens = torch.tensor([encoded.example.tokens])
    with torch.no_grad():
        scores = model(input_ids=tokens).logits[0].log_softmax(-1)
    return float(sum(scores[at - 1, int(tokens[0, at])] for at in range(len(encoded.prompt), tokens.shape[1])))


def base_untouched(model: Any) -> bool:
    fresh = dict(make_model().named_parameters())
    return all(
        torch.equal(parameter, fresh[name.removeprefix("base_model.model.").replace(".base_layer", "")])
        for name, parameter in model.named_parameters()
        if "lora" not in name
    )


def test_dpo_makes_what_was_chosen_likelier_than_what_was_replaced() -> None:
    rows = [row(number, rejected=f"return height - {number}\n") for number in range(12)]
    model = adapted()
    before = [log_probability(model, one, one.text) - log_probability(model, one, str(one.rejected)) for one in rows]
    told: list[tuple[int, int, float]] = []
    found = prefer(model, make_model, TOKENIZER, END, rows, "dpo", PLAN, told=lambda *step: told.append(step))
    after = [log_probability(model, one, one.text) - log_probability(model, one, str(one.rejected)) for one in rows]
    assert sum(after) > sum(before) + 12
    assert (found.method, found.rows, found.too_long, found.steps) == ("dpo", 12, 0, 8)
    # Held to what the adapter was before, the first loss is ln 2.
    assert found.loss_first == pytest.approx(0.69, abs=0.1)
    assert found.loss_last < found.loss_first
    assert found.margin_last is not None
    assert found.margin_last > 0
    assert [step[:2] for step in told] == [(number, 8) for number in range(1, 9)]
    assert sum(step[2] for step in told[:2]) / 2 == pytest.approx(found.loss_first, abs=1e-3)
    assert base_untouched(model)
    assert set(model.peft_config) == {"default"}


def test_kto_makes_good_answers_likelier_and_bad_ones_less() -> None:
    good = [row(number) for number in range(4)]
    bad = [row(number, text=f"return height - {number}\n", good=False) for number in range(12)]
    model = adapted()
    before = {one: log_probability(model, one, one.text) for one in (*good, *bad)}
    found = prefer(model, make_model, TOKENIZER, END, [*good, *bad], "kto", PLAN)
    gained = {one: log_probability(model, one, one.text) - before[one] for one in before}
    assert sum(gained[one] for one in good) / 4 > sum(gained[one] for one in bad) / 12
    assert (found.method, found.rows, found.steps) == ("kto", 16, 8)
    assert base_untouched(model)


def test_it_ends_after_the_step_that_it_is_told_in() -> None:
    rows = [row(number, rejected=f"return height - {number}\n") for number in range(12)]
    asked: list[None] = []
    found = prefer(adapted(), make_model, TOKENIZER, END, rows, "dpo", PLAN, lambda: not asked.append(None))
    assert (found.steps, len(asked)) == (1, 1)
    assert found.loss_last == found.loss_first == pytest.approx(0.69, abs=0.1)


def test_the_same_rows_give_the_same_adapter(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(number, rejected="pass\n") for number in range(4)]
    made = []
    for _ in range(2):
        model = adapted()
        prefer(model, make_model, TOKENIZER, END, rows, "dpo", PLAN)
        made.append(get_peft_model_state_dict(model))
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    # Standard output belongs to --json.
    assert capsys.readouterr().out == ""


def test_what_does_not_fit_is_left_out_or_refused() -> None:
    long = "long " * 300
    rows = [row(number, rejected="pass\n") for number in range(4)]
    found = prefer(adapted(), make_model, TOKENIZER, END, [*rows, row(9, rejected=long)], "dpo", PLAN)
    assert (found.rows, found.too_long) == (4, 1)
    with pytest.raises(HoneError, match="3 of 4 rows of preference fit a row of 96 tokens"):
        prefer(adapted(), make_model, TOKENIZER, END, [*rows[:3], row(9, text=long, rejected="1")], "dpo", PLAN)


def test_several_processes_are_refused_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(HoneError, match="one process"):
        prefer(None, lambda: pytest.fail("loaded"), TOKENIZER, END, [], "dpo", PLAN)
