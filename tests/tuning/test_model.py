"""The fast paths against the plain computation, forward and gradients, in fp32."""

import pytest
import torch
from torch.nn import functional

from tests.tuning.tiny import SAMPLE, make_model, make_tokenizer
from tuning.data import collate
from tuning.examples.plain import IGNORED, windows
from tuning.model import attention, lora
from tuning.model.loss import CHUNK, summed_cross_entropy
from tuning.model.packed import PackedModel


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


def test_lora_layer_equals_pefts_forward_and_gradients():
    ids = torch.randint(0, 400, (2, 40), generator=torch.Generator().manual_seed(1))
    fast = lora.add_lora(make_model(), rank=8, alpha=16, seed=3)
    from peft import LoraConfig, get_peft_model

    slow_model = get_peft_model(make_model(), LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    slow_model.load_state_dict(fast.state_dict())
    generator = torch.Generator().manual_seed(2)
    for (name, one), (other, two) in zip(fast.named_parameters(), slow_model.named_parameters(), strict=True):
        assert name == other
        if one.requires_grad:
            with torch.no_grad():
                # B starts at zero, which would hide a wrong product.
                values = torch.randn(one.shape, generator=generator) * 0.1
                one.copy_(values)
                two.copy_(values)
    ours, theirs = fast(input_ids=ids).logits, slow_model(input_ids=ids).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    ours.square().mean().backward()
    theirs.square().mean().backward()
    checked = 0
    for one, two in zip(fast.parameters(), slow_model.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(one.grad, two.grad, rtol=1e-3, atol=1e-5)
            checked += 1
    assert checked == 2 * 7 * 3


def test_speed_up_leaves_variants_to_peft():
    from peft import LoraConfig, get_peft_model

    with_dropout = get_peft_model(make_model(), LoraConfig(r=4, lora_dropout=0.1, target_modules="all-linear"))
    assert lora.speed_up(with_dropout) == 0
    dora = get_peft_model(make_model(), LoraConfig(r=4, use_dora=True, target_modules="all-linear"))
    assert lora.speed_up(dora) == 0
