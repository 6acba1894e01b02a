"""The llama.cpp engine, on the embedded model in its child process."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import psutil
import pytest

from assistant.engines.base import Chunk, Emit, Engine, InvalidRequestError, Request, Usage
from assistant.engines.llamacpp import LlamaCpp
from assistant.errors import EngineError, HoneError
from tests.assistant.adapters import write_adapter

pytestmark = pytest.mark.model

PROMPT = "def fibonacci(n):\n"


@pytest.fixture(scope="module")
def gguf(embedded_store: Path) -> Path:
    return next((embedded_store / "smollm2-135m").glob("*.gguf"))


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {name: write_adapter(folder / name, seed) / "adapter.gguf" for seed, name in enumerate(("first", "second"))}


@pytest.fixture(scope="module")
def engine(gguf: Path) -> Iterator[LlamaCpp]:
    engine = LlamaCpp(gguf, context_length=512)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def adapted(gguf: Path, adapters: dict[str, Path]) -> Iterator[LlamaCpp]:
    engine = LlamaCpp(gguf, adapters, context_length=512)
    yield engine
    engine.close()


def run(engine: Engine, prompt: str | tuple[int, ...] = PROMPT, **fields) -> tuple[str, Chunk]:
    chunks = list(engine.stream(Request(prompt, **{"max_tokens": 24, **fields})))
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    return "".join(chunk.text for chunk in chunks), chunks[-1]


def usage(chunk: Chunk) -> Usage:
    assert chunk.usage is not None
    return chunk.usage


class Collector:
    """Receives a request's chunks and lets a test wait for them."""

    def __init__(self) -> None:
        self.items: list[Chunk | HoneError] = []
        self.changed = threading.Condition()

    def __call__(self, item: Chunk | HoneError) -> None:
        with self.changed:
            self.items.append(item)
            self.changed.notify_all()

    def wait(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.items) >= count, timeout=60)

    def wait_for_end(self) -> Chunk | HoneError:
        def ended() -> bool:
            last = self.items[-1] if self.items else Chunk()
            return isinstance(last, HoneError) or last.finish_reason is not None

        with self.changed:
            assert self.changed.wait_for(ended, timeout=60)
        return self.items[-1]


def test_it_streams_as_tokens_come_and_counts_them(engine: LlamaCpp) -> None:
    arrivals = []
    chunks = []
    for chunk in engine.stream(Request(PROMPT, max_tokens=16)):
        chunks.append(chunk)
        arrivals.append(time.monotonic())

    # Tokens that come within a few milliseconds of each other may share a chunk.
    assert len([chunk for chunk in chunks if chunk.text]) > 2
    assert arrivals[-1] > arrivals[0]
    assert chunks[-1].finish_reason == "length"
    assert usage(chunks[-1]).completion_tokens == 16
    assert usage(chunks[-1]).prompt_tokens == len(engine.tokenize(PROMPT))


def test_greedy_is_deterministic_and_equal_for_text_and_tokens(engine: LlamaCpp) -> None:
    text, _ = run(engine)
    assert text == run(engine)[0]
    assert text == run(engine, tuple(engine.tokenize(PROMPT)))[0]


def test_a_seed_reproduces_a_sample_and_other_seeds_differ(engine: LlamaCpp) -> None:
    samples = [run(engine, temperature=1.0, seed=seed)[0] for seed in (1, 1, 2, 3)]
    assert samples[0] == samples[1]
    assert len(set(samples)) > 1
    assert len({run(engine, temperature=1.2, seed=None)[0] for _ in range(3)}) > 1


def test_a_stop_string_ends_the_text_before_it(engine: LlamaCpp) -> None:
    whole, _ = run(engine, max_tokens=40)
    stop = whole[len(whole) // 2 :][:6]
    text, last = run(engine, max_tokens=40, stop=(stop, "never there"))
    assert text == whole[: whole.index(stop)]
    assert last.finish_reason == "stop"


def test_the_prompt_cache_is_kept_between_requests(engine: LlamaCpp) -> None:
    prompt = "# numbers\n" + "".join(f"value_{number} = {number}\n" for number in range(12))
    first = usage(run(engine, prompt, max_tokens=2)[1])
    again = usage(run(engine, prompt + "total = ", max_tokens=2)[1])
    assert first.cached_tokens < first.prompt_tokens
    assert again.cached_tokens >= first.prompt_tokens - 2


def test_the_next_request_finds_what_a_cancelled_one_computed(engine: LlamaCpp) -> None:
    prompt = "# names\n" + "".join(f"name_{number} = {number}\n" for number in range(20))
    stream = engine.stream(Request(prompt, max_tokens=400))
    next(stream)
    # The next key: the stream is closed and the same begins again at once.
    stream.close()  # type: ignore[attr-defined]
    again = usage(run(engine, prompt + "last = ", max_tokens=2)[1])
    assert again.cached_tokens >= len(engine.tokenize(prompt)) - 2


def test_many_texts_are_tokenized_as_each_alone(engine: LlamaCpp) -> None:
    texts = [PROMPT, "", " ", "\n", "  return é€\n", "<|im_end|>", "<s>", "-1", PROMPT]
    for special in (False, True):
        assert engine.tokenize_all(texts, special) == [engine.tokenize(text, special) for text in texts]
    assert engine.tokenize_all([""])[0] == []
    assert engine.tokenize_all([]) == []


def test_special_tokens_in_text_are_plain_unless_asked_for(engine: LlamaCpp) -> None:
    text = "<|im_end|>"
    assert len(engine.tokenize(text)) > 1
    assert engine.tokenize(text, parse_special=True) == [engine.find_token(text)]
    assert engine.find_token("<fim_prefix>") is None
    assert engine.find_token("def") is None
    plain = usage(run(engine, text + PROMPT, max_tokens=1, parse_special=False)[1])
    special = usage(run(engine, text + PROMPT, max_tokens=1, parse_special=True)[1])
    assert plain.prompt_tokens > special.prompt_tokens


def test_characters_arrive_whole(engine: LlamaCpp) -> None:
    prompt = "Repeat: 日本語 🙂 日本語 🙂 日本語 🙂 日本語 🙂"
    text = "".join(chunk.text for chunk in engine.stream(Request(prompt, max_tokens=24)))
    assert "\ufffd" not in text
    assert not text.isascii()


def test_cancelling_stops_the_child_within_one_token(engine: LlamaCpp) -> None:
    received = Collector()
    cancel = engine.start(Request(PROMPT, max_tokens=400), received)
    received.wait(5)
    cancel()
    before = "".join(item.text for item in received.items if isinstance(item, Chunk))
    cancel()
    last = received.wait_for_end()
    assert isinstance(last, Chunk)
    assert last.finish_reason == "cancelled"
    # What had arrived, what was about to be sent, the token under way, and one until the child reads the message.
    assert usage(last).completion_tokens <= len(engine.tokenize(before)) + 6
    after = "".join(item.text for item in received.items if isinstance(item, Chunk))
    assert len(engine.tokenize(after)) >= usage(last).completion_tokens - 1


def test_closing_the_iterator_frees_the_engine(engine: LlamaCpp) -> None:
    for _ in range(4):
        stream = engine.stream(Request(PROMPT, max_tokens=480))
        next(stream)
        stream.close()
    assert run(engine, max_tokens=4)[1].finish_reason == "length"


def test_a_prompt_can_be_cancelled_while_it_is_computed(engine: LlamaCpp) -> None:
    tokens = tuple(engine.tokenize("x = [" + ", ".join(str(number) for number in range(150))))[:480]
    received = Collector()
    cancel = engine.start(Request(tokens, max_tokens=30), received)
    time.sleep(0.05)
    cancel()
    last = received.wait_for_end()
    assert isinstance(last, Chunk)
    assert last.finish_reason == "cancelled"
    assert usage(last).completion_tokens == 0


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (Request(tuple([100] * 600)), "600 tokens and the context of this model holds 512"),
        (Request((100, 10_000_000)), "invalid tokens"),
        (Request(""), "prompt is empty"),
        (Request("x", max_tokens=-1), "not be negative"),
        (Request("x", adapter="other"), "no adapter other"),
    ],
)
def test_a_request_that_cannot_run_is_refused_in_one_line(engine: LlamaCpp, request_: Request, line: str) -> None:
    with pytest.raises(InvalidRequestError, match=line) as caught:
        list(engine.stream(request_))
    assert "\n" not in str(caught.value)
    assert run(engine, max_tokens=2)[1].finish_reason == "length"


def test_an_answer_is_json_of_its_schema_and_nothing_else(engine: LlamaCpp) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"bug": {"enum": ["yes", "no"]}}, "required": ["bug"]}
    schema["additionalProperties"] = False
    for seed in (1, 2):
        text, last = run(engine, json_schema=schema, temperature=2.0, seed=seed, max_tokens=32)
        assert json.loads(text) in ({"bug": "yes"}, {"bug": "no"})
        assert last.finish_reason == "stop"


def test_each_token_comes_with_its_probability(engine: LlamaCpp) -> None:
    chunks = list(engine.stream(Request(PROMPT, max_tokens=8, logprobs=3, temperature=1.0, seed=1)))
    entries = [entry for chunk in chunks for entry in chunk.logprobs]
    assert len(entries) == usage(chunks[-1]).completion_tokens
    assert "".join(entry.text for entry in entries) == "".join(chunk.text for chunk in chunks)
    for entry in entries:
        assert bytes(entry.bytes).decode() == entry.text
        assert [len(entry.top), entry.top[0].logprob] == [3, max(other.logprob for other in entry.top)]
        assert entry.logprob <= entry.top[0].logprob
    # Of the whole vocabulary, before the samplers: what a schema forbids keeps its probability.
    free, forced = (
        next(chunk.logprobs[0] for chunk in engine.stream(request) if chunk.logprobs)
        for request in (
            Request(PROMPT, max_tokens=1, logprobs=1),
            Request(PROMPT, max_tokens=1, logprobs=1, json_schema={"type": "object"}),
        )
    )
    assert forced.text.startswith("{")
    assert forced.top[0].token == free.token
    assert forced.top[0].logprob == pytest.approx(free.logprob, abs=0.05)
    assert not any(chunk.logprobs for chunk in engine.stream(Request(PROMPT, max_tokens=1)))


def test_a_prompt_can_be_computed_ahead_without_an_answer(engine: LlamaCpp) -> None:
    prompt = "# ahead\n" + "".join(f"name_{number} = {number}\n" for number in range(12))
    text, last = run(engine, prompt, max_tokens=0)
    assert (text, last.finish_reason) == ("", "length")
    again = usage(run(engine, prompt + "total = ", max_tokens=2)[1])
    assert again.cached_tokens >= usage(last).prompt_tokens - 2


def test_an_answer_can_end_by_indentation_or_with_a_line(engine: LlamaCpp) -> None:
    prompt = PROMPT + "    if n < 2:\n        return n\n    return fibonacci(n - 1) + "
    whole, _ = run(engine, prompt, max_tokens=60)
    assert any(line and not line.startswith("    ") for line in whole.split("\n")[1:])
    inside, _ = run(engine, prompt, max_tokens=60, min_indent=4)
    assert all(line.startswith("    ") for line in inside.rstrip().split("\n")[1:])
    assert whole.startswith(inside.rstrip())
    slow, last = run(engine, prompt, max_tokens=300, line_seconds=0.001)
    assert usage(last).completion_tokens < 300
    assert slow.count("\n") <= 1


def test_samplers_and_penalties_reach_llama_cpp(engine: LlamaCpp) -> None:
    greedy = run(engine, max_tokens=12)[0]
    assert run(engine, max_tokens=12, temperature=1.5, seed=1, samplers=("top_k",), top_k=1)[0] == greedy
    assert run(engine, max_tokens=12, frequency_penalty=2.0, presence_penalty=2.0)[0] != greedy
    assert {"top_k", "infill"} <= engine.samplers


def test_adapters_are_chosen_per_request_and_do_not_touch_the_base(engine: LlamaCpp, adapted: LlamaCpp) -> None:
    base = run(engine, max_tokens=12)[0]
    order = (None, "first", "second", "first", None)
    outputs = {
        name: {run(adapted, adapter=name, max_tokens=12)[0] for asked in order if asked == name} for name in order
    }

    assert outputs[None] == {base}
    assert [len(texts) for texts in outputs.values()] == [1, 1, 1]
    assert len(set().union(*outputs.values())) == 3


def test_no_cached_prompt_crosses_from_one_adapter_to_another(gguf: Path, adapters: dict[str, Path]) -> None:
    # The second adapter comes to use every sequence of the child before it is asked what the first one was asked:
    # llama.cpp's cache of earlier states, were it on, would give it the state that the first one computed.
    asked = "def area(width, height):\n" * 4
    others = ["class Stack:\n" * 6, "import json, sys\n" * 6, "SELECT name FROM people;\n" * 6]
    text = {}
    for history in ([], [(asked, "first"), *((other, "second") for other in others)]):
        engine = LlamaCpp(gguf, adapters, context_length=512)
        for prompt, name in history:
            run(engine, prompt, adapter=name, max_tokens=2)
        text[bool(history)], last = run(engine, asked, adapter="second", max_tokens=12)
        assert usage(last).cached_tokens == 0
        engine.close()
    assert text[True] == text[False]


@pytest.mark.parametrize(("slots", "together"), [(1, False), (3, True)])
def test_as_many_requests_as_there_are_slots_are_computed_together(gguf: Path, slots: int, together: bool) -> None:
    engine = LlamaCpp(gguf, context_length=512, slots=slots)
    events: list[tuple[int, str]] = []

    def receive(number: int, collector: Collector) -> Emit:
        def emit(item: Chunk | HoneError) -> None:
            events.append((number, "text" if isinstance(item, Chunk) and item.text else "end"))
            collector(item)

        return emit

    collectors = [Collector() for _ in range(3)]
    for number, collector in enumerate(collectors):
        engine.start(Request(f"# part {number}\n{PROMPT}", max_tokens=40), receive(number, collector))
    ends = [collector.wait_for_end() for collector in collectors]
    engine.close()
    assert [end.finish_reason for end in ends if isinstance(end, Chunk)] == ["length"] * 3
    begun_first = {number for number, what in events[: [what for _, what in events].index("end")] if what == "text"}
    assert (len(begun_first) == 3) is together


def test_requests_of_different_adapters_asked_together_run_one_after_the_other(adapted: LlamaCpp) -> None:
    names = [None, "first", "second", "first", None, "second"]
    alone = {name: run(adapted, adapter=name, max_tokens=12)[0] for name in names}
    received = [Collector() for _ in names]
    order: list[str | None] = []

    def emit_to(name: str | None, collector: Collector) -> Emit:
        def emit(item: Chunk | HoneError) -> None:
            order.append(name)
            collector(item)

        return emit

    for name, collector in zip(names, received, strict=True):
        adapted.start(Request(PROMPT, max_tokens=12, adapter=name), emit_to(name, collector))
    for name, collector in zip(names, received, strict=True):
        collector.wait_for_end()
        text = "".join(item.text for item in collector.items if isinstance(item, Chunk))
        assert text == alone[name]
    assert [name for name, _ in groupby(order)] == names


def test_two_requests_of_one_adapter_run_at_the_same_time(engine: LlamaCpp) -> None:
    first, second = Collector(), Collector()
    cancel = engine.start(Request(PROMPT, max_tokens=400), first)
    first.wait(2)
    engine.start(Request("import os\n", max_tokens=4), second)
    assert isinstance(second.wait_for_end(), Chunk)
    assert not isinstance(first.items[-1], HoneError)
    assert first.items[-1].finish_reason is None
    cancel()
    first.wait_for_end()


def test_a_waiting_request_can_be_cancelled(adapted: LlamaCpp) -> None:
    running, waiting = Collector(), Collector()
    cancel = adapted.start(Request(PROMPT, max_tokens=400, adapter="first"), running)
    running.wait(2)
    adapted.start(Request(PROMPT, max_tokens=400, adapter="second"), waiting)()
    last = waiting.wait_for_end()
    assert isinstance(last, Chunk)
    assert last.finish_reason == "cancelled"
    cancel()
    running.wait_for_end()


def test_a_killed_child_fails_its_request_and_the_next_one_works(engine: LlamaCpp) -> None:
    expected = run(engine)[0]
    stream = engine.stream(Request(PROMPT, max_tokens=400))
    next(stream)
    child = engine.process_id
    assert child is not None
    os.kill(child, signal.SIGKILL)
    with pytest.raises(EngineError, match="killed by signal 9") as caught:
        list(stream)
    assert "\n" not in str(caught.value)
    assert run(engine)[0] == expected
    assert engine.process_id not in (child, None)


def test_the_child_leaves_nothing_behind(gguf: Path) -> None:
    engine = LlamaCpp(gguf, context_length=256)
    assert engine.process_id is not None
    child = psutil.Process(engine.process_id)
    folder = Path(next(entry.laddr for entry in child.net_connections("unix") if entry.laddr)).parent
    assert folder.is_dir()
    tcp = [entry for entry in child.net_connections("inet") if entry.status == psutil.CONN_LISTEN]
    engine.close()
    assert tcp == []
    assert not child.is_running()
    assert not folder.exists()
    with pytest.raises(EngineError, match="closed"):
        engine.tokenize("x")


def test_a_damaged_file_is_refused_in_one_line(gguf: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(gguf.read_bytes()[:2_000_000])
    text = tmp_path / "text.gguf"
    text.write_text("hello")
    for file in (short, text, tmp_path / "missing.gguf"):
        with pytest.raises(HoneError) as caught:
            LlamaCpp(file)
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_adapter_of_another_architecture_is_refused_with_its_reason(gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot load"):
        LlamaCpp(gguf, {"wrong": _wrong_shape(tmp_path)})


def _wrong_shape(folder: Path) -> Path:
    import gguf
    import numpy as np

    file = folder / "wrong.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8)
    writer.add_tensor("blk.0.attn_v.weight.lora_a", np.ones((4, 100), np.float32))
    writer.add_tensor("blk.0.attn_v.weight.lora_b", np.ones((192, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
