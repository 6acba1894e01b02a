"""What is refused before the first step, and that looking changes nothing."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from assistant.errors import HoneError
from tests.tuning.processes import CONTEXT, Rows, fresh, make_rows, weights
from tests.tuning.tiny import SIZES, make_model, make_tokenizer, save_base
from tuning import preflight
from tuning.examples.plain import IGNORED, Example, windows
from tuning.model import attention, flops, footprint, lora
from tuning.model.flops import Shape, gemm_peak, lora_flops_per_token, shape_of
from tuning.model.load import load_base, load_tokenizer
from tuning.plan import LoraOptions, Plan
from tuning.preflight import MARKS, check_data, marked, measure, planned_seconds, probe, samples, shortened, whole_steps
from tuning.ready import make_ready
from tuning.train import train


@pytest.fixture(scope="module")
def data() -> Rows:
    return make_rows()


class Custom(Example):
    """An example with labels of its own."""

    def __new__(cls, tokens, labels):
        made = object.__new__(cls)
        object.__setattr__(made, "tokens", tuple(tokens))
        object.__setattr__(made, "own", tuple(labels))
        object.__setattr__(made, "text_bytes", len(tokens))
        return made

    def __init__(self, *_) -> None:
        pass

    @property
    def labels(self):
        return self.own


def unsupervised(rows):
    return tuple(tuple(Custom(example.tokens, [IGNORED] * len(example.tokens)) for example in row) for row in rows)


def endless(rows, end: int):
    return tuple(
        tuple(
            Custom(example.tokens, [IGNORED if label == end else label for label in example.labels]) for example in row
        )
        for row in rows
    )


def test_what_would_learn_nothing_or_never_stop_is_refused_in_one_line(data: Rows):
    plan = Plan(steps=1)
    check_data(data, plan)
    refused = {
        "learning rate of 0": (data, replace(plan, learning_rate=0.0)),
        "nothing to train on": (replace(data, rows=()), plan),
        "no token is supervised": (replace(data, rows=unsupervised(data.rows)), plan),
        "the end token .* is never supervised": (replace(data, rows=endless(data.rows, data.end_token)), plan),
        "too small to split: .* nothing held out": (replace(data, validation=()), plan),
    }
    for message, (given, asked) in refused.items():
        with pytest.raises(HoneError, match=message) as caught:
            check_data(given, asked)
        assert "\n" not in str(caught.value)
        assert "; " in str(caught.value) or ", so " in str(caught.value)


def test_one_end_token_that_is_learnt_is_enough(data: Rows):
    rows = endless(data.rows, data.end_token)
    ended = next(row for row in data.rows if any(data.end_token in example.tokens for example in row))
    check_data(replace(data, rows=(*rows, ended)), Plan(steps=1))


def test_a_token_that_nothing_predicts_is_not_learnt(data: Rows):
    # The first token of a document has no position before it, whatever its label.
    only_first = tuple(
        tuple(Custom(one.tokens, [one.tokens[0], *[IGNORED] * (len(one.tokens) - 1)]) for one in row)
        for row in data.rows
    )
    with pytest.raises(HoneError, match="no token is supervised"):
        check_data(replace(data, rows=only_first), Plan(steps=1))


def test_an_adapter_without_parameters_is_refused():
    model = fresh()
    model.requires_grad_(False)
    with pytest.raises(HoneError, match="no trainable parameter"):
        make_ready(model, Plan(steps=1))


def test_a_base_that_computes_no_number_is_refused(data: Rows):
    model = fresh()
    model.get_input_embeddings().weight.data.fill_(float("nan"))
    with pytest.raises(HoneError, match="base model's loss on the training data is nan"):
        probe(make_ready(model, Plan(steps=1)), data.rows[:1])


def with_dropout():
    """A model whose training draws random numbers."""
    from peft import LoraConfig, TaskType, get_peft_model

    attention.register()
    torch.manual_seed(0)
    configuration = LoraConfig(r=4, lora_dropout=0.2, target_modules="all-linear", task_type=TaskType.CAUSAL_LM)
    return get_peft_model(make_model(attention=attention.NAME), configuration)


@pytest.mark.parametrize("make", [fresh, with_dropout])
def test_a_run_with_a_pre_flight_is_the_run_without_it_bit_for_bit(data: Rows, make):
    plan = Plan(steps=5, rows_per_step=2, learning_rate=1e-2)
    ends = []
    for looked in (False, True):
        model, seen = make(), []
        ready = make_ready(model, plan)
        if looked:
            before = {name: value.clone() for name, value in model.state_dict().items()}
            measure(ready, data, plan, make_tokenizer())
            for name, value in model.state_dict().items():
                assert torch.equal(value, before[name])
            assert all(parameter.grad is None for parameter in ready.parameters)
        train(ready, data, plan, seen.append)
        ends.append((weights(model), [one.loss for one in seen]))
    assert ends[0][1] == ends[1][1]
    for name, weight in ends[0][0].items():
        assert torch.equal(weight, ends[1][0][name])


def test_the_pre_flight_says_what_was_measured(data: Rows, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preflight, "gemm_peak", lambda *_: 1e12)
    plan = Plan(epochs=2, checks=3)
    ready = make_ready(fresh(), plan)
    found = measure(ready, data, plan, make_tokenizer())
    assert (found.rows, found.validation_rows) == (len(data.rows), len(data.validation))
    assert found.train_tokens == data.train_tokens
    labels = [label for row in data.rows for example in row for label in example.labels[1:]]
    # The last position of each document predicts nothing, and counts as a token.
    assert found.supervised_share == pytest.approx(sum(label != IGNORED for label in labels) / data.train_tokens)
    assert found.probe.tokens == max(sum(len(example.tokens) for example in row) for row in data.rows)
    assert found.trained == sum(parameter.numel() for parameter in ready.parameters)
    assert found.tokens_per_second == pytest.approx(found.probe.tokens / found.probe.seconds)
    assert 0 < found.probe.forward_seconds < found.probe.seconds
    assert found.mfu == pytest.approx(found.tokens_per_second * found.flops_per_token / 1e12)
    assert found.training_bytes == found.probe.peak_bytes + 12 * found.trained
    training = 2 * data.train_tokens / found.tokens_per_second
    assert training < found.eta_seconds < 3 * training
    assert found.probe.loss == pytest.approx(math.log(400), rel=0.05)
    text = "\n".join(found.describe())
    assert f"{len(data.rows)} rows ({data.train_tokens:,} tokens" in text
    assert f"{found.tokens_per_second:,.0f} tok/s (float32, cpu)" in text
    assert "MFU" in text
    assert "whole run 0:" in text


def test_samples_show_what_is_learnt(data: Rows):
    tokenizer = make_tokenizer()
    shown = samples(data.rows, tokenizer)
    assert len(shown) == 3
    start, end = MARKS
    for text in shown:
        assert text.count(start) == text.count(end) == 1
        assert text.index(start) > 0
        assert re.search(r"pkg/m\d+\.py", text[: text.index(start)])
    whole = data.rows[0][-1]
    text = marked(whole, tokenizer)
    assert text.replace(start, "").replace(end, "") == tokenizer.decode(whole.tokens)
    learnt = text[text.index(start) + 1 : text.index(end)]
    assert learnt == tokenizer.decode([label for label in whole.labels if label != IGNORED])


def test_several_learnt_parts_are_marked_one_by_one():
    tokenizer = make_tokenizer()
    tokens = tokenizer("return width * height").input_ids
    assert len(tokens) > 4
    labels = [IGNORED, tokens[1], IGNORED, *tokens[3:]]
    parts = [tokenizer.decode(part) for part in (tokens[:1], tokens[1:2], tokens[2:3], tokens[3:])]
    assert marked(Custom(tokens, labels), tokenizer) == f"{parts[0]}⟦{parts[1]}⟧{parts[2]}⟦{parts[3]}⟧"


def test_long_texts_are_shortened_in_the_middle():
    lines = [str(number) for number in range(30)]
    assert shortened("\n".join(lines), 4) == "0\n1\n[26 lines]\n28\n29"
    assert shortened("a\nb", 4) == "a\nb"


@pytest.mark.parametrize(
    ("plan", "seconds"),
    [
        (Plan(minutes=3), 180),
        (Plan(epochs=2, checks=0), 2 * 1000 / 50 + 2 * 7),
        (Plan(epochs=0.5, checks=3), 0.5 * 1000 / 50 + 4 * 7),
        (Plan(steps=5, checks=1), 1000 / 50 + 2 * 7),
        (Plan(steps=5, rows_per_step=2, checks=1), 5 / 3 * 1000 / 50 + 2 * 7),
    ],
)
def test_how_long_a_plan_takes(plan: Plan, seconds: float):
    assert planned_seconds(plan, rows=5, tokens=1000, tokens_per_second=50, validation=7) == pytest.approx(seconds)


def test_how_many_steps_a_plan_has():
    assert whole_steps(Plan(steps=7), rows=5, tokens=1000, tokens_per_second=50) == 7
    assert whole_steps(Plan(epochs=2, rows_per_step=2), rows=5, tokens=1000, tokens_per_second=50) == 6
    # 3 minutes are 9000 tokens, nine epochs of three steps.
    assert whole_steps(Plan(minutes=3, rows_per_step=2), rows=5, tokens=1000, tokens_per_second=50) == 27
    assert whole_steps(Plan(minutes=0.01), rows=5, tokens=1000, tokens_per_second=50) == 1


@pytest.mark.parametrize(("tokens", "millions"), [(512, 620), (1024, 673), (2048, 780)])
def test_the_cost_of_a_token_of_smollm2_135m(tokens: int, millions: int):
    # 30 layers, hidden 576, 9 heads of 64 and 3 for keys, inner 1536, 49152 tokens; rank 16 on all linear layers.
    layer = 576 * (576 + 192 + 192 + 576) + 3 * 576 * 1536
    ranks = 16 * ((576 + 576) + 2 * (576 + 192) + (576 + 576) + 3 * (576 + 1536))
    shape = Shape(matmul=30 * layer + 576 * 49152, head=576 * 49152, lora=30 * ranks, layers=30, width=576)
    assert shape.matmul == pytest.approx(134.5e6, rel=1e-3)
    assert lora_flops_per_token(shape, tokens) / 1e6 == pytest.approx(millions, abs=1)
    # The head is left out for what is not learnt: forward and the hidden state's gradient, 4 operations a weight.
    assert lora_flops_per_token(shape, tokens) - lora_flops_per_token(shape, tokens, 0.0) == 4 * 576 * 49152


def test_the_shape_of_a_model_is_counted_from_its_layers():
    found = shape_of(fresh())
    hidden, inner, size = SIZES["hidden_size"], SIZES["intermediate_size"], 16
    layer = hidden * (4 * size + 2 * 2 * size + hidden) + 3 * hidden * inner
    assert found.head == hidden * SIZES["vocab_size"]
    assert found.matmul == 3 * layer + found.head
    assert (found.layers, found.width) == (3, hidden)
    assert found.lora == sum(value.numel() for value in weights(fresh()).values())


def test_the_gemm_peak_is_a_rate(monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(1000))
    monkeypatch.setattr(flops.time, "perf_counter", lambda: next(clock))
    # Each product takes one tick; the largest of the shapes has 2 x 1536 cubed operations.
    assert gemm_peak(torch.float32, torch.device("cpu"), 1) == 2 * 1536**3


def test_the_footprint_counts_weights_from_the_headers_of_the_files(tmp_path: Path):
    folder = save_base(tmp_path)
    options = {"pass_tokens": 128, "rank": 4, "bytes_per_number": 4}
    found = footprint.estimate(folder, **options)
    assert found is not None
    model = make_model()
    assert found.weights == 4 * sum(parameter.numel() for parameter in model.parameters())
    trained = sum(value.numel() for value in weights(fresh()).values())
    assert found.adapter == 20 * trained
    assert footprint.estimate(folder, **options | {"rank": 8}).adapter == 2 * found.adapter
    assert footprint.estimate(folder, **options | {"bytes_per_number": 2}).weights == found.weights / 2
    assert footprint.estimate(folder, **options, recompute=True).activations < found.activations
    assert footprint.estimate(folder, **options | {"pass_tokens": 256}).activations > found.activations
    four, eight = (footprint.estimate(folder, **options, quantize=quantize).weights for quantize in ("4bit", "8bit"))
    assert four < eight < found.weights
    # Embeddings are not quantized.
    assert four > 4 * SIZES["hidden_size"] * SIZES["vocab_size"]


def test_a_family_that_is_not_known_has_no_estimate_and_a_folder_without_a_model_is_one_line(tmp_path: Path):
    with pytest.raises(HoneError, match="holds no model"):
        footprint.estimate(tmp_path, pass_tokens=64, rank=4, bytes_per_number=4)
    (tmp_path / "config.json").write_text('{"n_embd": 768}')
    assert footprint.estimate(tmp_path, pass_tokens=64, rank=4, bytes_per_number=4) is None
    (tmp_path / "config.json").write_text("{" + ", ".join(f'"{name}": 8' for name in footprint.SIZES) + "}")
    with pytest.raises(HoneError, match="no safetensors"):
        footprint.estimate(tmp_path, pass_tokens=64, rank=4, bytes_per_number=4)
    (tmp_path / "model.safetensors").write_bytes(b"none")
    with pytest.raises(HoneError, match="cannot read"):
        footprint.estimate(tmp_path, pass_tokens=64, rank=4, bytes_per_number=4)


def test_what_cannot_fit_is_refused_and_what_may_not_is_said():
    need = footprint.Footprint(weights=4 * 10**9, adapter=10**9, activations=10**9, runtime=0)
    assert footprint.check_fits(need, 8 * 10**9) is None
    warning = footprint.check_fits(need, 6 * 10**9)
    assert warning is not None
    assert "about 6.0 GB: base 4.0 GB" in warning
    assert "may not fit" in warning
    with pytest.raises(HoneError, match=r"6\.0 GB.*; 4\.0 GB are free; a smaller row_length"):
        footprint.check_fits(need, 4 * 10**9)


@pytest.mark.model
@pytest.mark.parametrize("recompute", [False, True])
def test_the_estimated_footprint_is_near_the_measured_one(embedded_store: Path, tmp_path: Path, recompute: bool):
    """In a process of its own, since a process keeps what it held before."""
    (folder,) = {path.parent for path in embedded_store.rglob("model.safetensors")}
    process = CONTEXT.Process(target=hold_a_run, args=(folder, recompute, tmp_path / "held.json"))
    process.start()
    process.join(300)
    assert process.exitcode == 0
    held, estimated = json.loads((tmp_path / "held.json").read_text())
    assert estimated / footprint.MARGIN < held < estimated * footprint.MARGIN


def hold_a_run(folder: Path, recompute: bool, answer: Path) -> None:
    """Writes the bytes that a run of one row holds, and their estimate."""
    torch.set_num_threads(1)
    attention.register()
    model = lora.add_lora(load_base(folder, torch.float32, attention.NAME), LoraOptions(), 0)
    ready = make_ready(model, Plan(steps=1, activation_checkpointing=recompute))
    text = "".join(f"value_{number} = {number} * {number}\n" for number in range(400))
    row = windows("a.py", text, load_tokenizer(folder), 512, 0)[0]
    found = probe(ready, [(row,)], passes=1)
    estimate = footprint.estimate(folder, pass_tokens=len(row.tokens), rank=32, bytes_per_number=4, recompute=recompute)
    assert estimate is not None
    trained = sum(parameter.numel() for parameter in ready.parameters)
    answer.write_text(json.dumps([found.peak_bytes + 12 * trained, estimate.total]))
