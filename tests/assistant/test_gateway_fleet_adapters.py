"""Adapters by name: resolved here, loaded by servers that behave as vLLM does, through its own endpoint."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from assistant.models.registry import Registry
from tests.assistant.fleet_fixtures import fronting, register, server
from tests.assistant.gateway_fakes import listening
from tests.assistant.vllm_stub import BASE, VllmStub

pytestmark = pytest.mark.usefixtures("hone_home")


@contextmanager
def running(stub: VllmStub, **settings: Any) -> Iterator[httpx.Client]:
    given = {"load_adapters": True, **settings}
    with listening(stub) as url, fronting(server("a", url, **given)) as http:  # type: ignore[arg-type]
        yield http


def complete(http: httpx.Client, model: str) -> httpx.Response:
    return http.post("/v1/completions", json={"model": model, "prompt": "x", "max_tokens": 9})


def test_a_promoted_adapter_is_loaded_under_its_immutable_name() -> None:
    first, second = register("mine"), register("mine", rank=16)
    Registry().promote(first.id)
    stub = VllmStub()
    with running(stub) as http:
        assert complete(http, "champion").json()["model"] == first.id
        assert stub.loaded == {first.id: str(first.folder)}
        Registry().promote(second.id)
        assert complete(http, "champion").json()["model"] == second.id
        assert complete(http, first.id).json()["model"] == first.id
        Registry().rollback()
        answer = complete(http, "champion")
        assert (answer.json()["model"], answer.headers["x-hone-model"]) == (first.id, first.id)
        listed = {entry["id"]: entry for entry in http.get("/v1/models").json()["data"]}
    assert set(listed) == {BASE, first.id, second.id, "mine", "champion"}
    assert (listed["champion"]["adapter"], listed["champion"]["base"]) == (first.id, BASE)
    assert listed[BASE]["adapter"] is None


def test_the_version_before_answers_while_a_promoted_one_cannot_be_loaded(capfd: pytest.CaptureFixture[str]) -> None:
    good, bad, last = register("mine"), register("mine", rank=64), register("mine", rank=16)
    Registry().promote(good.id)
    stub = VllmStub()
    with running(stub) as http:
        assert complete(http, "champion").json()["model"] == good.id
        Registry().promote(bad.id)
        answer = complete(http, "champion")
        assert (answer.status_code, answer.headers["x-hone-model"]) == (200, good.id)
        # Whoever names the version itself is not given another one.
        assert complete(http, bad.id).status_code == 503
        (told,) = http.get("/health").json()["stand_ins"]
        assert (told["name"], told["wanted"], told["served"]) == ("champion", bad.id, good.id)
        assert "max_lora_rank 16" in told["reason"]
        listed = {entry["id"]: entry for entry in http.get("/v1/models").json()["data"]}
        assert listed["champion"]["adapter"] == good.id
        Registry().promote(last.id)
        assert complete(http, "champion").json()["model"] == last.id
        assert http.get("/health").json()["stand_ins"] == []
    log = capfd.readouterr().err
    assert log.count(f"champion is answered by {good.id}, since no server has {bad.id}") == 1
    assert f"champion is {last.id} again" in log


def test_where_no_server_may_load_a_promoted_version_the_one_before_answers() -> None:
    good, new = register("mine"), register("mine", rank=16)
    Registry().promote(good.id)
    Registry().promote(new.id)
    stub = VllmStub(loaded={good.id: str(good.folder)})
    with running(stub, load_adapters=False) as http:
        assert complete(http, "champion").json()["model"] == good.id
        assert http.get("/health").json()["stand_ins"][0]["wanted"] == new.id


def test_servers_are_looked_at_while_one_loads_an_adapter() -> None:
    stub, other = VllmStub(slow_load=True), VllmStub()
    version = register("mine")
    Registry().promote(version.id)

    def up() -> list[str]:
        return [each["name"] for each in http.get("/health").json()["servers"] if each["up"]]

    def wait_for(names: list[str], loads: int) -> bool:
        until = time.monotonic() + 20
        while (up() != names or stub.loads < loads) and time.monotonic() < until:
            time.sleep(0.02)
        return time.monotonic() < until

    with (
        listening(stub) as first,  # type: ignore[arg-type]
        listening(other) as second,  # type: ignore[arg-type]
        fronting(server("a", first, load_adapters=True), server("b", second)) as http,
    ):
        try:
            assert wait_for(["a", "b"], loads=1)
            other.health = 500
            assert wait_for(["a"], loads=1)
            assert (stub.loads, stub.loaded) == (1, {})
        finally:
            stub.slow_load = False


def test_a_promotion_is_loaded_before_anyone_asks() -> None:
    stub = VllmStub()
    with running(stub) as http:
        version = register("mine")
        Registry().promote(version.id)
        http.get("/health")
        while version.id not in stub.loaded:
            time.sleep(0.01)


def test_a_server_that_was_started_again_gets_its_adapters_again() -> None:
    version = register("mine")
    stub = VllmStub()
    with running(stub) as http:
        assert complete(http, version.id).status_code == 200
        stub.loaded.clear()
        assert complete(http, version.id).json()["model"] == version.id
    assert stub.loads == 2


@pytest.mark.parametrize(
    ("configuration", "stub", "told"),
    [
        ({"rank": 64}, VllmStub(), "LoRA rank 64 is greater than max_lora_rank 16"),
        ({}, VllmStub(updating=False), "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"),
        ({"use_dora": True}, VllmStub(), "vLLM serves no DoRA"),
        ({"rank": 1024}, VllmStub(), "vLLM serves ranks up to 512"),
    ],
)
def test_what_cannot_be_loaded_says_why_and_is_not_tried_at_each_request(
    configuration: dict[str, Any], stub: VllmStub, told: str
) -> None:
    version = register("mine", **configuration)
    with running(stub) as http:
        for _ in range(3):
            refused = complete(http, "mine")
            assert refused.status_code == 503
            assert version.id in refused.json()["error"]["message"]
            assert told in refused.json()["error"]["message"]
        assert complete(http, BASE).status_code == 200
    assert stub.loads <= 1


def test_changed_files_are_not_loaded() -> None:
    version = register("mine")
    (version.folder / "adapter_model.safetensors").write_bytes(b"other")
    stub = VllmStub()
    with running(stub) as http:
        assert "were changed" in complete(http, "mine").json()["error"]["message"]
    assert stub.loads == 0


def test_a_server_is_only_told_to_load_when_that_is_allowed_and_its_base_is_the_right_one() -> None:
    version, foreign = register("mine"), register("other", base="another-base")
    stub = VllmStub()
    with running(stub, load_adapters=False) as http:
        refused = complete(http, version.id)
        assert (refused.status_code, "load_adapters" in refused.text) == (404, True)
    with running(stub) as http:
        refused = complete(http, foreign.id)
        assert (refused.status_code, "another-base" in refused.text) == (404, True)
    assert stub.loads == 0


def test_the_path_is_the_one_that_the_server_sees(tmp_path: Path) -> None:
    version = register("mine")
    mounted = tmp_path / "mounted"
    mounted.symlink_to(version.folder.parent)
    stub = VllmStub()
    with running(stub, adapters_folder=str(mounted)) as http:
        assert complete(http, version.id).status_code == 200
    assert stub.loaded == {version.id: str(mounted / version.folder.name)}
