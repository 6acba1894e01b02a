"""The log-probabilities of given texts, by both engines."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.engines import likelihoods
from assistant.engines.base import Engine, InvalidRequestError, Request
from assistant.engines.forced import GAP, MOST, grammar_of, runs
from assistant.engines.likelihoods import Reading
from assistant.engines.llamacpp import LlamaCpp
from assistant.engines.torch import Torch
from assistant.errors import EngineError
from assistant.models import store
from tests.assistant.adapters import write_adapter
from tests.tuning.tiny_gguf import tuning_form, write_base

TEXTS = ["def area(width, height):\n    return width * height\n\n\ndef double(value):\n", "", "\n\ndef half(value):\n"]
ANSWERS = ["    return value * 2\n", "\nprint(double(area(3, 4)))", "    return value // 2\n"]
TOLERANCE = {None: 0.1, "random": 0.4}
"""How far the engines may differ on an answer, for each of its tokens: llama.cpp quantizes activations, and a random
adapter makes its errors grow. Where nothing is quantized they must agree token by token."""


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
    assert likelihoods.continued(tokenize, "xy") == [ord("x"), ord("y")]


def test_a_tokenizer_without_bounds_is_refused():
    with pytest.raises(InvalidRequestError, match="no token boundary"):
        likelihoods.continued(lambda text: [hash(text)], "x")


@given(
    pieces=st.lists(st.tuples(st.text(max_size=8), st.text(min_size=1, max_size=8)), min_size=1, max_size=5).filter(
        lambda pieces: bool(pieces[0][0])
    ),
    opening=st.sampled_from([[], [7]]),
)
def test_the_pieces_follow_each_other(pieces: list[tuple[str, str]], opening: list[int]):
    texts, answers = ([piece[side] for piece in pieces] for side in (0, 1))
    reading = likelihoods.assemble(by_character, opening, texts, answers)
    assert list(reading.tokens) == opening + by_character("".join(text + answer for text, answer in pieces))
    assert [list(reading.tokens[start:end]) for start, end in reading.spans] == list(map(by_character, answers))


def test_an_answer_needs_a_token_before_it():
    with pytest.raises(InvalidRequestError, match="no token before the first answer"):
        likelihoods.assemble(lambda text: by_character(text.strip(" ")), [], [" "], ["x"])


@pytest.mark.parametrize(
    ("texts", "answers", "reason"),
    [
        ([], [], "1 to 1024 texts"),
        (["x"] * 1025, ["y"] * 1025, "1 to 1024 texts"),
        (["x"], [], "as many answers as texts are needed: 1, not 0"),
        (["x"], ["y", "z"], "as many answers as texts"),
        (["", "x"], ["y", "z"], "first text is empty"),
        (["x", ""], ["y", ""], r"answers\[1\] is empty"),
    ],
)
def test_what_cannot_be_asked_is_refused(texts: list[str], answers: list[str], reason: str):
    with pytest.raises(InvalidRequestError, match=reason):
        likelihoods.check(texts, answers)


@given(
    lengths=st.lists(st.tuples(st.integers(0, 3 * GAP), st.integers(0, 2 * MOST)), min_size=1, max_size=6),
    bytes_at=st.frozensets(st.integers(0, 400), max_size=40),
)
def test_the_runs_hold_the_answers(lengths: list[tuple[int, int]], bytes_at: frozenset[int]):
    spans, end = [], 1
    for text, answer in lengths:
        spans.append((end + text, end + text + answer))
        end += text + answer
    found = runs(Reading(tuple(range(end)), tuple(spans)), bytes_at)
    wanted = {position for start, stop in spans for position in range(start, stop)}
    forced = [position for start, stop in found for position in range(start, stop)]
    assert forced == sorted(set(forced)), "in order, none twice"
    assert wanted <= set(forced)
    for start, stop in found:
        assert {start, stop - 1} <= wanted
        assert stop - start <= MOST
        assert stop - start == 1 or bytes_at.isdisjoint(range(start, stop))
        unwanted = "".join(" " if position in wanted else "x" for position in range(start, stop)).split()
        assert max(map(len, unwanted), default=0) <= GAP


def test_runs_are_as_long_as_they_may_be():
    tokens = tuple(range(400))
    assert runs(Reading(tokens, ((5, 9), (9 + GAP, 40), (41 + GAP, 70))), frozenset()) == [
        (5, 40),
        (41 + GAP, 70),
    ]
    assert runs(Reading(tokens, ((5, 5 + 2 * MOST + 1),)), frozenset()) == [(5, 69), (69, 133), (133, 134)]
    assert runs(Reading(tokens, ((5, 9), (12, 14))), frozenset({6, 11})) == [(5, 6), (6, 7), (7, 9), (12, 14)]


def test_a_grammar_names_tokens():
    assert grammar_of([12, 7]) == "root ::= <[12]> <[7]>"


def test_the_beginning_token_is_found():
    assert likelihoods.opening_of(by_character, lambda text: [1, *by_character(text), 2]) == [1]
    assert likelihoods.opening_of(by_character, by_character) == []


COUNTED = """
import json, os, sys
from pathlib import Path
from assistant.engines import forced, llamacpp_child

config = json.load(sys.stdin)
forced._LIKELIEST = config.get("likeliest", forced._LIKELIEST)
child = llamacpp_child._Child(os.open(os.devnull, os.O_WRONLY), config["engine"])
call, seen = child._listener.call, []

def counting(method, path, body=None):
    if path == "/completion" and "draw" in config:
        body = {**body, "grammar": f"root ::= <[{config['draw']}]>"}
    answer = call(method, path, body)
    if path == "/completion":
        seen.append({"prompt": len(body["prompt"]), "computed": answer["timings"]["prompt_n"],
                     "forced": answer["timings"]["predicted_n"], "listed": body["n_probs"]})
        child._cancelled[1] = len(seen) == config.get("cancelled_after")
    return answer

child._listener.call = counting
child._cancelled[1] = False
try:
    told = child._likelihoods(1, config["texts"], config["answers"], None)
except RuntimeError as error:
    told = {"failed": str(error)}
Path(config["out"]).write_text(json.dumps([seen, told]))
os._exit(0)
"""


def counted(folder: Path, texts: list[str], answers: list[str], **config: Any) -> tuple[list[dict[str, int]], Any]:
    """The requests that llama.cpp gets, by its own counts, and what is told in the end. It has more than one slot."""
    folder.mkdir(exist_ok=True)
    engine = {"gguf": str(write_base(folder / "tiny.gguf")), "adapters": [], "context_length": 512, "threads": 1}
    out = folder / "counts.json"
    asked = {"engine": {**engine, "slots": 2, "folder": str(folder)}, "texts": texts, "answers": answers, **config}
    script = [sys.executable, "-c", COUNTED]
    subprocess.run(script, input=json.dumps({**asked, "out": str(out)}), text=True, check=True, timeout=600)
    seen, told = json.loads(out.read_text())
    return seen, told


HUNK = "def area(width, height):\n    return width * height\n" * 3


def test_llama_cpp_computes_what_the_texts_share_once(tmp_path: Path):
    texts = [HUNK, *(f"{HUNK[:60]}# {number}" for number in range(5))]
    seen, told = counted(tmp_path, texts, ["\nvalue = 1"] * len(texts))
    assert [len(row) > 0 for row in told["logprobs"]] == [True] * len(texts)
    assert len(seen) == len(texts), "each text is long enough to be read in a prompt"
    last = seen[-1]
    # One token more than is new is computed each time: there must be one to continue from. The last token that was
    # drawn is not computed before the next prompt either.
    whole = last["prompt"] + last["forced"]
    assert whole > 150
    assert sum(one["computed"] + one["forced"] for one in seen) <= whole + 2 * len(seen)


def test_a_long_answer_is_forced_in_runs_that_follow_each_other(tmp_path: Path):
    seen, told = counted(tmp_path, ["def f():"], [HUNK * 4])
    assert len(told["logprobs"][0]) > MOST
    assert [one["forced"] for one in seen[:-1]] == [MOST] * (len(seen) - 1)
    assert sum(one["forced"] for one in seen) == len(told["logprobs"][0])
    assert all(one["computed"] <= 2 for one in seen[1:])


def test_a_reading_is_cancelled_between_two_runs(tmp_path: Path):
    seen, told = counted(tmp_path, ["def f():"], [HUNK * 4], cancelled_after=1)
    assert len(seen) == 1
    assert told == {"end": {"reason": "cancelled"}}


def test_other_tokens_than_those_to_read_are_an_error(tmp_path: Path):
    seen, told = counted(tmp_path, ["def f():"], ["\n    pass"], draw=20)
    assert (len(seen), told) == (1, {"failed": "it drew other tokens than those that it was to read"})


def test_a_part_of_a_character_is_looked_up_among_all_tokens(tmp_path: Path):
    few, same = counted(tmp_path / "few", ["# "], ["ab\N{PARROT}c"])
    seen, told = counted(tmp_path / "all", ["# "], ["ab\N{PARROT}c"], likeliest=1)
    assert max(one["listed"] for one in few) < max(one["listed"] for one in seen)
    assert told["logprobs"][0] == pytest.approx(same["logprobs"][0], abs=1e-4)


READINGS = {
    "code": (TEXTS, ANSWERS),
    "parts of characters": (
        ["# Größe, in 你好 und \N{PARROT}\nx =", "\n# "],
        [" 'Größe'", "你好, \N{PARROT}\N{COMBINING ACUTE ACCENT}!"],
    ),
    "a long text between": ([TEXTS[0], HUNK], [ANSWERS[0], "\nprint(area(1, 2))\n"]),
    "a short text between": (["x = 1\n", "\n"], ["y = 2", "z = 3\n"]),
    "many tokens": (["import math\n\n\n"], [HUNK * 2 + "print(area(1, 2))\n"]),
    "spelled tokens": (["The turn ends with ", " and begins with "], ["<|im_end|>", "<|im_start|>\0 user"]),
}


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LlamaCpp, Torch]]:
    """Both engines on one random model in 32 bits."""
    folder = tmp_path_factory.mktemp("exact")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_HOME", str(folder / "home"))
        base = store.find(str(write_base(folder / "tiny.gguf")))
        assert base is not None
        engines = (LlamaCpp(folder / "tiny.gguf", context_length=512, threads=1), Torch(tuning_form(base), threads=1))
    yield engines
    for engine in engines:
        engine.close()


@pytest.mark.parametrize("named", READINGS)
def test_both_engines_agree_where_nothing_is_quantized(named: str, exact: tuple[LlamaCpp, Torch]):
    ours, theirs = (engine.likelihoods(*READINGS[named]) for engine in exact)
    for one, other in zip(ours, theirs, strict=True):
        # llama.cpp keeps keys and values in 16 bits.
        assert one == pytest.approx(other, abs=0.02)


def test_a_question_that_nobody_waits_for_is_ended(tmp_path: Path):
    engine = LlamaCpp(write_base(tmp_path / "tiny.gguf", max_position_embeddings=2048), context_length=2048, threads=1)
    try:
        with pytest.raises(EngineError, match="cancelled"):
            engine.likelihoods(["x"] * 400, [" ok"] * 400, cancelled=lambda: True)
        assert len(engine.likelihoods(["x"] * 2, [" ok"] * 2)) == 2
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


def sums(rows: list[list[float]]) -> list[float]:
    return [sum(row) for row in rows]


@pytest.mark.model
@pytest.mark.parametrize("using", [None, "random"])
@pytest.mark.parametrize("named", READINGS)
def test_both_engines_read_the_same_probabilities(llamacpp: LlamaCpp, torch: Torch, named: str, using: str | None):
    texts, answers = READINGS[named]
    ours, theirs = (engine.likelihoods(texts, answers, using) for engine in (llamacpp, torch))
    assert len(ours) == len(theirs) == len(answers)
    for one, other, answer in zip(ours, theirs, answers, strict=True):
        assert len(one) == len(other) == len(torch.tokenize(answer))
        assert sum(one) == pytest.approx(sum(other), abs=TOLERANCE[using] * len(one))
        assert max(one) < 0


@pytest.mark.model
def test_an_answer_is_read_given_what_is_before_it(llamacpp: LlamaCpp, torch: Torch):
    for engine, same in ((llamacpp, 0.02), (torch, 1e-3)):
        whole = engine.likelihoods(TEXTS, ANSWERS)
        first = engine.likelihoods(TEXTS[:1], ANSWERS[:1])
        assert first[0] == pytest.approx(whole[0], abs=same), "nothing that follows matters"
        other = engine.likelihoods(TEXTS, ["    pass\n", *ANSWERS[1:]])
        assert other[2] != pytest.approx(whole[2], abs=0.05)
        # Read in two pieces, a text is as likely as in one that has the same tokens.
        split = engine.likelihoods([TEXTS[0], ""], ["    return value", " * 2\n"])
        assert [*split[0], *split[1]] == pytest.approx(whole[0], abs=same)


@pytest.mark.model
def test_what_a_model_writes_is_as_likely_as_it_says_meanwhile(llamacpp: LlamaCpp):
    chunks = list(llamacpp.stream(Request(TEXTS[0], max_tokens=12, logprobs=1)))
    drawn = [one for chunk in chunks for one in chunk.logprobs]
    text = "".join(one.text for one in drawn)
    assert llamacpp.tokenize(text) == [one.token for one in drawn]
    assert llamacpp.likelihoods([TEXTS[0]], [text])[0] == pytest.approx([one.logprob for one in drawn], abs=0.02)


@pytest.mark.model
def test_an_adapter_answers_for_itself(llamacpp: LlamaCpp):
    bare = llamacpp.likelihoods(TEXTS, ANSWERS)
    assert sums(llamacpp.likelihoods(TEXTS, ANSWERS, "random")) != pytest.approx(sums(bare), abs=0.1)
    assert sums(llamacpp.likelihoods(TEXTS, ANSWERS)) == pytest.approx(sums(bare), abs=0.02)


@pytest.mark.model
@pytest.mark.parametrize("name", ["llamacpp", "torch"])
def test_what_does_not_fit_is_refused(name: str, request: pytest.FixtureRequest):
    engine: Engine = request.getfixturevalue(name)
    with pytest.raises(InvalidRequestError, match="context of this model holds 256"):
        engine.likelihoods(["word "], ["word " * 300])
    with pytest.raises(InvalidRequestError, match="no adapter unknown"):
        engine.likelihoods(TEXTS, ANSWERS, "unknown")
    with pytest.raises(InvalidRequestError, match="as many answers"):
        engine.likelihoods(TEXTS, ANSWERS[:1])
    with pytest.raises(EngineError, match="cancelled"):
        engine.likelihoods(TEXTS, ANSWERS, cancelled=lambda: True)
