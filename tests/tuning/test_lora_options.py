"""Every LoRA option: it trains, the fast path computes what peft computes, and what is saved is what was trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from assistant.errors import HoneError
from tests.tuning.tiny import SAMPLE, make_model, make_tokenizer
from tuning.data import collate
from tuning.examples.plain import IGNORED, windows
from tuning.model import attention, fast, lora
from tuning.model.packed import PackedModel
from tuning.plan import LoraOptions

PATTERNS = {
    "rank_pattern": {"q_proj": 8, r"layers\.[01]\.mlp\.up_proj": 2},
    "alpha_pattern": {"v_proj": 3.0, r"layers\.2\.self_attn\.o_proj": 1.5},
}
OPTIONS = {
    "default": LoraOptions(rank=4),
    "alpha": LoraOptions(rank=4, alpha=2.5),
    "patterns": LoraOptions(rank=4, **PATTERNS),
    "targets": LoraOptions(rank=4, target_modules=("q_proj", "v_proj", "down_proj")),
    "rslora": LoraOptions(rank=4, use_rslora=True),
    "rslora, patterns": LoraOptions(rank=4, use_rslora=True, **PATTERNS),
    "dora": LoraOptions(rank=4, use_dora=True),
    "dora, rslora": LoraOptions(rank=4, use_dora=True, use_rslora=True),
    "gaussian": LoraOptions(rank=4, init="gaussian"),
    "orthogonal": LoraOptions(rank=4, init="orthogonal"),
    "olora": LoraOptions(rank=4, alpha=4, init="olora"),
    "pissa": LoraOptions(rank=4, alpha=4, init="pissa"),
    "pissa_niter": LoraOptions(rank=4, alpha=4, init="pissa_niter_4"),
    "pissa, rslora, patterns": LoraOptions(rank=4, alpha=4, init="pissa", use_rslora=True, **PATTERNS),
}
BASE_CHANGING = [name for name, options in OPTIONS.items() if options.init.startswith(("pissa", "olora"))]
every_option = pytest.mark.parametrize("name", OPTIONS)


@pytest.fixture(scope="module")
def examples() -> list[Any]:
    tokenizer = make_tokenizer()
    end = tokenizer.get_vocab()["<|endoftext|>"]
    return [
        example
        for number, length in enumerate((60, 150, 90))
        for example in windows(f"f{number}.py", SAMPLE * (number + 1), tokenizer, length, end)
    ]


def made(name: str, packed: bool = False) -> Any:
    if packed:
        attention.register()
    return lora.add_lora(make_model(attention=attention.NAME if packed else "sdpa"), OPTIONS[name], seed=3)


def train(model: Any, examples: list[Any], steps: int = 8) -> list[float]:
    """Some steps on all examples through the packed model; returns the losses per label."""
    wrapped, batch = PackedModel(model), collate([tuple(examples)])
    labels = int((batch.labels != IGNORED).sum())
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=5e-3)
    losses = []
    for _ in range(steps):
        loss = wrapped(batch) / labels
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def adapter_of(model: Any) -> dict[str, torch.Tensor]:
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model)


def scores(model: Any, examples: list[Any]) -> torch.Tensor:
    """Log-probabilities of each next token, document by document."""
    with torch.no_grad():
        logits = [
            model(input_ids=torch.tensor([example.tokens]), document_lengths=(len(example.tokens),)).logits[0]
            for example in examples[:3]
        ]
    return torch.log_softmax(torch.cat(logits), -1)


@every_option
def test_it_trains_and_leaves_the_base_alone(name: str, examples: list[Any]):
    model = made(name, packed=True)
    frozen = {key: value.clone() for key, value in model.named_parameters() if not value.requires_grad}
    fast.speed_up(model)
    losses = train(model, examples)
    assert losses[-1] < losses[0] - 0.02
    for key, value in model.named_parameters():
        if key in frozen:
            assert torch.equal(value, frozen[key])


@every_option
def test_a_fresh_adapter_changes_nothing_yet(name: str, examples: list[Any]):
    torch.testing.assert_close(scores(made(name), examples), scores(make_model(), examples), rtol=0, atol=2e-4)


@every_option
def test_the_fast_path_computes_what_peft_computes_forward_and_gradients(name: str, examples: list[Any]):
    from peft import set_peft_model_state_dict

    ours, theirs = made(name, packed=True), made(name)
    changed = fast.speed_up(ours)
    adapted = sum("lora_A" in key for key, _ in ours.named_parameters())
    # DoRA is more than B(A(x)) * scaling, so it is left to peft; everything else is only other ranks and scalings.
    assert changed["layers"] == (0 if OPTIONS[name].use_dora else adapted)
    train(ours, examples)
    set_peft_model_state_dict(theirs, adapter_of(ours))
    fast_loss = PackedModel(ours)(collate([tuple(examples)]))
    plain_loss = torch.zeros(())
    for example in examples:
        logits = theirs(input_ids=torch.tensor([example.tokens])).logits[0, :-1]
        labels = torch.tensor(example.labels[1:])
        plain_loss = plain_loss + functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    torch.testing.assert_close(fast_loss, plain_loss, rtol=1e-5, atol=1e-3)
    fast_loss.backward()
    plain_loss.backward()
    compared = 0
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        if one.requires_grad:
            assert one.grad is not None
            difference = (one.grad - two.grad).norm() / two.grad.norm().clamp_min(1e-3)
            assert difference < 2e-4
            compared += 1
    assert compared >= 2 * adapted


@every_option
def test_what_is_saved_is_what_was_trained(name: str, examples: list[Any], tmp_path: Path):
    from peft import PeftModel

    model = made(name, packed=True)
    start = lora.start_of(model)
    fast.speed_up(model)
    train(model, examples)
    trained = scores(model, examples)
    assert (trained - scores(make_model(), examples)).abs().max() > 0.05
    if start is not None:
        model = lora.as_plain(model, start, make_model(attention=attention.NAME))
    model.save_pretrained(tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(make_model(), tmp_path / "adapter").eval()
    torch.testing.assert_close(scores(loaded, examples), trained, rtol=0, atol=5e-4)


@pytest.mark.parametrize("name", BASE_CHANGING)
def test_a_start_taken_out_of_the_base_is_given_back_bit_for_bit(name: str, examples: list[Any]):
    model = made(name, packed=True)
    start = lora.start_of(model)
    assert start is not None
    untouched = make_model().state_dict()
    moved = model.get_base_model().state_dict()
    assert not torch.equal(
        moved["model.layers.0.mlp.up_proj.base_layer.weight"], untouched["model.layers.0.mlp.up_proj.weight"]
    )
    train(model, examples, steps=2)
    plain = lora.as_plain(model, start, make_model(attention=attention.NAME))
    fast.speed_up(plain)
    torch.testing.assert_close(scores(plain, examples), scores(model, examples), rtol=0, atol=5e-4)
    restored = plain.unload().state_dict()
    assert restored.keys() == untouched.keys()
    for key, weight in untouched.items():
        assert torch.equal(restored[key], weight)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in BASE_CHANGING])
def test_other_starts_take_nothing_out_of_the_base(name: str):
    assert lora.start_of(made(name)) is None


def test_the_ranks_and_scalings_are_those_asked_for():
    layers = {key.removeprefix("base_model.model.model."): module for key, module in made("patterns").named_modules()}
    found = {
        key: (layers[key].r["default"], layers[key].scaling["default"])
        for key in ("layers.0.self_attn.q_proj", "layers.1.mlp.up_proj", "layers.2.mlp.up_proj")
    }
    assert found == {
        "layers.0.self_attn.q_proj": (8, 8 / 8),
        "layers.1.mlp.up_proj": (2, 8 / 2),
        "layers.2.mlp.up_proj": (4, 8 / 4),
    }
    assert layers["layers.0.self_attn.v_proj"].scaling["default"] == 3 / 4
    assert layers["layers.2.self_attn.o_proj"].scaling["default"] == 1.5 / 4
    rank_stabilized = made("rslora").base_model.model.model.layers[0].self_attn.q_proj
    assert rank_stabilized.scaling["default"] == 8 / 2


def test_the_same_seed_gives_the_same_start():
    for name in ("default", "pissa_niter", "orthogonal"):
        one, two = adapter_of(made(name)), adapter_of(made(name))
        assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (LoraOptions(target_modules=("qproj",)), "this model has no qproj; its linear layers are down_proj, gate_proj"),
        (LoraOptions(target_modules=("q_proj", "kproj")), "lora.target_modules: this model has no kproj"),
        (LoraOptions(target_modules=("lm_head",)), "lm_head is the embedding or the head"),
        (LoraOptions(target_modules=("embed_tokens", "q_proj")), "embed_tokens is the embedding or the head"),
        (LoraOptions(rank_pattern={"qproj": 4}), "lora.rank_pattern: 'qproj' matches no layer"),
        (LoraOptions(target_modules=("q_proj",), alpha_pattern={"v_proj": 4}), "lora.alpha_pattern: 'v_proj' matches"),
        (LoraOptions(rank=65, init="pissa"), "pissa of rank 65 is more than"),
        (LoraOptions(rank=65, init="olora"), "olora of rank 65 is more than"),
        (LoraOptions(rank=3, init="orthogonal"), "requires the LoRA rank to be even"),
    ],
)
def test_options_that_mean_nothing_for_a_model_are_one_line(options: LoraOptions, words: str):
    with pytest.raises(HoneError) as caught:
        lora.add_lora(make_model(), options, seed=0)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_start_that_bfloat16_cannot_give_back_is_refused():
    with pytest.raises(HoneError, match="pissa changes the base's weights, which bfloat16 cannot hold exactly"):
        lora.add_lora(make_model().bfloat16(), OPTIONS["pissa"], seed=0)
    lora.add_lora(make_model().bfloat16(), OPTIONS["orthogonal"], seed=0)


def test_the_fast_path_keeps_away_from_what_it_does_not_compute():
    def layer(options: LoraOptions) -> Any:
        return lora.add_lora(make_model(), options, seed=0).base_model.model.model.layers[0].mlp.up_proj

    assert lora.plain_lora(layer(LoraOptions(rank=4))) is not None
    assert lora.plain_lora(layer(LoraOptions(rank=4, dropout=0.1))) is None
    assert lora.plain_lora(layer(LoraOptions(rank=4, use_dora=True))) is None
    merged, off = layer(LoraOptions(rank=4)), layer(LoraOptions(rank=4))
    merged.merge()
    off.enable_adapters(False)
    assert lora.plain_lora(merged) is None
    assert lora.plain_lora(off) is None
