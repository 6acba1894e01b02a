"""The parts of `benchmarks.teach_fim`: what is kept of a run, what is measured, and what is only extrapolated."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assistant import prompts
from benchmarks import infilling
from benchmarks.teach_fim import Row, extrapolated, keep_due, table, tokens_until
from evals.tasks.heldout import HeldOutFile
from tests.tuning.processes import fresh, make_rows
from tests.tuning.tiny import make_model, make_tokenizer, save_base
from tuning import checkpoint
from tuning.examples import encode, fim
from tuning.plan import Plan
from tuning.ready import make_ready
from tuning.train import train


class EndedError(BaseException):
    pass


def run_until(folder: Path, step: int) -> None:
    """A run of eight steps that keeps a checkpoint of each, and ends without a word after `step` of them."""

    def report(progress) -> None:
        if progress.step > step:
            raise EndedError

    plan = Plan(steps=8, learning_rate=1e-2)
    keeper = checkpoint.Keeper(folder, pytest.fail, every_minutes=0)
    with pytest.raises(EndedError):
        train(make_ready(fresh(), plan), make_rows(files=4), plan, report, keeper=keeper)


def test_the_first_checkpoint_of_each_part_is_kept_as_an_adapter_that_peft_loads(tmp_path: Path):
    from peft import PeftModel

    run, kept = tmp_path / "run", tmp_path / "kept"
    keep_due(run, kept, 4)
    assert not kept.exists()
    run_until(run, 1)
    keep_due(run, kept, 4)
    assert not kept.exists()
    run_until(run, 5)
    for _ in range(2):
        keep_due(run, kept, 4)
    # Nobody looked in the second quarter of the run.
    assert [part.name for part in kept.iterdir()] == ["2"]
    assert json.loads((kept / "2" / "position.json").read_text())["step"] == 5
    found = checkpoint.read(run)
    assert found is not None
    fresh().save_pretrained(kept / "2" / "as peft")
    (kept / "2" / "as peft" / "adapter_config.json").rename(kept / "2" / "adapter_config.json")
    loaded = PeftModel.from_pretrained(make_model(), kept / "2")
    weights = {name: value for name, value in loaded.named_parameters() if "lora_" in name}
    assert weights
    for name, value in weights.items():
        assert torch.equal(value, found.tensors[f"weight/{name}"]), name


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path):
    run, kept = tmp_path / "run", tmp_path / "kept"
    run_until(run, 5)
    (run / "step-00000005" / "tensors.safetensors").unlink()
    keep_due(run, kept, 4)
    assert json.loads((kept / "2" / "position.json").read_text())["step"] == 4
    assert [part.name for part in kept.iterdir()] == ["2"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


CODE = """def area(width, height):
    total = width * height
    if total < 0:
        raise ValueError(total)
"""


def held(path: str, text: str) -> HeldOutFile:
    return HeldOutFile(path, text, "", len(text))


def test_both_ways_are_asked_at_the_same_places_and_scored_on_the_middle_alone(base: Path):
    places = infilling.choose([held("a.py", CODE), held("b.py", f"MARK = '<SUF>'\n{CODE}")], 3, seed=0)
    assert {place.path for each in places.values() for place in each} == {"a.py"}
    assert {level: len(each) for level, each in places.items()} == {"line": 3, "block": 1}
    filled, onward = (infilling.measure(base, None, way, places, 300) for way in infilling.WAYS)
    for level, each in places.items():
        assert filled[level].places == onward[level].places == len(each)
        # Nothing that is drawn at random writes a line of code.
        assert filled[level].exact == onward[level].exact == 0
        assert 0 <= filled[level].similarity < 0.6
        assert filled[level].bits_per_byte != onward[level].bits_per_byte
    # A prompt of the very form that training shows: the loss of its example, the end token left out.
    (place,), tokenizer, model = places["block"], make_tokenizer(), make_model()
    end = tokenizer.get_vocab()["<|endoftext|>"]
    form = fim.taught(tokenizer)
    made = fim.example(place.path, place.prefix, place.expected, place.suffix, form, "psm", 512, end)
    assert made is not None
    (start, stop), tokens = made.supervised[0], torch.tensor([made.tokens])
    assert list(made.tokens[start : stop - 1]) == encode.continuation(tokenizer, place.expected)
    scores = torch.log_softmax(model(input_ids=tokens).logits[0], -1)
    nats = -sum(float(scores[at - 1, made.tokens[at]]) for at in range(start, stop - 1))
    expected = nats / math.log(2) / len(place.expected.encode())
    assert filled["block"].bits_per_byte == pytest.approx(expected, rel=1e-4)
    assert prompts.TAUGHT_FIM.middle in tokenizer.decode(made.tokens[:start])


@given(
    st.floats(0.01, 0.5), st.floats(-3, 3), st.lists(st.integers(10, 33), min_size=2, max_size=5, unique=True),
    st.integers(5, 40),
)  # fmt: skip
def test_a_curve_that_is_a_line_is_followed_where_it_leads_and_no_other_way(
    slope: float, start: float, doublings: list[int], wanted: int
):
    curve = [(2**at, start + slope * at) for at in doublings]
    tokens = tokens_until(curve, start + slope * wanted, rises=True)
    assert tokens == pytest.approx(2.0**wanted, rel=1e-3)
    assert tokens_until(curve, start + slope * wanted, rises=False) is None
    assert tokens_until(curve, start + slope * 60, rises=True) is None
    assert tokens_until(curve[:1], 1.0, rises=True) is None
    assert tokens_until([(2**at, start) for at in doublings], start + 1, rises=True) is None


def row(way: str, tokens: int, bits: float, similarity: float) -> Row:
    levels = {"line": {"places": 9, "bits_per_byte": bits, "exact": 1, "similarity": similarity}}
    return Row(f"{tokens} tokens", tokens / 1e4, tokens, 0.5 if tokens else None, way, tokens > 0, levels)


def test_what_was_measured_and_what_is_a_guess_are_told_apart():
    base = [row("infilling", 0, 3.0, 0.0), row("left to right", 0, 1.0, 0.4)]
    first, last = row("infilling", 2**20, 1.4, 0.30), row("infilling", 2**22, 1.2, 0.45)
    ends = [first, row("left to right", 2**20, 0.9, 0.5), last]
    lines = table([*base, *ends])
    assert lines[2] == "| 0 tokens | infilling | 0.0 | 0 |  | 3.000 | 1 of 9 | 0.000 |"
    assert len({line.count("|") for line in lines}) == 1
    bits, similar = extrapolated([*base, *ends], "smollm2-135m")
    assert "EXTRAPOLATED (a guess) to 1.7e+07 tokens, 4 times what was measured" in bits
    assert "on L4 (assumed speed)" in bits
    assert "on H100 80 GB" in bits
    assert "H100 80 GB (assumed speed)" not in bits
    assert "EXTRAPOLATED" not in similar
    assert similar.endswith(f"measured at {2**22:,} tokens")
    (far, _) = extrapolated([*base, first, row("infilling", 2**22, 1.36, 0.2)], "smollm2-135m")
    assert "not in reach: a line leads there at more than 1,000 times what was measured" in far
    (unlike, _) = extrapolated([*base, first, row("infilling", 2**22, 1.5, 0.2)], "smollm2-135m")
    assert "no line towards it" in unlike
