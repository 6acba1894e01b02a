"""How much the gateway takes on: the queue, the deadline, clients that leave or dawdle."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from assistant.engines.base import Request
from assistant.errors import EngineError
from assistant.gateway import body as request_body
from assistant.gateway.admission import Limits
from assistant.gateway.app import Gateway
from assistant.gateway.routes import Endpoints
from assistant.gateway.serving import Lease
from tests.assistant.gateway_fakes import KEY, Caller, FakeServing, ScriptedEngine, client, events, gateway, until

ENDLESS = "word " * 5000


def endless(request: Request) -> str:
    return ENDLESS if request.max_tokens > 1 else "word"


def ask(**fields: Any) -> bytes:
    return json.dumps({"prompt": "x", "max_tokens": 500, **fields}).encode()


async def test_more_requests_than_the_queue_holds_are_told_when_to_come_back() -> None:
    engine = ScriptedEngine(endless, held=1)
    app = gateway(engine, limits=Limits(queue=3))
    asked = [Caller(app, "/v1/completions", ask(n=1 + number)) for number in range(2)]
    running = [asyncio.create_task(caller.run()) for caller in asked]
    assert await until(lambda: engine.running == 3)
    async with client(app) as http:
        refused = await http.post("/v1/completions", json={"prompt": "x", "max_tokens": 1})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "too_many_requests"
        # What generates nothing is answered all the same.
        assert (await http.get("/health")).json()["requests"] == 3
        asked[0].leave()
        await running[0]
        assert (await http.post("/v1/completions", json={"prompt": "x", "max_tokens": 1})).status_code == 200
        asked[1].leave()
        await running[1]
        assert (await http.get("/health")).json()["requests"] == 0


async def test_more_answers_than_the_whole_queue_are_refused_at_once() -> None:
    async with client(gateway(ScriptedEngine(), limits=Limits(queue=2))) as http:
        refused = await http.post("/v1/completions", json={"prompt": "x", "n": 3})
    # No time to wait would ever help.
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "n")
    assert "retry-after" not in refused.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_ends_its_generation(stream: bool) -> None:
    engine = ScriptedEngine(endless, held=3)
    caller = Caller(gateway(engine), "/v1/completions", ask(stream=stream, n=2))
    running = asyncio.create_task(caller.run())
    assert await until(lambda: caller.status == 200 if stream else engine.tokens == 6)
    caller.leave()
    await asyncio.wait_for(running, 60)
    # Both answers: they end for no other reason than that they are cancelled.
    assert await until(lambda: engine.running == 0)
    assert (caller.status == 200) is stream


@pytest.mark.parametrize(("fields", "headers"), [({"deadline": 0.05}, {}), ({}, {"x-hone-deadline": "0.05"})])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_takes_too_long_ends_as_it_is(
    fields: dict[str, Any], headers: dict[str, str], stream: bool
) -> None:
    engine = ScriptedEngine(endless, held=3)
    async with client(gateway(engine)) as http:
        body = {"prompt": "x", "max_tokens": 500, "stream": stream, **fields}
        response = await http.post("/v1/completions", json=body, headers=headers)
    last = events(response)[-2] if stream else response.json()
    assert response.status_code == 200
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["hone"]["deadline_exceeded"] is True
    assert engine.running == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_got_nothing_in_its_time_is_told_so(stream: bool) -> None:
    engine = ScriptedEngine(endless, held=0)
    async with client(gateway(engine, limits=Limits(deadline=0.05))) as http:
        response = await http.post("/v1/completions", json={"prompt": "x", "max_tokens": 5, "stream": stream})
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "deadline_exceeded"


async def test_an_engine_that_hangs_does_not_hold_the_client_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    from assistant.gateway import routes

    class Hanging(ScriptedEngine):
        def start(self, request: Request, emit: Any) -> Any:
            return lambda: None

    monkeypatch.setattr(routes, "_GRACE_SECONDS", 0.05)
    app = gateway(Hanging(), limits=Limits(queue=1, deadline=0.05))
    async with client(app) as http:
        assert (await http.post("/v1/completions", json={"prompt": "x"})).status_code == 504
        assert (await http.get("/health")).json()["requests"] == 0


class Waiting(FakeServing):
    """A model that is never loaded."""

    waiting = 0

    async def models(self) -> list[dict[str, Any]]:
        await self._wait()
        return []

    @asynccontextmanager
    async def lease(self, model: str | None) -> AsyncIterator[Lease]:
        await self._wait()
        async with super().lease(model) as lease:
            yield lease

    async def _wait(self) -> None:
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1


def waiting_gateway(queue: int = 1) -> tuple[Waiting, Gateway]:
    serving = Waiting(ScriptedEngine())
    endpoints = Endpoints(serving, Limits(queue=queue))  # type: ignore[arg-type]
    return serving, Gateway(endpoints.routes(), endpoints.status, KEY)


CHAT = {"messages": [{"role": "user", "content": "x"}]}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "x"},
    "/v1/chat/completions": CHAT,
    "/infill": {"input_prefix": "x"},
    "/completion": {"prompt": "x"},
    "/v1/likelihoods": {"texts": ["x"], "answers": ["y"]},
    "/v1/tokenize": {"texts": ["x"]},
    "/apply-template": CHAT,
}


@pytest.mark.parametrize("path", ASKED)
async def test_a_client_that_leaves_while_the_model_loads_gives_its_place_back(path: str) -> None:
    serving, app = waiting_gateway()
    caller = Caller(app, path, json.dumps(ASKED[path]).encode())
    running = asyncio.create_task(caller.run())
    assert await until(lambda: serving.waiting == 1)
    caller.leave()
    await asyncio.wait_for(running, 60)
    assert (caller.status, serving.waiting) == (None, 0)
    async with client(app) as http:
        assert (await http.get("/health")).json()["requests"] == 0


@pytest.mark.parametrize("path", ["/v1/models", "/v1/tokenize", "/apply-template"])
async def test_what_generates_nothing_has_a_deadline_too(path: str) -> None:
    serving, app = waiting_gateway()
    async with client(app) as http:
        head = {"x-hone-deadline": "0.05"}
        asking = http.get(path, headers=head) if path == "/v1/models" else None
        response = await (asking or http.post(path, json=ASKED[path], headers=head))
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert serving.waiting == 0


async def test_a_question_ends_when_its_client_leaves_and_when_its_time_is_over() -> None:
    engine = ScriptedEngine(held=0)
    app = gateway(engine, limits=Limits(queue=1))
    question = {"texts": ["x"], "answers": [" ok then"]}
    caller = Caller(app, "/v1/likelihoods", json.dumps(question).encode())
    running = asyncio.create_task(caller.run())
    assert await until(lambda: engine.running == 1)
    async with client(app) as http:
        assert (await http.post("/v1/likelihoods", json=question)).status_code == 429
        caller.leave()
        await asyncio.wait_for(running, 60)
        assert (caller.status, engine.running) == (None, 0)
        late = await http.post("/v1/likelihoods", json={**question, "deadline": 0.05})
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert engine.running == 0
        assert (await http.get("/health")).json()["requests"] == 0
        engine.held = None
        assert (await http.post("/v1/likelihoods", json=question)).json()["logprobs"] == [[-0.5] * 2]


@pytest.mark.parametrize("deadline", [0, -1, "soon", 1e9, True])
async def test_a_deadline_that_is_none_is_refused(deadline: Any) -> None:
    async with client(gateway(ScriptedEngine())) as http:
        response = await http.post("/v1/completions", json={"prompt": "x", "deadline": deadline})
        assert response.status_code == 400
        head = {"x-hone-deadline": str(deadline)}
        assert (await http.post("/v1/completions", json={"prompt": "x"}, headers=head)).status_code == 400


async def test_a_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "BODY_SECONDS", 0.05)
    for headers in ({}, {"content-length": "9000000"}):
        caller = Caller(gateway(ScriptedEngine()), "/v1/completions", b"", headers)
        caller.say(b'{"prompt": ', more=True)
        await asyncio.wait_for(caller.run(), 60)
        assert caller.status == 408


@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_that_fails_is_the_servers_fault(stream: bool) -> None:
    engine = ScriptedEngine(failure=EngineError("the model's process was killed by signal 9"))
    async with client(gateway(engine)) as http:
        response = await http.post("/v1/completions", json={"prompt": "x", "stream": stream})
        told = events(response)[-1] if response.status_code == 200 else response.json()
        assert told["error"]["code"] == "engine_failed"
        assert (await http.get("/health")).json()["requests"] == 0
