"""What a model without fill-in-the-middle tokens writes at a cursor is ended as `hone complete` ends it."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from assistant.errors import EngineError
from assistant.gateway import trimmed
from tests.assistant.gateway_fakes import FIM, Caller, ScriptedEngine, client, events, gateway, until

PREFIX = "def area(width, height):\n    return "
SUFFIX = "\n\n\ndef volume(width, height, depth):\n    pass\n"
SUM = " " + " + ".join(f"name{number}" for number in range(400))
LONG = " width * height\n\n\ndef volume(width, height, depth):\n    return width\n" + "word " * 400


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(lambda request: LONG)


async def text_of(engine: ScriptedEngine, prefix: str, suffix: str, tabby: bool = False, **fields: Any) -> str:
    async with client(gateway(engine)) as http:
        if tabby:
            body: dict[str, Any] = {"language": "python", "segments": {"prefix": prefix, "suffix": suffix}}
            return str((await http.post("/v1/completions", json=body)).json()["choices"][0]["text"])
        body = {"input_prefix": prefix, "prompt": "", "input_suffix": suffix, **fields}
        return str((await http.post("/infill", json=body)).json()["content"])


@pytest.mark.parametrize("tabby", [False, True])
@pytest.mark.parametrize(
    ("prefix", "suffix", "written", "kept"),
    [
        (PREFIX, SUFFIX, LONG, "width * height"),
        ("print(area(", "))\n", "2, 3))\nprint(4)\n", "2, 3"),
        ("def f(x):\n", "\n\nf(1)\n", "    y = x\n    return y\n\n\ndef g():\n", "    y = x\n    return y"),
        ("def f(x):\n    ", "\n    return y\n", " y = x\n    return y\n", "y = x"),
        ("x = [\n    ", "\n]\n", " 1,\n    1,\n    1,\n    1,\n    1,\n", "1,\n    1,"),
        ("value = 1\n", "", "   \n  ", ""),
        ("if x:\r\n    if y:\r\n        ", "\r\nz\r\n", " a()\n        b()\nc()\n", "a()\r\n        b()"),
    ],
    ids=("line", "bracket", "blank line", "what follows", "repetition", "blank", "line ends"),
)
async def test_editors_get_what_fits_at_the_cursor(prefix: str, suffix: str, written: str, kept: str, tabby: bool):
    assert await text_of(ScriptedEngine(lambda request: written), prefix, suffix, tabby) == kept


async def test_the_engine_is_stopped_as_soon_as_the_end_is_known(engine: ScriptedEngine) -> None:
    engine.delay = 0.002
    async with client(gateway(engine)) as http:
        answer = (await http.post("/infill", json={"input_prefix": PREFIX, "input_suffix": SUFFIX})).json()
    assert answer["content"] == "width * height"
    assert answer["stop_type"] == "eos"
    assert answer["tokens_predicted"] == engine.tokens < 40
    assert await until(lambda: engine.running == 0)


@pytest.mark.parametrize(("before", "after"), [("(", ""), ("(", ")"), ("(", "]"), ("[", "\n]"), ('"', "")])
def test_a_huge_line_does_not_hold_up_the_other_requests(before: str, after: str) -> None:
    began = time.process_time()
    ending = trimmed.ending_of(before * 2_000_000, after * 1_000_000, None)
    ending.add(" x\n", final=True)
    assert time.process_time() - began < 0.7


async def test_a_streamed_answer_comes_in_one_piece_that_nothing_takes_back(engine: ScriptedEngine) -> None:
    async with client(gateway(engine)) as http:
        body = {"input_prefix": PREFIX, "input_suffix": SUFFIX, "stream": True}
        received = events(await http.post("/infill", json=body))
    assert [event["content"] for event in received] == ["width * height", ""]
    assert received[-1]["stop"] is True


async def test_an_answer_at_its_token_limit_says_so(engine: ScriptedEngine) -> None:
    async with client(gateway(engine)) as http:
        body = {"input_prefix": PREFIX, "input_suffix": SUFFIX, "n_predict": 2}
        answer = (await http.post("/infill", json=body)).json()
    assert (answer["content"], answer["stop_type"]) == ("width *", "limit")


async def test_the_deadline_gives_what_there_is(engine: ScriptedEngine) -> None:
    engine.answer = lambda request: SUM
    engine.held = 3
    async with client(gateway(engine)) as http:
        body = {"input_prefix": PREFIX, "input_suffix": SUFFIX, "deadline": 0.05}
        answer = (await http.post("/infill", json=body)).json()
    assert answer["content"] == "name0 + name1"
    assert answer["stop_type"] == "limit"


async def test_a_client_that_leaves_frees_the_engine(engine: ScriptedEngine) -> None:
    engine.answer = lambda request: SUM
    engine.held = 1
    caller = Caller(gateway(engine), "/infill", b'{"input_prefix": "x = "}')

    running = asyncio.create_task(caller.run())
    assert await until(lambda: engine.running == 1)
    caller.leave()
    await asyncio.wait_for(running, 60)
    assert await until(lambda: engine.running == 0)


async def test_a_failure_of_the_engine_is_told(engine: ScriptedEngine) -> None:
    engine.answer = lambda request: " 1"
    engine.failure = EngineError("the model's process was killed")
    async with client(gateway(engine)) as http:
        response = await http.post("/infill", json={"input_prefix": "x ="})
    assert response.status_code >= 500
    assert "was killed" in response.json()["error"]["message"]


async def test_what_the_model_ends_itself_stays_whole(engine: ScriptedEngine) -> None:
    """Models with fill-in-the-middle tokens, and prompts that are no cursor in a file."""

    async def asked(http: httpx.AsyncClient, path: str, **body: Any) -> Any:
        return (await http.post(path, json=body)).json()

    async with client(gateway(engine, FIM)) as http:
        assert (await asked(http, "/infill", input_prefix=PREFIX, input_suffix=SUFFIX))["content"] == LONG
    async with client(gateway(engine)) as http:
        assert (await asked(http, "/completion", prompt=PREFIX))["content"] == LONG
        whole = await asked(http, "/v1/completions", prompt=PREFIX, suffix=SUFFIX, max_tokens=500)
        assert whole["choices"][0]["text"] == LONG
