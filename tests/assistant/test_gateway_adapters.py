"""Several adapters under load, on a tiny random model in a real gateway: each answer is of one version, and exact."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from assistant.errors import UnknownModel
from assistant.gateway.serving import Serving
from assistant.models.registry import AdapterVersion, Registry
from tests.assistant.gateway_processes import Served, serve
from tests.tuning import tiny_gguf

PROMPTS = [f"def part_{number}(width, height):\n    return " for number in range(4)]
IN_FLIGHT = 200
WORKERS = 240
ASKED = WORKERS + WORKERS // 2 + WORKERS // 4


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("load") / "home"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def base(home: Path) -> str:
    return str(tiny_gguf.write_base(home / "tiny.gguf", "F16"))


@pytest.fixture(scope="module")
def versions(base: str) -> list[AdapterVersion]:
    return [tiny_gguf.register("tuned", base, seed=seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def served(home: Path, base: str, versions: list[AdapterVersion]) -> Iterator[Served]:
    Registry().promote(versions[0].id)
    Registry().promote(versions[1].id, alias="second")
    with serve(home, "--port", "0", "--model", base, "--slots", "4") as running:
        yield running


def http(served: Served) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=served.url,
        headers={"Authorization": f"Bearer {served.key}"},
        limits=httpx.Limits(max_connections=WORKERS + 10),
        timeout=300,
    )


async def ask(client: httpx.AsyncClient, model: str, prompt: str) -> tuple[str, str]:
    """The version that answered, and the text."""
    body = {"model": model, "prompt": prompt, "max_tokens": 8, "temperature": 0}
    response = await client.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer["model"], answer["choices"][0]["text"]


async def alone(client: httpx.AsyncClient, models: list[str]) -> dict[tuple[str, str], str]:
    return {(model, prompt): (await ask(client, model, prompt))[1] for model in models for prompt in PROMPTS}


async def test_a_default_that_is_gone_is_not_answered_by_the_base(home: Path, base: str) -> None:
    version = tiny_gguf.register("gone", base, seed=9)
    serving, plain = Serving("gone"), Serving(base)
    try:
        for each in (serving, plain):
            await each.load()
            assert each.error is None
        async with serving.lease(None) as lease:
            assert lease.served.adapter == version
        Registry().remove(version.id)
        with pytest.raises(UnknownModel, match="default"):
            async with serving.lease(None):
                pass
        assert (await serving.models())[0]["name"] == version.id
        for each in (serving, plain):
            async with each.lease(base if each is serving else None) as lease:
                assert lease.served.adapter is None
    finally:
        await serving.close()
        await plain.close()


async def test_mixed_adapters_at_once_answer_as_each_alone(
    served: Served, base: str, versions: list[AdapterVersion]
) -> None:
    models = [base, versions[0].id, versions[1].id]
    async with http(served) as client:
        expected = await alone(client, models)
        assert len({expected[model, PROMPTS[0]] for model in models}) == 3
        asked = [(model, prompt) for prompt in PROMPTS for model in models] * 2
        turn = asyncio.Semaphore(4)

        async def one(model: str, prompt: str) -> tuple[str, str]:
            async with turn:
                return await ask(client, model, prompt)

        answers = await asyncio.gather(*(one(model, prompt) for model, prompt in asked))
    for (model, prompt), answer in zip(asked, answers, strict=True):
        assert answer == (model, expected[model, prompt])


async def test_no_request_fails_or_is_mixed_while_another_version_is_promoted_and_rolled_back(
    served: Served, versions: list[AdapterVersion]
) -> None:
    first, _, last = (version.id for version in versions)
    answered: list[tuple[str, str, str]] = []
    in_flight = at_promotion = at_rollback = 0

    async with http(served) as client:

        async def worker(number: int) -> None:
            nonlocal in_flight, at_promotion, at_rollback
            # Some ask again: after the promotion, or the rollback, as a rule.
            for turn in range(1 + number % 2 + number % 4 // 3):
                prompt = PROMPTS[(number + turn) % len(PROMPTS)]
                in_flight += 1
                answered.append((prompt, *await ask(client, "champion", prompt)))
                in_flight -= 1
                if len(answered) == 20:
                    # Nothing else of this process runs meanwhile, so what is open now stays open on this side.
                    at_promotion = in_flight
                    Registry().promote(last)
                if len(answered) == ASKED - 60:
                    at_rollback = in_flight
                    Registry().rollback()

        await asyncio.gather(*(worker(number) for number in range(WORKERS)))
        assert at_promotion >= IN_FLIGHT
        assert at_rollback > 10
        assert (await ask(client, "champion", PROMPTS[0]))[0] == first
        expected = await alone(client, [first, last])
    assert len(answered) == ASKED
    assert {version for _, version, _ in answered} == {first, last}
    assert [entry for entry in answered if entry[2] != expected[entry[1], entry[0]]] == []
