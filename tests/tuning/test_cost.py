"""The cost model: its sizes are those of the real models, its figures those that were measured for 135M."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.models.catalogue import CATALOGUE
from tests.conftest import ROOT
from tuning import cost
from tuning.cost import HERE, LADDER, MACHINES, Architecture
from tuning.model import footprint

SMOLLM2 = LADDER[0]


def named(name: str) -> Architecture:
    return next(each for each in LADDER if each.name.lower().replace(" ", "-") == name)


def test_the_sizes_are_those_of_the_models() -> None:
    for name in ("smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "qwen2.5-coder-7b"):
        assert named(name).parameters == CATALOGUE[name].parameters
    # As their model cards say.
    assert named("smollm2-360m").parameters == 361_821_120
    assert named("qwen2.5-coder-3b").parameters == 3_085_938_688
    assert named("qwen2.5-coder-14b").parameters == 14_770_033_664


def test_the_tokens_are_those_of_corpora_that_were_measured() -> None:
    for code_bytes, tokens in ((1_549_851, 411_188), (2_734_869, 650_021)):
        assert cost.tokens_of(code_bytes, epochs=1) == pytest.approx(tokens, rel=0.07)
    assert cost.tokens_of(4e6, epochs=2) == 2_000_000


RUNS = (
    (217_425, 918.7),
    (230_762, 919.2),
    (234_580, 921.3),
    (248_873, 1225.7),
    (256_829, 1223.5),
    (368_513, 1216.5),
)
"""SmolLM2-135M, bfloat16, rank 32, rows of 1,024, two cores: (tokens, seconds in all) of finished runs."""


def test_the_time_is_that_of_runs_that_were_measured() -> None:
    for tokens, seconds in RUNS:
        estimated = cost.cost(SMOLLM2, HERE, tokens).seconds
        assert estimated == pytest.approx(seconds, rel=0.25)
    ratios = sorted(cost.cost(SMOLLM2, HERE, tokens).seconds / seconds for tokens, seconds in RUNS)
    # Half of them took longer and half less, by how busy the machine was.
    assert 0.95 < (ratios[2] + ratios[3]) / 2 < 1.05
    assert cost.cost(SMOLLM2, HERE, 1).tokens_per_second == pytest.approx(cost.MEASURED_TOKENS_PER_SECOND)


@pytest.mark.model
def test_sizes_alone_give_what_the_model_itself_gives(embedded_home: object) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from assistant.models import store
    from tuning.model.flops import shape_of

    folder = store.tuning_form(store.fetch("smollm2-135m"))
    options = {"pass_tokens": 1024, "rank": 32, "bytes_per_number": 2}
    whole = footprint.estimate(folder, **options)  # type: ignore[arg-type]
    assert whole is not None
    assert cost.cost(SMOLLM2, HERE, 1).memory == whole.total
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
        model = get_peft_model(model, LoraConfig(r=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    assert SMOLLM2.shape(32) == shape_of(model)


@given(st.sampled_from(LADDER), st.sampled_from(MACHINES), st.integers(1, 10**9), st.sampled_from([8, 32, 64]))
def test_cost_grows_with_tokens_rank_and_size(one: Architecture, machine: cost.Machine, tokens: int, rank: int) -> None:
    here = cost.cost(one, machine, tokens, rank=rank)
    assert cost.cost(one, machine, 2 * tokens, rank=rank).seconds == pytest.approx(2 * here.seconds)
    assert cost.cost(one, machine, tokens, rank=2 * rank).flops_per_token > here.flops_per_token
    packed = cost.cost(one, machine, tokens, rank=rank, quantize="4bit", recompute=True)
    assert packed.memory < here.memory
    assert packed.seconds > here.seconds
    for larger in LADDER[LADDER.index(one) + 1 :]:
        bigger = cost.cost(larger, machine, tokens, rank=rank)
        # The smallest keep a GPU waiting, and cost nearly what the next larger does.
        assert bigger.seconds > here.seconds * 0.9
        assert bigger.memory > here.memory


def test_the_document_has_these_tables_and_calls_measured_what_was() -> None:
    text = (ROOT / "docs" / "scale.md").read_text("utf-8")
    assert cost.memory_table() in text
    assert cost.hours_table() in text
    assert [machine.name for machine in MACHINES if machine.measured] == ["2 CPU cores", "H100 80 GB"]
    assert cost.hours_table().count("(assumed)") == 2
    for name, speed in cost.ON_H100.items():
        one = next(each for each in LADDER if each.name == name)
        assert cost.cost(one, MACHINES[-1], 1).tokens_per_second == pytest.approx(speed)
