"""Gateways as processes: `hone serve`, private ones, and the client that finds or starts them."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from assistant.client import Client, connect
from assistant.config import load_settings
from assistant.errors import EngineError, HoneError, UnknownModel
from assistant.gateway.process import find_running
from tests.assistant.gateway_processes import serve

pytestmark = pytest.mark.model

MODEL = "smollm2-135m"
PROMPT = "def fibonacci(n):\n"
HELLO = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module")
def private(session_home: Path) -> Iterator[Client]:
    """A client of a private gateway; HONE_HOME is only needed while it starts."""
    before = os.environ.get("HONE_HOME")
    os.environ["HONE_HOME"] = str(session_home)
    try:
        with connect(load_settings(), MODEL) as client:
            yield client
    finally:
        if before is None:
            del os.environ["HONE_HOME"]
        else:
            os.environ["HONE_HOME"] = before


def text_of(stream) -> str:
    return "".join(delta.text for delta in stream)


def wait_until(happened, seconds: float = 60) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if happened():
            return True
        time.sleep(0.02)
    return False


def hone(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.assistant.run_hone", *arguments],
        env={**os.environ, "HONE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_client_chats_completes_and_counts(private: Client) -> None:
    deltas = list(private.chat(HELLO, max_tokens=8, temperature=0))
    assert text_of(deltas)
    assert deltas[-1].finish_reason in ("stop", "length")
    details = deltas[-1].details
    assert details is not None
    assert (details["model"], details["adapter"]) == (MODEL, None)
    tokens = private.tokenize([PROMPT, "x"])
    assert text_of(private.complete(PROMPT, max_tokens=6)) == text_of(private.complete(tokens[0], max_tokens=6))
    assert private.health()["status"] == "ok"
    assert private.models()[0]["id"] == MODEL


def test_special_tokens_in_code_stay_text(private: Client) -> None:
    code = 'END = "<|im_end|>"\n'
    *_, last = private.complete(code, max_tokens=1)
    assert last.details is not None
    assert last.details["prompt_tokens"] == len(private.tokenize([code])[0])


def test_a_stop_string_and_a_seed_are_passed_on(private: Client) -> None:
    whole = text_of(private.complete(PROMPT, max_tokens=24))
    assert text_of(private.complete(PROMPT, max_tokens=24, stop=["return"])) == whole[: whole.index("return")]
    first, second = (text_of(private.complete(PROMPT, max_tokens=8, temperature=1, seed=5)) for _ in range(2))
    assert first == second


def test_closing_an_answer_cancels_it(private: Client) -> None:
    stream = private.chat(HELLO, max_tokens=2000, temperature=1.5)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert wait_until(lambda: private.health()["requests"] == 0)


def test_refusals_reach_the_caller_as_one_line(private: Client) -> None:
    with pytest.raises(UnknownModel, match="did you mean"):
        list(private.chat(HELLO, model="smollm-135m"))
    with pytest.raises(HoneError, match="context of this model holds"):
        list(private.complete([100] * 5000))
    with pytest.raises(HoneError, match="surrogates"):
        list(private.complete("\ud800"))


def test_two_clients_of_one_gateway_are_served_at_once(private: Client) -> None:
    alone = text_of(private.complete(PROMPT, max_tokens=6))
    texts: list[str] = []

    def ask() -> None:
        texts.append(text_of(private.complete(PROMPT, max_tokens=6)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert texts == [alone] * 4


def test_a_dead_engine_fails_its_answer_and_the_next_one_works(private: Client) -> None:
    expected = text_of(private.complete(PROMPT, max_tokens=6))
    stream = private.complete(PROMPT, max_tokens=500)
    next(stream)
    _engine_of(psutil.Process()).kill()
    with pytest.raises(EngineError, match="killed by signal 9"):
        list(stream)
    assert text_of(private.complete(PROMPT, max_tokens=6)) == expected


def _engine_of(process: psutil.Process) -> psutil.Process:
    children = process.children(recursive=True)
    return next(child for child in children if "assistant.engines.llamacpp_child" in child.cmdline())


def test_a_private_gateway_ends_with_its_block_and_leaves_nothing(embedded_home: Path) -> None:
    others = psutil.Process().children(recursive=True)
    with connect(model=MODEL, wait=False) as client:
        # The gateway is there before the model is.
        assert client.health()["status"] in ("loading", "ok")
        client.models()
        started = [child for child in psutil.Process().children(recursive=True) if child not in others]
        sockets = [entry.laddr for child in started for entry in child.net_connections("unix") if entry.laddr]
        tcp = [entry for child in started for entry in child.net_connections("inet")]
    assert tcp == []
    assert sockets
    assert all(not child.is_running() for child in started)
    assert not [name for name in sockets if Path(name).parent.exists()]
    assert find_running() is None


_OWNER = """
import sys, time
from assistant.client import connect
with connect(model="smollm2-135m") as client:
    stream = client.chat([{"role": "user", "content": "Count."}], max_tokens=2000, temperature=1.5)
    next(stream)
    print("answering", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_private_gateway_ends_with_its_owner_however_that_ends(embedded_home: Path, end: signal.Signals) -> None:
    command = [sys.executable, "-c", _OWNER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "answering\n"
        started = psutil.Process(owner.pid).children(recursive=True)
        owner.send_signal(end)
    assert len(started) >= 2
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []


def test_a_model_that_does_not_exist_is_one_clear_line(embedded_home: Path) -> None:
    with pytest.raises(HoneError, match="did you mean smollm2-135m") as caught, connect(model="smollm2-153m"):
        pass
    assert "\n" not in str(caught.value)
    with connect(model="smollm2-153m", wait=False) as client:
        assert wait_until(lambda: client.health()["status"] == "failed")
        assert "did you mean" in client.health()["error"]


def test_a_running_gateway_is_found_used_and_left_running(embedded_home: Path) -> None:
    others = psutil.Process().children()
    with serve(embedded_home, "--port", "0") as served:
        running = find_running()
        assert running is not None
        assert running.pid == served.process.pid
        with connect(model=MODEL) as client:
            assert text_of(client.complete(PROMPT, max_tokens=4))
            assert client.health()["requests"] == 0
            mine = [child.pid for child in psutil.Process().children() if child not in others]
            assert mine == [served.process.pid]
        # Another base than the one it serves gets a gateway of its own.
        with pytest.raises(UnknownModel), connect(model="no-such-model"):
            pass
        second = hone(embedded_home, "serve", "--port", "0")
        assert second.returncode != 0
        assert "runs already" in second.stderr
        assert second.stderr.count("\n") == 1
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(60) == 0
    assert find_running() is None
    assert not (embedded_home / "run" / "gateway.json").exists()


def test_what_a_killed_gateway_leaves_does_not_matter(embedded_home: Path) -> None:
    uds = embedded_home / "run.sock"
    with serve(embedded_home, "--uds", str(uds)) as served:
        engine_started = wait_until(lambda: len(psutil.Process(served.process.pid).children()) > 0)
        children = psutil.Process(served.process.pid).children()
        served.process.kill()
        served.process.wait()
        assert engine_started
        assert psutil.wait_procs(children, timeout=60)[1] == []
    assert (embedded_home / "run" / "gateway.json").exists()
    assert uds.exists()
    assert find_running() is None
    with serve(embedded_home, "--uds", str(uds)) as served:
        assert uds.stat().st_mode & 0o777 == 0o600
        with served.http() as http:
            assert http.get("/v1/models").json()["data"][0]["id"] == MODEL
        with connect(model=MODEL) as client:
            assert text_of(client.complete(PROMPT, max_tokens=2))
    assert not uds.exists()


def test_a_recycled_process_id_is_not_taken_for_the_gateway(hone_home: Path) -> None:
    record = {
        "pid": os.getpid(),
        "started": 1.0,
        "url": "http://127.0.0.1:9",
        "uds": None,
        "key_file": "",
        "model": "m",
    }
    (hone_home / "run").mkdir()
    (hone_home / "run" / "gateway.json").write_text(json.dumps({"schema_version": 1, "gateway": record}))
    assert find_running() is None


def test_an_address_in_use_is_one_clear_line(hone_home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = hone(hone_home, "serve", "--port", str(taken.getsockname()[1]))
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "--port" in done.stderr
    assert hone(hone_home, "serve", "--uds", "/x", "--port", "1").returncode == 2


def test_what_stands_at_the_path_of_the_socket_is_left_alone(hone_home: Path, tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        done = hone(hone_home, "serve", "--uds", str(path))
        assert done.returncode != 0
        return done.stderr

    file = tmp_path / "notes.txt"
    file.write_text("mine")
    assert "--uds" in refused(file)
    assert file.read_text() == "mine"
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        path = tmp_path / f"{kind.name}.sock"
        with socket.socket(socket.AF_UNIX, kind) as other:
            other.bind(str(path))
            if kind == socket.SOCK_STREAM:
                other.listen(0)
            # The second time the first look still fills the queue of connections.
            for _ in range(2):
                assert "another process does" in refused(path)
                assert path.is_socket()


def test_a_gateway_that_cannot_load_its_model_says_so_and_ends(hone_home: Path) -> None:
    done = hone(hone_home, "serve", "--port", "0", "--model", "smollm2-153m")
    assert done.returncode != 0
    assert "did you mean smollm2-135m" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert find_running() is None


def test_waiting_requests_get_the_loading_error(embedded_home: Path) -> None:
    with connect(model="smollm2-153m", wait=False) as client:
        with pytest.raises(UnknownModel, match="did you mean"):
            list(client.complete("x", max_tokens=1))
        assert client.health()["status"] == "failed"
