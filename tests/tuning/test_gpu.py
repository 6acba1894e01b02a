"""What is computed otherwise on a CUDA GPU than on a CPU. Skipped without one; CI has none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.tuning.processes import fresh, make_rows
from tests.tuning.test_hardware import randomize
from tests.tuning.tiny import save_base
from tuning.checkpoint import Keeper, read
from tuning.data import collate, to_device
from tuning.model import attention, fused
from tuning.model.load import load_base
from tuning.plan import Plan
from tuning.preflight import probe
from tuning.ready import make_ready, rows_per_pass
from tuning.train import Left, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

ROOT = Path(__file__).parents[2]


def test_documents_of_a_row_in_one_kernel_are_computed_as_one_by_one():
    torch.manual_seed(0)
    lengths = (1, 7, 300, 64, 128)
    heads = {"query": 8, "key": 2, "value": 2}
    made = {name: torch.randn(1, count, sum(lengths), 64, device="cuda") for name, count in heads.items()}
    found = {}
    for dtype in (torch.bfloat16, torch.float32):
        inputs = [one.to(dtype).requires_grad_() for one in made.values()]
        out, _ = attention.packed_attention(None, *inputs, None, document_lengths=lengths)
        out.float().square().sum().backward()
        found[dtype] = [out.detach().float(), *(one.grad.float() for one in inputs)]
    for fast, plain in zip(*found.values(), strict=True):
        assert torch.linalg.vector_norm(fast - plain) < 0.01 * torch.linalg.vector_norm(plain)


@pytest.mark.parametrize("worth", [0, fused.WORTH])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_model_has_the_losses_and_gradients_of_the_cpu(
    checkpointing: bool, worth: int, monkeypatch: pytest.MonkeyPatch
):
    assert fused.unusable() is None
    monkeypatch.setattr(fused, "WORTH", worth)
    rows, found = make_rows().rows[:3], {}
    for device, dtype in (("cpu", torch.float32), ("cuda", torch.float32), ("cuda", torch.bfloat16)):
        model = fresh()
        randomize(model)
        model = model.to(device)
        for parameter in model.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(dtype)
        ready = make_ready(model, Plan(steps=1, activation_checkpointing=checkpointing), _on(device))
        loss = ready.wrapped(to_device(collate(rows), torch.device(device)))
        loss.backward()
        found[device, dtype] = loss.item(), [one.grad.float().cpu() for one in ready.parameters]
    expected, gradients = found.pop(("cpu", torch.float32))
    for (_, dtype), (loss, each) in found.items():
        near = 1e-4 if dtype == torch.float32 else 0.05
        assert loss == pytest.approx(expected, rel=near)
        for one, other in zip(each, gradients, strict=True):
            assert torch.linalg.vector_norm(one - other) <= near * torch.linalg.vector_norm(other)


def _on(device: str):
    from types import SimpleNamespace

    class Here(SimpleNamespace):
        def prepare(self, model, optimizer):
            return model.to(self.device), optimizer

    return Here(device=torch.device(device), num_processes=1, process_index=0, is_fsdp2=False)


def test_a_gpu_computes_more_rows_at_once():
    assert rows_per_pass(Plan(rows_per_step=64, row_length=1024), torch.device("cuda")) == 16


def test_a_run_that_left_goes_on_to_the_same_adapter(tmp_path: Path):
    data = make_rows(files=8)
    plan = Plan(steps=8, rows_per_step=2, learning_rate=1e-2, checkpoint_minutes=0)
    whole = make_ready(fresh(), plan)
    train(whole, data, plan, lambda progress: None)
    first, leaving = make_ready(fresh(), plan), []
    keeper = Keeper(tmp_path, lambda line: None, 0, lambda: bool(leaving))
    with pytest.raises(Left):
        train(first, data, plan, lambda progress: leaving.append(1) if progress.step == 3 else None, keeper=keeper)
    kept = read(tmp_path, lambda line: None)
    assert kept is not None
    again = make_ready(fresh(), plan)
    train(again, data, plan, lambda progress: None, start_from=kept)
    for one, other in zip(again.parameters, whole.parameters, strict=True):
        assert one.device.type == "cuda"
        # Sums of a GPU's threads may come in another order.
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)


def test_the_probe_tells_what_the_gpu_holds():
    data, plan = make_rows(files=8), Plan(steps=1, rows_per_step=2)
    ready = make_ready(fresh(), plan)
    found = probe(ready, data.rows[:2])
    assert 0 < found.peak_bytes < torch.cuda.get_device_properties(0).total_memory
    assert found.tokens == sum(len(example.tokens) for row in data.rows[:2] for example in row)


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_a_quantized_base_is_trained(tmp_path: Path, quantize: str):
    pytest.importorskip("bitsandbytes")
    from tuning.model import lora
    from tuning.plan import LoraOptions

    attention.register()
    folder = save_base(tmp_path)
    model = lora.add_lora(
        load_base(folder, torch.bfloat16, attention.NAME, quantize), LoraOptions(rank=4, alpha=8), seed=0
    )
    data, plan, seen = make_rows(files=4), Plan(steps=12, learning_rate=1e-2), []
    ready = make_ready(model, plan)
    assert {parameter.dtype for parameter in ready.parameters} == {torch.float32}
    train(ready, data, plan, seen.append)
    assert seen[-1].loss < seen[0].loss - 0.1


def test_scores_and_completions_of_the_gpu_are_those_of_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from assistant.engines.torch import TorchScorer

    folder = save_base(tmp_path)
    texts = [[5, 9, 200, 17, 33, 60] * 4, [8, 3, 77]]
    on_gpu = TorchScorer(folder).score_all(texts), [one.pieces for one in _completed(folder, texts)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    on_cpu = TorchScorer(folder).score_all(texts), [one.pieces for one in _completed(folder, texts)]
    for one, other in zip(on_gpu[0], on_cpu[0], strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert on_gpu[1] == on_cpu[1]


def _completed(folder: Path, texts):
    from assistant.engines.torch_batch import TorchBatch

    return [one for batch in TorchBatch(folder).complete_all(texts, 12) for one in batch]


def test_one_process_shards_and_trains_by_nccl(tmp_path: Path):
    """FSDP with a world of one: the path of several GPUs, as far as one goes."""
    script = tmp_path / "sharded.py"
    script.write_text(
        "import json, sys\n"
        "from tests.tuning.processes import fresh, make_rows\n"
        "from tuning import distributed\n"
        "from tuning.plan import Plan\n"
        "from tuning.ready import make_ready\n"
        "from tuning.train import train\n"
        "accelerator = distributed.start()\n"
        "plan, seen = Plan(steps=4, rows_per_step=2, learning_rate=1e-2), []\n"
        "ready = make_ready(fresh(), plan, accelerator)\n"
        "train(ready, make_rows(files=4), plan, seen.append)\n"
        "kind, sharded = accelerator.device.type, distributed.is_sharded(accelerator)\n"
        "print(json.dumps([kind, sharded, [one.loss for one in seen]]))\n"
    )
    done = subprocess.run(
        [
            sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "--use_fsdp",
            "--fsdp_version", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
            str(script),
        ],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    device, sharded, losses = json.loads(done.stdout.splitlines()[-1])
    assert (device, sharded) == ("cuda", True)
    plan, seen = Plan(steps=4, rows_per_step=2, learning_rate=1e-2), []
    train(make_ready(fresh(), plan), make_rows(files=4), plan, seen.append)
    assert losses == pytest.approx([one.loss for one in seen], rel=1e-3)
