"""A gateway in front of servers that behave as vLLM does: routes, weights, failures, keys."""

import json
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from assistant.feedback import Feedback
from assistant.feedback_consent import Consent, write
from assistant.gateway import fleet_server
from assistant.prompts import FIM_FAMILIES
from tests.assistant.fleet_fixtures import fronting, server
from tests.assistant.gateway_fakes import KEY, MODEL, ScriptedEngine, events, gateway, listening
from tests.assistant.vllm_stub import BASE, VllmStub

pytestmark = pytest.mark.usefixtures("hone_home")


@contextmanager
def running(*stubs: VllmStub, **settings: Any) -> Iterator[httpx.Client]:
    """Servers called a, b, ... with a gateway in front of them."""
    with ExitStack() as stack:
        urls = [stack.enter_context(listening(stub)) for stub in stubs]  # type: ignore[arg-type]
        servers = [server("abcd"[number], url) for number, url in enumerate(urls)]
        yield stack.enter_context(fronting(*servers, **settings))


def complete(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/completions", json={"model": BASE, "prompt": "x", "max_tokens": 9, **fields})


def test_answers_pass_through_as_the_server_gave_them() -> None:
    stub = VllmStub()
    with running(stub) as http:
        whole = complete(http)
        assert whole.json()["choices"][0]["text"] == f"{BASE} says: x"
        assert (whole.headers["x-hone-server"], whole.headers["x-hone-model"]) == ("a", BASE)
        messages = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hello there"}]
        streamed = http.post("/v1/chat/completions", json={"model": BASE, "messages": messages, "stream": True})
        *chunks, end = events(streamed)
        assert end == "[DONE]"
        assert (
            "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == f"{BASE} says: hello there"
        )
        assert stub.bodies[-1]["messages"][0] == {"role": "system", "content": "be brief"}


def test_only_checked_fields_reach_a_server() -> None:
    stub = VllmStub()
    with running(stub) as http:
        hostile = {"chat_template": "{{ 1 }}", "lora_path": "/etc", "prompt_logprobs": 5, "guided_regex": "a" * 99}
        given = {"temperature": 0.5, "repeat_penalty": 1.1, "parse_special": False, "seed": None, "deadline": 9}
        assert complete(http, **hostile, **given).status_code == 200
        sent = {"model": BASE, "prompt": "x", "max_tokens": 9, "temperature": 0.5, "repetition_penalty": 1.1}
        assert stub.bodies == [sent]
        refused = complete(http, temperature="hot")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "temperature")
        image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://localhost"}}]}]
        assert http.post("/v1/chat/completions", json={"model": BASE, "messages": image}).status_code == 400
        assert len(stub.bodies) == 1


def test_requests_go_by_weight() -> None:
    stubs = VllmStub(), VllmStub()
    with ExitStack() as stack:
        urls = [stack.enter_context(listening(stub)) for stub in stubs]  # type: ignore[arg-type]
        servers = [server("a", urls[0], weight=3), server("b", urls[1])]
        http = stack.enter_context(fronting(*servers))
        given = Counter(complete(http).headers["x-hone-server"] for _ in range(80))
    # 60 expected, 40 without weights; 4.6 standard deviations are 18.
    assert 42 <= given["a"] <= 78


def test_a_busy_server_gets_fewer() -> None:
    slow = VllmStub(hang=True)
    with running(slow, VllmStub()) as http:
        threads = []
        while not slow.bodies:
            threads.append(threading.Thread(target=complete, args=(http,), kwargs={"deadline": 900.0}))
            threads[-1].start()
            time.sleep(0.1)
        assert {complete(http).headers["x-hone-server"] for _ in range(5)} == {"b"}
        slow.hang = False
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(("status", "stream"), [(500, True), (502, False), (503, True), (429, False)])
def test_what_one_server_cannot_answer_another_one_does(status: int, stream: bool) -> None:
    broken = VllmStub(fail=status)
    with running(broken, VllmStub()) as http:
        while not broken.bodies:
            answer = complete(http, stream=stream)
            assert (answer.status_code, answer.headers["x-hone-server"]) == (200, "b")


def test_a_request_that_breaks_servers_does_not_reach_them_all() -> None:
    stubs = [VllmStub(fail=500) for _ in range(4)]
    with running(*stubs) as http:
        failed = complete(http)
        assert (failed.status_code, failed.json()["error"]["code"]) == (502, "server_failed")
        assert sum(len(stub.bodies) for stub in stubs) == 3


def test_busy_servers_say_when_to_come_back() -> None:
    with running(VllmStub(fail=429, retry_after="7"), VllmStub(fail=429, retry_after="20")) as http:
        refused = complete(http)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")


def test_a_wrong_request_is_not_repeated() -> None:
    stubs = VllmStub(fail=400), VllmStub(fail=400)
    with running(*stubs) as http:
        refused = complete(http)
        assert (refused.status_code, refused.json()["error"]["message"]) == (400, "EngineCore encountered an issue.")
        assert sum(len(stub.bodies) for stub in stubs) == 1


@pytest.mark.parametrize(("after", "begun"), [(0, False), (2, True)])
def test_a_stream_is_only_repeated_before_its_first_event(after: int, begun: bool) -> None:
    breaking, other = VllmStub(break_after=after), VllmStub()
    with running(breaking, other) as http:
        while True:
            answer = complete(http, prompt="one two three", stream=True)
            if breaking.bodies:
                break
        told = events(answer)
        if begun:
            assert answer.headers["x-hone-server"] == "a"
            assert told[-1]["error"]["code"] == "server_failed"
            assert "".join(chunk["choices"][0]["text"] for chunk in told[:-1]) == f"{BASE} says:"
            assert len(breaking.bodies) == 1
        else:
            assert (answer.headers["x-hone-server"], told[-1]) == ("b", "[DONE]")


def test_a_server_is_taken_out_and_comes_back() -> None:
    first, second = VllmStub(), VllmStub()
    with running(first, second) as http:
        assert complete(http).status_code == 200
        first.health = 503
        wait_for(http, "a", up=False)
        assert {complete(http).headers["x-hone-server"] for _ in range(8)} == {"b"}
        first.health = 200
        wait_for(http, "a", up=True)
        while complete(http).headers["x-hone-server"] != "a":
            pass
        first.health = second.health = 503
        wait_for(http, "a", up=False)
        wait_for(http, "b", up=False)
        refused = complete(http)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_server")
        assert int(refused.headers["retry-after"]) >= 1
        assert http.get("/health").json()["status"] == "failed"


def wait_for(http: httpx.Client, name: str, up: bool) -> None:
    while True:
        states = {each["name"]: each["up"] for each in http.get("/health").json()["servers"]}
        if states[name] == up:
            return
        time.sleep(0.02)


def test_a_server_that_is_not_there_costs_no_request() -> None:
    stub: Any = VllmStub()
    with listening(stub) as url, fronting(server("gone", "http://127.0.0.1:9"), server("here", url)) as http:
        assert [complete(http).status_code for _ in range(5)] == [200] * 5
        states = {each["name"]: each for each in http.get("/health").json()["servers"]}
        assert (states["gone"]["up"], states["here"]["up"]) == (False, True)
        assert "connection failed" in states["gone"]["detail"]


def test_a_request_does_not_wait_for_a_server_that_froze(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_server, "CHECK_TIMEOUT", 3.0)
    frozen = VllmStub(hang=True)
    answers: list[httpx.Response] = []
    with running(frozen, VllmStub()) as http:
        threads = []
        while not frozen.bodies:
            threads.append(threading.Thread(target=lambda: answers.append(complete(http, stream=True))))
            threads[-1].start()
            time.sleep(0.1)
        frozen.frozen = True
        for thread in threads:
            thread.join()
        assert "does not answer within" in http.get("/health").json()["servers"][0]["detail"]
    assert {(answer.status_code, answer.headers["x-hone-server"]) for answer in answers} == {(200, "b")}


def test_a_client_that_leaves_ends_its_request_at_the_server() -> None:
    stub = VllmStub(hang=True)
    with running(stub) as http:
        with pytest.raises(httpx.ReadTimeout):
            http.post("/v1/completions", json={"model": BASE, "prompt": "x"}, timeout=0.5)
        while stub.running:
            time.sleep(0.01)
        late = complete(http, deadline=0.3)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")


def test_unknown_models_and_paths_are_told_apart() -> None:
    with running(VllmStub()) as http:
        unknown = complete(http, model="nobody")
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
        infill = http.post("/infill", json={"model": BASE, "input_prefix": "a", "input_suffix": "b"})
        assert infill.status_code == 400
        assert "/infill takes a server of kind hone" in infill.json()["error"]["message"]


def test_vllm_gets_a_suffix_in_the_models_own_form() -> None:
    fim = FIM_FAMILIES[0]
    stub = VllmStub(special=(fim.prefix, fim.suffix, fim.middle))
    with running(stub) as http:
        answer = complete(http, prompt="def f(", suffix="): pass")
        assert answer.headers["x-hone-completion-mode"] == "fim"
        assert stub.bodies[-1]["prompt"] == f"{fim.prefix}def f({fim.suffix}): pass{fim.middle}"
        assert "suffix" not in stub.bodies[-1]
        (entry,) = http.get("/v1/models").json()["data"]
        assert (entry["completion_mode"], entry["context_length"]) == ("fim", 2048)
        # Code that spells the tokens would be taken for them.
        spelled = complete(http, prompt=f"x = '{fim.middle}'", suffix="y")
        assert spelled.headers["x-hone-completion-mode"] == "prefix"
        assert http.post("/v1/tokenize", json={"texts": ["ab", fim.middle]}).json()["tokens"] == [[97, 98], [1002]]
    with running(VllmStub()) as http:
        assert complete(http, suffix="): pass").headers["x-hone-completion-mode"] == "prefix"


def test_another_gateway_gets_what_only_it_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", KEY)
    engine = ScriptedEngine(lambda request: "filled in")
    stub: Any = VllmStub()
    with (
        listening(gateway(engine)) as hone,
        listening(stub) as vllm,
        fronting(server("hone", hone, key_env="OTHER_KEY"), server("vllm", vllm), default=MODEL) as http,
    ):
        infill = http.post("/infill", json={"input_prefix": "a", "input_suffix": "b", "n_predict": 5})
        assert (infill.json()["content"], infill.headers["x-hone-server"]) == ("filled in", "hone")
        with_suffix = http.post("/v1/completions", json={"prompt": "a", "suffix": "b", "max_tokens": 5})
        assert with_suffix.headers["x-hone-completion-mode"] == "prefix"
        assert http.post("/v1/tokenize", json={"texts": ["a b"]}).json()["tokens"] == [[1, 2]]
        shown = http.post("/apply-template", json={"messages": [{"role": "user", "content": "a"}]}).json()
        assert shown["prompt"] == "user: a\n"
        tabby = {"language": "python", "segments": {"prefix": "a", "suffix": "b"}}
        assert http.post("/v1/completions", json=tabby).json()["choices"][0]["text"] == "filled in"
        assert [entry["id"] for entry in http.get("/v1/models").json()["data"]][:2] == [MODEL, "tuned"]
        assert complete(http).headers["x-hone-server"] == "vllm"


@pytest.mark.parametrize("stream", [False, True])
def test_feedback_is_kept_here(stream: bool) -> None:
    write(Consent(elsewhere=True))
    with running(VllmStub()) as http:
        answer = complete(http, prompt="def f():", stream=stream)
        identifier = answer.headers["x-hone-id"]
        given = http.post("/v1/feedback", json={"id": identifier, "kind": "accepted"})
        assert given.status_code == 200
    (event,) = Feedback().read().events
    assert (event.model, event.completion, event.prompt) == (BASE, f"{BASE} says: def f():", "def f():")


def test_a_key_is_sent_to_its_server_alone_and_never_logged(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KEY_OF_A", "secret-of-a")
    locked, other, wrong = VllmStub(key="secret-of-a"), VllmStub(), VllmStub(key="another")
    with ExitStack() as stack:
        urls = [stack.enter_context(listening(stub)) for stub in (locked, other, wrong)]  # type: ignore[arg-type]
        servers = [
            server(name, url, key_env="KEY_OF_A" if name != "b" else None)
            for name, url in zip("abc", urls, strict=True)
        ]
        http = stack.enter_context(fronting(*servers))
        used: set[str] = set()
        while not used >= {"a", "b"}:
            used.add(complete(http).headers["x-hone-server"])
        told = http.get("/health").text
        assert "it refuses the key" in told
    assert {headers.get("authorization") for headers in other.headers} == {None}
    output = capfd.readouterr()
    assert "is up" in output.err
    assert "secret" not in output.out + output.err + told
    # The gateway's own key goes nowhere.
    assert KEY not in json.dumps([locked.headers, other.headers, wrong.headers])


def test_redirects_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_A", "secret-of-a")
    target: Any = VllmStub()
    with ExitStack() as stack:
        elsewhere = stack.enter_context(listening(target))
        redirecting: Any = VllmStub(redirect=f"{elsewhere}/v1/models")
        url = stack.enter_context(listening(redirecting))
        http = stack.enter_context(fronting(server("a", url, key_env="KEY_OF_A")))
        assert complete(http).status_code == 503
        assert "redirects" in http.get("/health").json()["servers"][0]["detail"]
    assert target.headers == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*make, "-keyout", str(key), "-out", str(certificate), *subject], check=True, capture_output=True)
    stub: Any = VllmStub()
    options = uvicorn.Config(stub, port=0, log_level="critical", ssl_keyfile=key, ssl_certfile=certificate)
    listener = options.bind_socket()
    tls = uvicorn.Server(options)
    thread = threading.Thread(target=tls.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        with fronting(server("a", f"https://localhost:{listener.getsockname()[1]}")) as http:
            assert complete(http).status_code == 503
            assert "CERTIFICATE_VERIFY_FAILED" in http.get("/health").json()["servers"][0]["detail"]
    finally:
        tls.should_exit = True
        thread.join(10)
    assert stub.headers == []
