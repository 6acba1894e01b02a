"""Sampling, stopping and probabilities of the torch engine, on a tiny random model."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.engines.base import InvalidRequestError, Request
from assistant.engines.indent import IndentStop
from assistant.engines.torch import Torch
from assistant.engines.torch_sample import StopText, sample
from tests.tuning import tiny

PROMPT = "def area(width, height):\n"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Torch:
    return Torch(tiny.save_base(tmp_path_factory.mktemp("tiny") / "base"), context_length=128)


class _Characters:
    """A tokenizer whose tokens are characters."""

    def decode(self, tokens: list[int], **options: Any) -> str:
        return "".join(map(chr, tokens))


def _add_all(text: StopText, added: str) -> str:
    pieces = []
    for character in added:
        pieces.append(text.add(ord(character)))
        if text.stopped:
            break
    return "".join(pieces) + text.rest()


@given(st.lists(st.text("ab \n\t", max_size=9), max_size=6), st.integers(0, 3))
def test_text_ends_before_a_line_of_too_little_indentation(pieces: list[str], min_indent: int) -> None:
    added = "".join(pieces)
    first, *later = added.split("\n")
    kept = first
    for line in later:
        shallow = len(line) - len(line.lstrip(" \t")) < min_indent and line.strip(" \t")
        kept += "\n" + ("" if shallow else line)
        if shallow:
            break
    indent = IndentStop(min_indent)
    given_on = ""
    for piece in pieces:
        given_on += indent.add(piece)
        if indent.stopped:
            break
    assert given_on + indent.rest() == kept


@given(st.text("ab\n", max_size=20), st.text("ab\n", min_size=1, max_size=3))
def test_nothing_of_a_stop_string_is_ever_given(added: str, stop: str) -> None:
    assert _add_all(StopText(_Characters(), (stop,)), added) == added.partition(stop)[0]


def _draw(logits: list[float], made: list[int] = [], **fields: Any) -> int:  # noqa: B006
    import torch

    generator = torch.Generator().manual_seed(1)
    return sample(torch.tensor(logits), Request("x", **fields), [], made, generator)


def test_penalties_are_llama_cpps() -> None:
    assert _draw([2.0, 1.5, -9.0], [0]) == 0
    assert _draw([2.0, 1.5, -9.0], [0], repeat_penalty=2.0) == 1
    assert _draw([2.0, 1.5, -9.0], [0], presence_penalty=0.6) == 1
    assert _draw([2.0, 1.5, -9.0], [0, 0], frequency_penalty=0.2) == 0
    assert _draw([2.0, 1.5, -9.0], [0, 0, 0], frequency_penalty=0.2) == 1
    assert _draw([2.0, 1.5, -9.0], [0], presence_penalty=0.6, samplers=("top_k",), top_k=1) == 0


def test_only_the_samplers_that_are_named_are_applied() -> None:
    assert {_draw([9.0, 0.0], temperature=0.0, samplers=("temperature",))} == {0}
    assert _draw([1.0, 0.9, 0.8], temperature=5.0, top_k=1) == 0
    assert _draw([1.0, 0.9, 0.8], temperature=0.0, samplers=("top_k",), top_k=1) == 0


def test_each_token_comes_with_its_probability(engine: Torch) -> None:
    chunks = list(engine.stream(Request(PROMPT, max_tokens=6, logprobs=400)))
    entries = [entry for chunk in chunks for entry in chunk.logprobs]
    assert len(entries) == 6
    for entry in entries:
        assert math.fsum(math.exp(other.logprob) for other in entry.top) == pytest.approx(1, abs=1e-3)
        assert entry.token == entry.top[0].token
        assert entry.logprob == entry.top[0].logprob
    assert [
        chunk.logprobs[0].top for chunk in engine.stream(Request(PROMPT, max_tokens=1, logprobs=0)) if chunk.logprobs
    ] == [()]


def test_a_prompt_can_be_computed_without_an_answer(engine: Torch) -> None:
    (last,) = engine.stream(Request(PROMPT, max_tokens=0))
    assert last.finish_reason == "length"
    assert last.usage is not None
    assert last.usage.completion_tokens == 0


def test_an_answer_that_takes_too_long_ends_with_its_line(engine: Torch) -> None:
    request = Request(PROMPT, max_tokens=100, temperature=2.0, top_k=0, top_p=1.0, min_p=0.0, seed=3)
    whole = "".join(chunk.text for chunk in engine.stream(request))
    short = "".join(chunk.text for chunk in engine.stream(Request(**{**vars(request), "line_seconds": 1e-9})))
    assert "\n" in whole
    assert short.endswith("\n")
    assert "\n" not in short.rstrip("\n")
    assert whole.startswith(short)


def test_a_schema_is_refused(engine: Torch) -> None:
    assert not engine.enforces_schemas
    with pytest.raises(InvalidRequestError, match="no JSON schema"):
        list(engine.stream(Request(PROMPT, json_schema={"type": "object"})))
