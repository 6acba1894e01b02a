"""Number formats, quantization and activation checkpointing: exact where they must be, refused where they cannot be."""

from types import SimpleNamespace

import pytest
import torch

from assistant.errors import HoneError
from tests.tuning.processes import fresh, make_rows
from tests.tuning.tiny import make_model
from tuning.data import collate, to_device
from tuning.model import load
from tuning.model.load import check_quantize, dtype_for, quantization
from tuning.model.recompute import recompute_activations
from tuning.plan import LoraOptions, Plan
from tuning.ready import make_ready
from tuning.train import train


def on(device: str, *, sharded: bool = False):
    return SimpleNamespace(device=torch.device(device), num_processes=1, is_fsdp2=sharded)


def randomize(model) -> None:
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


def loss_and_gradients(activation_checkpointing: bool):
    model = fresh()
    randomize(model)
    ready = make_ready(model, Plan(steps=1, activation_checkpointing=activation_checkpointing))
    calls = []
    mlp = model.get_base_model().model.layers[0].mlp
    usual = mlp.forward
    mlp.forward = lambda x: calls.append(torch.is_grad_enabled()) or usual(x)
    ready.wrapped.train()
    device = ready.accelerator.device
    loss = ready.wrapped(to_device(collate(make_rows().rows[:3]), device))
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in ready.parameters], len(calls), ready


def test_activation_checkpointing_has_the_same_loss_and_gradients_bit_for_bit():
    loss, gradients, once, _ = loss_and_gradients(False)
    again, recomputed, twice, ready = loss_and_gradients(True)
    assert (once, twice) == (1, 2)
    assert torch.equal(loss, again)
    assert len(gradients) == 2 * 7 * 3
    for one, two in zip(gradients, recomputed, strict=True):
        assert torch.equal(one, two)
    # Nothing is computed twice where nothing is learnt.
    ready.wrapped.eval()
    with torch.no_grad():
        ready.wrapped(to_device(collate(make_rows().rows[:1]), ready.accelerator.device))


def test_a_whole_run_is_the_same_with_activation_checkpointing():
    data, losses = make_rows(files=4), []
    for checkpointing in (False, True):
        plan, seen = Plan(steps=4, rows_per_step=2, learning_rate=1e-2, activation_checkpointing=checkpointing), []
        train(make_ready(fresh(), plan), data, plan, seen.append)
        losses.append([(progress.loss, progress.validation) for progress in seen])
    assert losses[0] == losses[1]


def test_a_model_without_repeated_layers_cannot_be_recomputed():
    assert recompute_activations(make_model()) == 3
    with pytest.raises(HoneError, match="leave out activation_checkpointing"):
        recompute_activations(torch.nn.Linear(2, 2))


def test_a_quantized_base_is_refused_where_it_cannot_be_trained(monkeypatch: pytest.MonkeyPatch):
    check_quantize("none", on("cpu"))
    with pytest.raises(HoneError, match=r'^quantize = "4bit" needs a CUDA GPU and this run is on the cpu'):
        check_quantize("4bit", on("cpu"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HoneError, match=r"pip install bitsandbytes$"):
        check_quantize("8bit", on("cuda"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    check_quantize("8bit", on("cuda"))
    with pytest.raises(HoneError, match="FSDP"):
        check_quantize("4bit", on("cuda", sharded=True))


def test_the_base_is_quantized_as_in_qlora():
    four, eight = quantization("4bit", torch.bfloat16), quantization("8bit", torch.bfloat16)
    assert four.load_in_4bit
    assert four.bnb_4bit_quant_type == "nf4"
    assert four.bnb_4bit_use_double_quant
    assert four.bnb_4bit_compute_dtype is torch.bfloat16
    assert eight.load_in_8bit
    assert not eight.load_in_4bit


@pytest.mark.parametrize(
    ("asked", "fastest", "taken", "said"),
    [
        ("auto", torch.float32, torch.float32, 0),
        ("auto", torch.bfloat16, torch.bfloat16, 0),
        ("float32", torch.bfloat16, torch.float32, 0),
        ("bfloat16", torch.bfloat16, torch.bfloat16, 0),
        ("bfloat16", torch.float32, torch.bfloat16, 1),
    ],
)
def test_the_number_format_is_what_was_asked_for(monkeypatch: pytest.MonkeyPatch, asked, fastest, taken, said: int):
    monkeypatch.setattr(load, "fastest_dtype", lambda device: fastest)
    notes: list[str] = []
    assert dtype_for(asked, on("cpu"), notes.append) is taken
    assert len(notes) == said
    assert all("as fast or faster in float32" in note for note in notes)


def test_a_gpu_without_bfloat16_is_not_asked_for_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    with pytest.raises(HoneError, match="this GPU has no bfloat16"):
        dtype_for("bfloat16", on("cuda"), pytest.fail)


def test_bfloat16_is_trained_with_an_adapter_in_float32():
    from tuning.model import attention, lora

    attention.register()
    model = lora.add_lora(make_model(attention=attention.NAME).bfloat16(), LoraOptions(rank=4, alpha=8), seed=0)
    data, plan, seen = make_rows(files=4), Plan(steps=12, learning_rate=1e-2), []
    ready = make_ready(model, plan)
    assert {parameter.dtype for parameter in ready.parameters} == {torch.float32}
    train(ready, data, plan, seen.append)
    reference = []
    train(make_ready(fresh(), plan), data, plan, reference.append)
    assert seen[-1].loss < seen[0].loss - 0.1
    assert [one.loss for one in seen] == pytest.approx([one.loss for one in reference], rel=0.02)
