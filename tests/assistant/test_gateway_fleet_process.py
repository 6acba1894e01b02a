"""`hone serve --fleet` as a user runs it, and Hone's own client on it."""

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from assistant.answer_counts import AnswerCounts
from assistant.client import connect
from assistant.config import load_settings
from tests.assistant.gateway_fakes import listening
from tests.assistant.gateway_processes import serve
from tests.assistant.vllm_stub import BASE, VllmStub
from tests.tui.test_models_command import refused


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "hone"
    folder.mkdir()
    return folder


def test_serves_what_other_servers_do(hone_home: Path, user_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_KEY", "secret-of-gpu")
    stub = VllmStub(key="secret-of-gpu")
    with listening(stub) as url:  # type: ignore[arg-type]
        (user_folder / "config.toml").write_text(f'[fleet.servers.gpu]\nurl = "{url}"\nkey_env = "GPU_KEY"\n')
        with serve(hone_home, "--fleet", "--port", "0", "--model", BASE) as served:
            with served.http() as http:
                answer = http.post("/v1/completions", json={"prompt": "x", "max_tokens": 9})
                assert answer.json()["choices"][0]["text"] == f"{BASE} says: x"
                assert httpx.get(f"{served.url}/health").json() == {"status": "ok"}
            # Hone's own commands find it, as they find any running gateway.
            with connect(load_settings(model=BASE), BASE) as client:
                said = list(client.chat([{"role": "user", "content": "hello"}]))
                assert "".join(delta.text for delta in said) == f"{BASE} says: hello"
                assert client.tokenize(["ab"]) == [[97, 98]]
            served.process.send_signal(signal.SIGINT)
            assert served.process.wait(30) == 0
    today = datetime.now(UTC).date()
    assert AnswerCounts().read(BASE, today - timedelta(days=1), today).answers >= 1
    assert not any("secret" in str(path.read_bytes()) for path in hone_home.rglob("*") if path.is_file())


def test_says_what_is_wrong_before_it_serves(hone_home: Path, user_folder: Path) -> None:
    assert "no servers are configured" in refused("serve", "--fleet", status=1)
