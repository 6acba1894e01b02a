"""Completions made many at once are those that the engine makes one by one."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from assistant.engines.base import Request
from assistant.engines.torch import Torch
from assistant.engines.torch_batch import TorchBatch
from assistant.errors import HoneError
from evals.batched import open_batched
from evals.environment import describe_torch
from evals.report import markdown, repo
from evals.run import Options, evaluate
from tests.evals.eval_fixtures import VOCABULARY, UniformScorer, load_tokenizer, register, samples_of, write_base

Make = Callable[..., Path]
PROMPTS = (
    "def add(a, b):\n    return",
    "x",
    "import os\nimport sys\n\nprint(",
    "class A:\n    def b(self):\n",
    "y = [",
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def base(hone_home: Path, tmp_path: Path) -> Path:
    return write_model(write_base(tmp_path / "base"))


def write_model(folder: Path) -> Path:
    """A random model of two small layers in place of the folder's weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    configuration = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.5,
        eos_token_id=VOCABULARY - 1,
    )
    for old in folder.glob("*.safetensors*"):
        old.unlink()
    LlamaForCausalLM(configuration).save_pretrained(folder)
    return folder


def write_lora(folder: Path, target: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "up_proj"], init_lora_weights=False))
    tuned.save_pretrained(target)
    return target


def single(base: Path, prompt: str, max_tokens: int, stop: tuple[str, ...] = ()) -> tuple[str, str | None]:
    chunks = list(Torch(base).stream(Request(prompt, max_tokens=max_tokens, stop=stop)))
    return "".join(chunk.text for chunk in chunks), chunks[-1].finish_reason


def batched(base: Path, max_tokens: int, stop: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    engine = TorchBatch(base)
    ids = [engine.tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    done = [one for batch in engine.complete_all(ids, max_tokens, stop) for one in batch]
    assert sorted(one.index for one in done) == list(range(len(PROMPTS)))
    return [("".join(one.pieces), one.finish_reason) for one in sorted(done, key=lambda one: one.index)]


def test_a_batch_gives_what_each_prompt_gives_alone(base: Path) -> None:
    assert batched(base, 12) == [single(base, prompt, 12) for prompt in PROMPTS]


def test_an_adapter_is_applied(base: Path, tmp_path: Path) -> None:
    lora = write_lora(base, tmp_path / "lora")
    engine, plain = TorchBatch(base, lora), Torch(base, {"lora": lora})
    ids = [engine.tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    done = {one.index: "".join(one.pieces) for batch in engine.complete_all(ids, 12) for one in batch}
    requests = [Request(prompt, max_tokens=12, adapter="lora") for prompt in PROMPTS]
    assert [done[n] for n in range(len(PROMPTS))] == [
        "".join(chunk.text for chunk in plain.stream(request)) for request in requests
    ]
    assert list(done.values()) != [text for text, _ in batched(base, 12)]


def test_a_stop_string_ends_one_answer_and_not_the_others(base: Path) -> None:
    answers = [text for text, _ in batched(base, 12)]
    stop = answers[0][3:5]
    stopped = batched(base, 12, (stop,))
    assert stopped == [single(base, prompt, 12, (stop,)) for prompt in PROMPTS]
    assert stopped[0] == (answers[0][: answers[0].index(stop)], "stop")


def test_batches_without_a_wanted_prompt_are_passed_over(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assistant.engines.torch_batch.TOKENS_AT_ONCE", 2 * (max(map(len, PROMPTS)) + 4))
    engine = TorchBatch(base)
    ids = [engine.tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    every = {one.index: (one.pieces, len(batch)) for batch in engine.complete_all(ids, 4) for one in batch}
    some = {one.index: (one.pieces, len(batch)) for batch in engine.complete_all(ids, 4, wanted={1}) for one in batch}
    assert 1 in some
    assert len(some) < len(every) == len(PROMPTS)
    assert some.items() <= every.items()


def test_a_missing_adapter_is_refused_in_one_line(base: Path, tmp_path: Path) -> None:
    with pytest.raises(HoneError, match="cannot load the model"):
        TorchBatch(base, tmp_path / "nowhere")


def test_an_evaluation_by_torch_keeps_its_samples_and_measures_no_latency(
    base: Path, tmp_path: Path, make_repository: Make
) -> None:
    lines = "".join(f"def step_{n}(rows):\n    return rows[{n}]\n\n" for n in range(8))
    root = make_repository({"lib/a.py": lines, "lib/held.py": lines.replace("step", "held")})
    lora = write_lora(base, tmp_path / "lora")
    tuned = register("tuned", base, root, {"lib/a.py": "train", "lib/held.py": "test"}, adapter=lora)
    options = Options(root, (str(base), "tuned"), limit=4, prompt_tokens=128, out=tmp_path / "out", levels=("line",))

    def run() -> dict[str, object]:
        return evaluate(
            options,
            lambda name: open_batched(name, "float32"),
            lambda folder, adapter: (UniformScorer(4.0), *load_tokenizer(folder)),
            describe_torch("float32"),
        )

    first = run()
    samples = samples_of(tmp_path / "out")
    completed = [sample for sample in samples if sample["task"] == "line@2"]
    assert {sample["model"] for sample in completed} == {str(base), tuned.id}
    assert all(sample["seconds"] is None for sample in completed)
    # A completion that a filter has cut tells no counts.
    assert all(sample["prompt_tokens"] for sample in completed if sample["finish_reason"] in ("stop", "length"))
    assert "torch" in first["environment"]["engine"]  # type: ignore[index]
    assert "not measured" in markdown.plain(repo.report(first))
    # One sample is lost; only that one is made again, in the company that it had.
    file = tmp_path / "out" / "samples.jsonl"
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True)[1:]))
    again = run()
    assert again["models"] == first["models"]
    assert {s["key"]: s["text"] for s in samples_of(tmp_path / "out") if "text" in s} == {
        s["key"]: s["text"] for s in completed
    }


def test_weights_that_do_not_fill_the_model_are_refused(hone_home: Path, tmp_path: Path) -> None:
    folder = write_model(write_base(tmp_path / "base"))
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(HoneError, match=r"lacks 1 of the model's weights, among them model\.layers\.1\.mlp\.up_proj"):
        TorchBatch(folder)


def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    hone = Path(sys.executable).with_name("hone")
    command = [hone, "eval", "repo", "--repo", str(tmp_path), "--model", "smollm2-135m", "--engine", "abacus"]
    environment = {**os.environ, "HONE_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no engine 'abacus'; there are: llamacpp, torch" in done.stderr
