"""Two real gateways behind a third, and one of them killed under load."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.assistant.fleet_fixtures import fronting, server
from tests.assistant.gateway_fakes import KEY, MODEL
from tests.assistant.run_scripted_gateway import LONG, TOKENS

ASKED = 80
AT_ONCE = 20


@contextmanager
def scripted(log: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    command = [sys.executable, "-m", "tests.assistant.run_scripted_gateway", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


@dataclass
class Outcome:
    prompt: str
    stream: bool
    status: int = 0
    server: str = ""
    text: str = ""
    ended: bool = False
    error: str | None = None

    @property
    def whole(self) -> bool:
        return self.status == 200 and self.ended and self.text == " ".join([self.prompt] * TOKENS)


async def ask(http: httpx.AsyncClient, outcome: Outcome, begun: asyncio.Event | None = None) -> Outcome:
    body = {"model": MODEL, "prompt": outcome.prompt, "max_tokens": 500, "stream": outcome.stream}
    async with http.stream("POST", "/v1/completions", json=body) as response:
        outcome.status = response.status_code
        outcome.server = response.headers.get("x-hone-server", "")
        if response.status_code != 200:
            outcome.error = json.loads(await response.aread())["error"]["code"]
            return outcome
        if not outcome.stream:
            outcome.text = json.loads(await response.aread())["choices"][0]["text"]
            outcome.ended = True
            return outcome
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                outcome.ended = True
            elif line:
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    outcome.error = event["error"]["code"]
                else:
                    outcome.text += event["choices"][0]["text"]
            if begun is not None:
                begun.set()
    return outcome


async def test_a_killed_server_costs_only_answers_that_had_begun_to_stream(
    tmp_path: Path, hone_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_KEY", KEY)
    logs = {name: tmp_path / name for name in ("one", "two")}
    with scripted(logs["one"]) as (first, doomed), scripted(logs["two"]) as (second, _):
        servers = [server(name, url, key_env="SCRIPTED_KEY") for name, url in (("one", first), ("two", second))]
        with fronting(*servers, default=MODEL) as http:
            limits = httpx.Limits(max_connections=100)
            async with httpx.AsyncClient(
                base_url=http.base_url, headers=http.headers, limits=limits, timeout=60
            ) as load:
                await under_load(load, doomed, logs)


async def under_load(load: httpx.AsyncClient, doomed: "subprocess.Popen[str]", logs: dict[str, Path]) -> None:
    # The one with the fewest requests is chosen, so two of these go to each server.
    long = [Outcome(f"{LONG}{number}", stream=True) for number in range(4)]
    streams = []
    for outcome in long:
        begun = asyncio.Event()
        streams.append(asyncio.create_task(ask(load, outcome, begun)))
        await begun.wait()
    turn = asyncio.Semaphore(AT_ONCE)
    answered: list[Outcome] = []
    enough = asyncio.Event()

    async def one(number: int) -> Outcome:
        async with turn:
            outcome = await ask(load, Outcome(f"ask{number}", stream=number % 2 == 0))
        answered.append(outcome)
        if len(answered) == ASKED // 4:
            enough.set()
        return outcome

    asking = asyncio.gather(*(one(number) for number in range(ASKED)))
    await enough.wait()
    doomed.kill()
    outcomes = list(await asking)
    cut = [outcome for outcome in outcomes if not outcome.whole]
    # Nothing that had not begun to stream is lost, and what broke off says so.
    assert [outcome for outcome in cut if not outcome.stream] == []
    assert [outcome for outcome in cut if outcome.status != 200 or outcome.error != "server_failed"] == []
    assert {outcome.server for outcome in cut} <= {"one"}
    assert {outcome.server for outcome in answered[-AT_ONCE:]} == {"two"}
    assert Counter(outcome.server for outcome in long) == {"one": 2, "two": 2}
    for outcome, stream in zip(long, streams, strict=True):
        if outcome.server == "one":
            await stream
            assert outcome.error == "server_failed"
        else:
            assert outcome.error is None
            stream.cancel()
    # Nothing that had begun to stream was asked again, and nothing more than once again.
    started = Counter(line for log in logs.values() for line in log.read_text().split())
    assert [outcome.prompt for outcome in [*cut, *long] if started[outcome.prompt] != 1] == []
    assert max(started.values()) <= 2
    assert set(started) == {outcome.prompt for outcome in [*outcomes, *long]}
