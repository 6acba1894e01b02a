"""The log-probabilities of one-token answers, by both engines."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.engines import choices
from assistant.engines.base import Engine, InvalidRequestError
from assistant.engines.llamacpp import LlamaCpp
from assistant.engines.torch import Torch
from assistant.errors import EngineError
from assistant.models import store
from tests.assistant.adapters import write_adapter
from tests.tuning.tiny_gguf import write_base

TEXTS = ["Is it right?\n+1 return width * height =>", "\n+2 return width + height =>", "\n+3 pass =>"]
CHOICES = [" ok", " wrong"]


def by_character(text: str) -> list[int]:
    return [ord(character) for character in text]


def by_pieces(text: str) -> list[int]:
    """As sentencepiece does: a space before a text of its own."""
    return [ord(character) for character in " " + text]


def joining(text: str) -> list[int]:
    """Joins every guard with what follows it, but for the last one."""
    return (
        [sum(map(ord, text[:2])), *map(ord, text[2:])] if text[:1] in "☺\n;" and len(text) > 1 else by_character(text)
    )


@pytest.mark.parametrize("tokenize", [by_character, by_pieces, joining])
def test_a_continued_text_has_no_space_of_its_own(tokenize: Callable[[str], list[int]]):
    assert choices.continued(tokenize, "xy") == [ord("x"), ord("y")]


def test_a_tokenizer_without_bounds_is_refused():
    with pytest.raises(InvalidRequestError, match="no token boundary"):
        choices.continued(lambda text: [hash(text)], "x")


@given(
    texts=st.lists(st.text(max_size=8), min_size=1, max_size=5).filter(lambda texts: bool(texts[0])),
    assumed=st.integers(0, 1),
    opening=st.sampled_from([[], [7]]),
)
def test_the_pieces_follow_each_other(texts: list[str], assumed: int, opening: list[int]):
    asked = choices.assemble(by_character, opening, texts, CHOICES, assumed)
    whole = "".join(text + CHOICES[assumed] for text in texts)
    assert list(asked.tokens) == opening + by_character(whole)
    # Both answers begin with a space, which is no answer yet.
    assert asked.choices == (ord("o"), ord("w"))
    assert [asked.tokens[position] for position in asked.positions] == [asked.choices[assumed]] * len(texts)


@pytest.mark.parametrize("words", [["a", "ab"], ["ab", "a"], ["abc", "abd", "axx"]])
def test_answers_that_one_token_does_not_tell_apart_are_refused(words: list[str]):
    with pytest.raises(InvalidRequestError, match="apart by one token"):
        choices.assemble(by_character, [], ["x"], words, 0)


@pytest.mark.parametrize(
    ("texts", "words", "assumed"),
    [
        ([], CHOICES, 0),
        (["x"] * 1025, CHOICES, 0),
        (["x"], [" ok"], 0),
        (["x"], [" ok", " ok"], 0),
        (["x"], CHOICES, 2),
    ],
)
def test_what_cannot_be_asked_is_refused(texts: list[str], words: list[str], assumed: int):
    with pytest.raises(InvalidRequestError):
        choices.check(texts, words, assumed)


def test_the_beginning_token_is_found():
    assert choices.opening_of(by_character, lambda text: [1, *by_character(text), 2]) == [1]
    assert choices.opening_of(by_character, by_character) == []


COUNTED = """
import json, os, sys
from pathlib import Path
from assistant.engines import llamacpp_child

config = json.load(sys.stdin)
child = llamacpp_child._Child(os.open(os.devnull, os.O_WRONLY), config["engine"])
call, seen = child._listener.call, []

def counting(method, path, body=None):
    answer = call(method, path, body)
    if path == "/completion":
        seen.append([len(body["prompt"]), answer["timings"]["prompt_n"]])
    return answer

child._listener.call = counting
child._cancelled[1] = False
child._choose(1, config["texts"], [" ok", " wrong"], 0, None)
Path(config["out"]).write_text(json.dumps(seen))
os._exit(0)
"""


def test_llama_cpp_computes_what_the_texts_share_once(tmp_path: Path):
    """Its own count of the tokens that it computed, answer by answer, with more than one slot to choose from."""
    gguf = write_base(tmp_path / "tiny.gguf")
    engine = {"gguf": str(gguf), "adapters": [], "context_length": 512, "threads": 1, "slots": 2}
    hunk = "def area(width, height):\n    return width * height\n" * 6
    texts = [hunk + "+1 return width =>", *(f"\n+{number} value = {number} =>" for number in range(2, 12))]
    out = tmp_path / "counts.json"
    asked = {"engine": {**engine, "folder": str(tmp_path)}, "texts": texts, "out": str(out)}
    subprocess.run([sys.executable, "-c", COUNTED], input=json.dumps(asked), text=True, check=True, timeout=120)
    counts = json.loads(out.read_text())
    assert len(counts) == len(texts)
    assert counts[0][0] > 50
    # One token more than is new is computed each time: there must be one to continue from.
    assert sum(computed for _, computed in counts) <= counts[-1][0] + 2 * len(texts)


def test_a_question_that_nobody_waits_for_is_ended(tmp_path: Path):
    engine = LlamaCpp(write_base(tmp_path / "tiny.gguf", max_position_embeddings=2048), context_length=2048, threads=1)
    try:
        with pytest.raises(EngineError, match="cancelled"):
            engine.choose(["x"] * 400, CHOICES, cancelled=lambda: True)
        assert len(engine.choose(["x"] * 2, CHOICES)) == 2
    finally:
        engine.close()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapter") / "random", seed=1, size=0.1)


@pytest.fixture(scope="module")
def llamacpp(embedded_store: Path, adapter: Path) -> Iterator[LlamaCpp]:
    gguf = next((embedded_store / "smollm2-135m").glob("*.gguf"))
    engine = LlamaCpp(gguf, {"random": adapter / "adapter.gguf"}, context_length=256)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def torch(session_home: Path, adapter: Path) -> Iterator[Torch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_HOME", str(session_home))
        base = store.find("smollm2-135m")
        assert base is not None
        engine = Torch(store.tuning_form(base), {"random": adapter}, context_length=256, threads=1)
    yield engine
    engine.close()


@pytest.mark.model
def test_both_engines_read_the_same_probabilities(llamacpp: LlamaCpp, torch: Torch):
    for adapter in (None, "random"):
        ours, theirs = (engine.choose(TEXTS, CHOICES, 0, adapter) for engine in (llamacpp, torch))
        assert len(ours) == len(theirs) == len(TEXTS)
        for one, other in zip(ours, theirs, strict=True):
            assert sum(map(math.exp, one)) == pytest.approx(1, abs=1e-5)
            # llama.cpp quantizes activations.
            assert one[1] - one[0] == pytest.approx(other[1] - other[0], abs=0.6)
    # A later answer depends on what was assumed before, an earlier one on nothing that follows.
    first = llamacpp.choose(TEXTS[:1], CHOICES)
    assert first[0] == pytest.approx(llamacpp.choose(TEXTS, CHOICES, 1)[0], abs=0.02)
    assert torch.choose(TEXTS, CHOICES, 1)[1] != pytest.approx(torch.choose(TEXTS, CHOICES, 0)[1], abs=1e-3)
    mirrored = [row[::-1] for row in llamacpp.choose(TEXTS, CHOICES[::-1], 1)]
    assert mirrored[2] == pytest.approx(llamacpp.choose(TEXTS, CHOICES)[2], abs=0.02)


@pytest.mark.model
def test_an_adapter_answers_for_itself(llamacpp: LlamaCpp):
    bare = llamacpp.choose(TEXTS, CHOICES)
    assert llamacpp.choose(TEXTS, CHOICES, 0, "random")[0] != pytest.approx(bare[0], abs=0.01)
    assert llamacpp.choose(TEXTS, CHOICES)[0] == pytest.approx(bare[0], abs=0.02)


@pytest.mark.model
@pytest.mark.parametrize("name", ["llamacpp", "torch"])
def test_what_does_not_fit_is_refused(name: str, request: pytest.FixtureRequest):
    engine: Engine = request.getfixturevalue(name)
    with pytest.raises(InvalidRequestError, match="context of this model holds 256"):
        engine.choose(["word " * 300], CHOICES)
    with pytest.raises(InvalidRequestError, match="no adapter unknown"):
        engine.choose(TEXTS, CHOICES, 0, "unknown")
    with pytest.raises(InvalidRequestError, match="apart by one token"):
        engine.choose(TEXTS, [" ok", " ok then"])
