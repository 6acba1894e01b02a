"""The fast paths against the plain computation, forward and gradients, in fp32."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from tests.tuning.tiny import SAMPLE, make_model, make_qwen, make_tokenizer
from tuning.data import collate
from tuning.examples.plain import IGNORED, windows
from tuning.model import attention, fast, fused, lora, norm, rotary
from tuning.model import swiglu as swiglu_module
from tuning.model.loss import CHUNK, summed_cross_entropy
from tuning.model.norm import rms_norm
from tuning.model.packed import PackedModel
from tuning.model.rotary import rotate
from tuning.model.swiglu import swiglu
from tuning.plan import LoraOptions


@pytest.fixture(scope="module")
def examples():
    tokenizer = make_tokenizer()
    end = tokenizer.get_vocab()["<|endoftext|>"]
    return [
        example
        for number, length in enumerate((60, 150, 90))
        for example in windows(f"f{number}.py", SAMPLE * (number + 1), tokenizer, length, end)
    ]


def test_packed_loss_is_the_mean_of_separate_losses(examples):
    attention.register()
    packed = PackedModel(make_model(attention=attention.NAME))
    plain = make_model()
    batch = collate([tuple(examples)])
    labels = int((batch.labels != IGNORED).sum())
    assert len(batch.document_lengths) > 5
    together = packed(batch).item() / labels
    summed = 0.0
    for example in examples:
        tokens = torch.tensor([example.tokens])
        target = torch.tensor([example.labels])
        logits = plain(input_ids=tokens).logits
        summed += functional.cross_entropy(logits[0, :-1], target[0, 1:], ignore_index=IGNORED, reduction="sum").item()
    assert together == pytest.approx(summed / labels, abs=1e-5)


def test_rows_in_one_batch_do_not_change_the_loss(examples):
    attention.register()
    packed = PackedModel(make_model(attention=attention.NAME))
    whole = packed(collate([tuple(examples)])).item()
    halves = packed(collate([tuple(examples[:4])])).item() + packed(collate([tuple(examples[4:])])).item()
    assert whole == pytest.approx(halves, rel=1e-6)


def test_attention_without_document_lengths_is_refused():
    attention.register()
    model = make_model(attention=attention.NAME)
    with pytest.raises(ValueError, match="document_lengths"):
        model(input_ids=torch.ones(1, 8, dtype=torch.long))


@pytest.mark.parametrize("rows", [1, CHUNK, CHUNK + 7])
def test_frozen_head_loss_and_gradient(rows: int):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, 32, generator=generator, requires_grad=True)
    head = torch.randn(300, 32, generator=generator)
    labels = torch.randint(0, 300, (rows,), generator=generator)
    labels[::3] = IGNORED
    if rows == 1:
        labels[0] = 5
    reference = functional.cross_entropy(functional.linear(hidden, head), labels, ignore_index=IGNORED, reduction="sum")
    (wanted,) = torch.autograd.grad(reference, hidden)
    loss = summed_cross_entropy(hidden, head, labels)
    (gradient,) = torch.autograd.grad(loss * 1.0, hidden)
    torch.testing.assert_close(loss, reference, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)


def test_a_trainable_head_is_refused():
    head = torch.randn(10, 4, requires_grad=True)
    with pytest.raises(ValueError, match="frozen"):
        summed_cross_entropy(torch.randn(3, 4), head, torch.tensor([1, 2, 3]))


def randomize(model):
    """Fills the LoRA weights: B starts at zero, which would hide a wrong product."""
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


@pytest.mark.parametrize("make", [make_model, make_qwen])
def test_the_fast_model_equals_peft_on_each_document_forward_and_gradients(make, examples):
    attention.register()
    slow = lora.add_lora(make(), LoraOptions(rank=8, alpha=16), seed=3)
    fast_model = lora.add_lora(make(), LoraOptions(rank=8, alpha=16), seed=3)
    randomize(slow)
    randomize(fast_model)
    fast_model.get_base_model().config._attn_implementation = attention.NAME
    changed = fast.speed_up(fast_model)
    assert changed == {"layers": 7 * 3, "attentions": 3, "mlps": 3, "norms": 2 * 3 + 1}

    ours = PackedModel(fast_model)(collate([tuple(examples)]))
    theirs = torch.zeros(())
    for example in examples:
        logits = slow(input_ids=torch.tensor([example.tokens])).logits[0, :-1]
        labels = torch.tensor(example.labels[1:])
        theirs = theirs + functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
    ours.backward()
    theirs.backward()
    checked = 0
    for one, two in zip(fast_model.parameters(), slow.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(one.grad, two.grad, rtol=1e-3, atol=1e-3)
            checked += 1
    assert checked == 2 * 7 * 3


def test_speed_up_does_not_change_what_the_base_weights_are():
    before = make_model().state_dict()
    tuned = lora.add_lora(make_model(), LoraOptions(rank=4, alpha=8), seed=0)
    fast.speed_up(tuned)
    after = tuned.unload().state_dict()
    assert before.keys() == after.keys()
    for name, weight in before.items():
        assert torch.equal(weight, after[name])


@pytest.mark.parametrize("lengths", [(300,), (1, 40, 259)])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_bfloat16_attention_and_its_gradients_are_near_those_in_fp32(lengths, key_heads):
    generator = torch.Generator().manual_seed(0)
    tokens = sum(lengths)
    inputs = [torch.randn(1, heads, tokens, 16, generator=generator) for heads in (4, key_heads, key_heads)]
    outward = torch.randn(1, tokens, 4, 16, generator=generator)
    wide = [tensor.clone().requires_grad_() for tensor in inputs]
    narrow = [tensor.bfloat16().requires_grad_() for tensor in inputs]
    wanted, _ = attention.packed_attention(None, *wide, None, document_lengths=lengths)
    found, _ = attention.packed_attention(None, *narrow, None, document_lengths=lengths)
    pairs = [(wanted, found)]
    pairs += zip(
        torch.autograd.grad(wanted, wide, outward), torch.autograd.grad(found, narrow, outward.bfloat16()), strict=True
    )
    for want, find in pairs:
        # bfloat16 keeps 8 bits: a relative error of 0.4 % in each of three roundings in a row.
        assert ((find.float() - want).norm() / want.norm()).item() < 0.012


@pytest.mark.parametrize("narrows", [True, False])
def test_a_bfloat16_lora_layer_is_near_the_one_in_fp32(narrows):
    generator = torch.Generator().manual_seed(0)
    ins, out = (96, 32) if narrows else (32, 96)
    x, weight = torch.randn(40, ins, generator=generator), torch.randn(out, ins, generator=generator)
    bias = torch.randn(out, generator=generator)
    a, b = torch.randn(4, ins, generator=generator) * 0.1, torch.randn(out, 4, generator=generator) * 0.1
    outward = torch.randn(40, out, generator=generator)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        leaves = [x.to(dtype).requires_grad_(), a.clone().requires_grad_(), b.clone().requires_grad_()]
        y = lora.lora_linears(leaves[0], weight.to(dtype), bias.to(dtype), 2.0, leaves[1], leaves[2])
        results.append([y, *torch.autograd.grad(y, leaves, outward.to(dtype))])
    plain = functional.linear(x, weight, bias) + 2.0 * (x @ a.t()) @ b.t()
    torch.testing.assert_close(results[0][0], plain, rtol=1e-4, atol=1e-4)
    for want, find in zip(*results, strict=True):
        assert ((find.float() - want).norm() / want.norm()).item() < 0.02


def test_rms_norm_swiglu_and_rotation_equal_autograd():
    from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

    generator = torch.Generator().manual_seed(0)

    def check(ours, theirs, *shape):
        x = torch.randn(shape, generator=generator)
        one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
        mine, wanted = ours(one), theirs(two)
        outward = torch.randn(wanted.shape, generator=generator)
        torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(
            torch.autograd.grad(mine, one, outward)[0],
            torch.autograd.grad(wanted, two, outward)[0],
            rtol=1e-4,
            atol=1e-5,
        )

    reference = LlamaRMSNorm(48, eps=1e-5)
    torch.nn.init.normal_(reference.weight)
    reference.weight.requires_grad_(False)
    check(lambda x: rms_norm(x, reference.weight, 1e-5), reference, 1, 20, 48)
    check(swiglu, lambda both: functional.silu(both[..., :24]) * both[..., 24:], 1, 20, 48)
    angles = torch.randn(1, 20, 8, generator=generator).repeat(1, 1, 2)
    cos, sin = angles.cos(), angles.sin()
    check(lambda x: rotate(x, cos, sin), lambda x: apply_rotary_pos_emb(x, x, cos, sin)[0], 1, 3, 20, 16)


def test_what_a_gpu_compiles_is_what_a_cpu_computes():
    generator = torch.Generator().manual_seed(1)
    x, weight, gradient = (torch.randn(shape, generator=generator) for shape in ((1, 20, 48), (48,), (1, 20, 48)))
    known = x.clone().requires_grad_()
    rms_norm(known, weight, 1e-5).backward(gradient)
    out, scale = norm._forward.__wrapped__(x, weight, 1e-5)
    torch.testing.assert_close(out, rms_norm(x, weight, 1e-5))
    torch.testing.assert_close(norm._backward.__wrapped__(gradient, x, scale, weight), known.grad)

    known = x.clone().requires_grad_()
    swiglu_module.swiglu(known).backward(gradient[..., :24])
    torch.testing.assert_close(swiglu_module._forward.__wrapped__(x), swiglu(x))
    torch.testing.assert_close(swiglu_module._backward.__wrapped__(gradient[..., :24], x), known.grad)

    heads = torch.randn(1, 3, 20, 16, generator=generator)
    cos, sin = (torch.randn(1, 20, 8, generator=generator).repeat(1, 1, 2) for _ in range(2))
    for direction in (1, -1):
        turned = rotary._turned_at_once.__wrapped__(heads, cos, sin, direction)
        torch.testing.assert_close(turned, rotary._turned(heads, cos, sin, direction))


def test_only_a_gpu_with_much_to_do_uses_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fused, "unusable", lambda: None)
    assert not fused.is_worth_it(torch.empty(1, 1 << 20, 4096, device="meta"))
    large = SimpleNamespace(device=torch.device("cuda"), shape=(1, 16_384, 896))
    assert fused.is_worth_it(large)
    assert not fused.is_worth_it(SimpleNamespace(device=torch.device("cuda"), shape=(1, 16_384, 576)))
    monkeypatch.setattr(fused, "unusable", lambda: "no compiler")
    assert not fused.is_worth_it(large)


def test_speed_up_leaves_variants_to_peft():
    from peft import LoraConfig, get_peft_model

    with_dropout = get_peft_model(make_model(), LoraConfig(r=4, lora_dropout=0.1, target_modules="all-linear"))
    assert fast.speed_up(with_dropout) | {"norms": 0} == {"layers": 0, "attentions": 0, "mlps": 0, "norms": 0}
    dora = get_peft_model(make_model(), LoraConfig(r=4, use_dora=True, target_modules="all-linear"))
    assert fast.speed_up(dora) | {"norms": 0} == {"layers": 0, "attentions": 0, "mlps": 0, "norms": 0}
