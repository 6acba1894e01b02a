"""The torch engine on the embedded model's tuning form, compared with transformers, peft and llama.cpp."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assistant.engines.base import Chunk, InvalidRequestError, Request
from assistant.engines.torch import Torch, TorchScorer
from assistant.errors import HoneError
from tests.assistant.adapters import write_adapter

pytestmark = pytest.mark.model

PROMPT = "def fibonacci(n):\n"
CODE = 'import os\n\n\ndef read(path):\n    with open(path, encoding="utf-8") as file:\n        return file.read()\n'


@pytest.fixture(scope="module")
def folder(embedded_store: Path, session_home: Path) -> Path:
    import os

    from assistant.models import store

    before = os.environ.get("HONE_HOME")
    os.environ["HONE_HOME"] = str(session_home)
    try:
        base = store.find("smollm2-135m")
        assert base is not None
        return store.tuning_form(base)
    finally:
        if before is None:
            del os.environ["HONE_HOME"]
        else:
            os.environ["HONE_HOME"] = before


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapter") / "random", seed=1, size=0.1)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Torch's threads wait for each other by spinning, which on a busy machine takes ten times as long."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def engine(folder: Path, adapter: Path) -> Iterator[Torch]:
    engine = Torch(folder, {"random": adapter}, context_length=256)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    """The model as transformers itself runs it."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def scorer(folder: Path) -> TorchScorer:
    return TorchScorer(folder)


def run(engine: Torch, prompt: str | tuple[int, ...] = PROMPT, **fields: Any) -> tuple[str, Chunk]:
    chunks = list(engine.stream(Request(prompt, **{"max_tokens": 8, **fields})))
    return "".join(chunk.text for chunk in chunks), chunks[-1]


def test_scores_are_transformers_own(scorer: TorchScorer, reference: Any) -> None:
    import torch

    ids = scorer.tokenize(CODE)
    with torch.inference_mode():
        loss = float(reference(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss)
    scores = scorer.score(ids)
    assert len(scores) == len(ids) - 1
    assert all(score <= 0 for score in scores)
    assert -sum(scores) / len(scores) == pytest.approx(loss, abs=1e-4)
    assert scorer.score_text(CODE) == scores


def test_a_batch_scores_like_one_at_a_time(scorer: TorchScorer) -> None:
    texts = [CODE, "x = 1\n", CODE[:40], "y", CODE * 2]
    sequences = [scorer.tokenize(text) for text in texts] + [[]]
    together = scorer.score_all(sequences, batch=3)
    for sequence, scores in zip(sequences, together, strict=True):
        assert scores == pytest.approx(scorer.score(sequence), abs=1e-3)
        assert len(scores) == max(len(sequence) - 1, 0)


def test_spans_are_scored_in_one_pass(scorer: TorchScorer) -> None:
    ids = scorer.tokenize(CODE) * 12
    # More places than logits are held of at once.
    spans = [(3, 9), (9, 9), (20, 300)]
    found = scorer.score_spans(ids, spans)
    scores = scorer.score(ids)
    assert [len(row) for row in found] == [6, 0, 280]
    for row, (start, end) in zip(found, spans, strict=True):
        assert row == pytest.approx(scores[start - 1 : end - 1], abs=1e-4)
    for wrong in ((0, 2), (4, 3), (2, len(ids) + 1)):
        with pytest.raises(InvalidRequestError, match="span"):
            scorer.score_spans(ids, [wrong])


def test_an_adapter_changes_the_scores(scorer: TorchScorer, folder: Path, adapter: Path) -> None:
    adapted = TorchScorer(folder, adapter)
    difference = sum(adapted.score_text(CODE)) - sum(scorer.score_text(CODE))
    assert math.isfinite(difference)
    assert abs(difference) > 0.1


def test_tokens_that_cannot_be_scored_are_refused(scorer: TorchScorer) -> None:
    with pytest.raises(InvalidRequestError, match="vocabulary"):
        scorer.score([1, 10_000_000])
    with pytest.raises(InvalidRequestError, match="context"):
        scorer.score([1] * 100_000)


def test_greedy_is_what_transformers_generates(engine: Torch, reference: Any) -> None:
    import torch

    ids = engine.tokenize(PROMPT)
    expected = reference.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False, pad_token_id=0)[0, len(ids) :]
    text, last = run(engine)
    assert engine.tokenize(text) == expected.tolist()
    assert last.finish_reason == "length"
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (len(ids), 8)
    assert run(engine, tuple(ids))[0] == text


def test_seeds_stop_strings_and_adapters(engine: Torch) -> None:
    whole, _ = run(engine, max_tokens=8)
    stop = whole[6:10]
    cut, last = run(engine, max_tokens=8, stop=(stop,))
    assert (cut, last.finish_reason) == (whole[: whole.index(stop)], "stop")
    samples = [run(engine, temperature=1.0, seed=seed)[0] for seed in (1, 1, 2)]
    assert samples[0] == samples[1] != samples[2]
    assert run(engine, adapter="random", max_tokens=8)[0] != whole
    assert run(engine, max_tokens=8)[0] == whole


def test_a_control_token_stays_text_where_it_is_said_to(engine: Torch) -> None:
    mark = "<|im_end|>"

    def count(**fields: Any) -> int:
        usage = run(engine, f"{mark}x = 1{mark}y", max_tokens=1, **fields)[1].usage
        assert usage is not None
        return usage.prompt_tokens

    shown = len(f"{mark}x = 1")
    plain = len(engine.tokenize(mark))
    assert plain > 1
    assert count(verbatim=((shown, shown + len(mark)),)) == count() - 1 + plain


def test_closing_the_iterator_lets_the_next_one_run(engine: Torch) -> None:
    stream = engine.stream(Request(PROMPT, max_tokens=200))
    next(stream)
    stream.close()
    assert run(engine, max_tokens=2)[1].finish_reason == "length"


def test_what_does_not_fit_is_refused(engine: Torch, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="300 tokens"):
        run(engine, tuple([100] * 300))
    with pytest.raises(InvalidRequestError, match="no adapter"):
        run(engine, adapter="other")
    with pytest.raises(HoneError) as caught:
        Torch(tmp_path)
    assert "\n" not in str(caught.value)


def test_it_agrees_with_llama_cpp_with_and_without_the_adapter(
    engine: Torch, embedded_store: Path, adapter: Path
) -> None:
    from assistant.engines.llamacpp import LlamaCpp

    gguf = next((embedded_store / "smollm2-135m").glob("*.gguf"))
    other = LlamaCpp(gguf, {"random": adapter / "adapter.gguf"}, context_length=256)
    try:
        for text in (CODE, "<|im_end|> é 🙂"):
            assert other.tokenize(text) == engine.tokenize(text)
            assert other.tokenize(text, parse_special=True) == engine.tokenize(text, parse_special=True)
        prompts = [
            "import os, ",
            "for i in range(",
            "def main(",
            "class A:\n    def __init__(self",
            "print(",
            'with open("a.txt',
        ]
        for name in (None, "random"):
            first = [(run(engine, p, adapter=name, max_tokens=1)[0], _first(other, p, name)) for p in prompts]
            assert sum(mine == theirs for mine, theirs in first) >= 4
    finally:
        other.close()


def _first(engine: Any, prompt: str, adapter: str | None) -> str:
    return "".join(chunk.text for chunk in engine.stream(Request(prompt, max_tokens=1, adapter=adapter)))
