"""Requests that mean no good, on the real application with an engine that answers from a script."""

import asyncio
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from assistant.gateway import connection
from assistant.gateway.body import MAX_BODY
from tests.assistant.gateway_fakes import CONTEXT, KEY, Caller, ScriptedEngine, client, gateway, listening

CHAT = {"messages": [{"role": "user", "content": "x"}]}
HEALTH = f"GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE")
PATHS = [*gateway(ScriptedEngine()).routes, "/", "/nothing", "//health", "/health/"]


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY}x"]
)
async def test_no_route_answers_without_the_key(header: str | None) -> None:
    engine = ScriptedEngine()
    async with client(gateway(engine)) as http:
        del http.headers["authorization"]
        headers = {} if header is None else {"authorization": header}
        for path, method in itertools.product(PATHS, METHODS):
            response = await http.request(method, path, json={"prompt": "x", **CHAT}, headers=headers)
            if (path, method, header) == ("/health", "GET", None):
                assert response.json() == {"status": "ok"}
                continue
            assert response.status_code == 401
            assert not [name for name in response.headers if name.startswith("access-control")]
    assert engine.requests == []


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8873", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:x", "", "é"],
)
async def test_a_name_that_a_foreign_page_could_rebind_is_refused_on_every_route(host: str) -> None:
    engine = ScriptedEngine()
    app = gateway(engine)
    for path in app.routes:
        caller = Caller(app, path, b'{"prompt": "x"}', {"host": host})
        await caller.run()
        assert caller.status == 403
    assert engine.requests == []


async def test_a_page_of_another_origin_gets_no_permission_to_read() -> None:
    async with client(gateway(ScriptedEngine())) as http:
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}):
            response = await http.post("/v1/completions", json={"prompt": "x"}, headers=headers)
            assert not [name for name in response.headers if name.startswith("access-control")]
            preflight = await http.options(
                "/v1/completions", headers={**headers, "Access-Control-Request-Method": "POST"}
            )
            assert preflight.status_code == 405


@pytest.mark.parametrize(
    "model",
    [
        *("/etc/passwd", "../models", "..", ".", "~/model.gguf", "C:\\model.gguf", "fake/../fake", "fake\0", "fake\n"),
        *("org/model", "https://example.com/x.gguf", "file:///etc/passwd", "x.gguf", "tuned@../../x", "%2e%2e", "*"),
        "x" * 100_000,
    ],
)
async def test_a_model_is_named_never_opened(model: str) -> None:
    async with client(gateway(ScriptedEngine())) as http:
        for path, body in (
            ("/v1/completions", {"prompt": "x"}),
            ("/v1/chat/completions", CHAT),
            ("/infill", {"input_prefix": "x"}),
            ("/v1/tokenize", {"texts": ["x"]}),
            ("/apply-template", CHAT),
            ("/v1/fim/completions", {"prompt": "x", "suffix": "y"}),
            ("/v1/completions", {"segments": {"prefix": "x"}}),
            ("/v1/likelihoods", {"texts": ["x"], "answers": [" ok"]}),
            ("/completion", {"prompt": "x"}),
        ):
            response = await http.post(path, json={**body, "model": model})
            assert response.status_code == 404
            assert len(response.content) < 1000


@pytest.mark.parametrize("content_length", [True, False])
async def test_an_oversized_body_is_refused_before_it_is_parsed(content_length: bool) -> None:
    body = b'{"prompt": "' + b"x" * MAX_BODY + b'"}'
    async with client(gateway(ScriptedEngine())) as http:
        pieces = [body[start : start + 65_536] for start in range(0, len(body), 65_536)]

        async def chunked() -> Any:
            for piece in pieces:
                yield piece

        response = await http.post("/v1/completions", content=body if content_length else chunked())
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"
    assert response.headers["connection"] == "close"


async def test_a_false_length_is_not_believed() -> None:
    for length in ("-1", "1e9", "", "abc", "9" * 400):
        caller = Caller(gateway(ScriptedEngine()), "/v1/completions", b'{"prompt": "x"}', {"content-length": length})
        await asyncio.wait_for(caller.run(), 60)
        assert caller.status == (413 if length.isdigit() else 200)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\x00",
        b"\xff\xfe{",
        b'{"prompt": "\xff\xfe"}',
        b'{"prompt": "\xed\xa0\x80"}',
        b'{"prompt": "\\ud800"}',
        b'{"\\udfff": "x", "prompt": "x"}',
        b'{"prompt": NaN}',
        b'{"prompt": "x", "temperature": 1e999}',
        b'{"prompt": "x", "temperature": NaN}',
        b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}",
        b'{"prompt": "x", "seed": ' + b"9" * 4000 + b"}",
        b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"prompt": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
        b'{"prompt": "x", "response_format": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
        b'{"prompt": "x", "max_tokens": 1e3}',
        b'{"prompt": "x", "max_tokens": ' + b"9" * 40 + b"}",
        b'{"prompt": "x", "n": 1000000}',
        b'{"prompt": "x", "best_of": 1000000}',
        b'{"prompt": "x", "logprobs": 1000000}',
        b'{"prompt": [99999999999]}',
        b'{"prompt": "x", "stop": ' + b'["' + b'a","' * 500 + b'"]}',
    ],
)
async def test_a_malformed_body_is_refused_in_openais_shape(body: bytes) -> None:
    engine = ScriptedEngine()
    async with client(gateway(engine)) as http:
        response = await http.post("/v1/completions", content=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert "\n" not in error["message"]
    assert len(error["message"]) < 400
    assert engine.requests == []


async def test_no_answer_is_longer_than_the_context() -> None:
    engine = ScriptedEngine()
    async with client(gateway(engine)) as http:
        assert (await http.post("/v1/completions", json={"prompt": "x", "max_tokens": 2**31 - 1})).status_code == 200
    assert engine.requests[0].max_tokens == CONTEXT


async def test_what_goes_wrong_inside_is_logged_without_the_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(request: Any) -> str:
        raise ValueError(request.prompt)

    async with client(gateway(ScriptedEngine(fail))) as http:
        response = await http.post("/v1/completions", json={"prompt": "my secret"})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    log = capsys.readouterr()
    assert "ValueError at" in log.err
    assert "my secret" not in log.err + log.out + response.text


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """A real server."""
    with listening(gateway(ScriptedEngine())) as url:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        yield parts.hostname, parts.port


def _health(link: socket.socket) -> bool:
    """Whether a request on this connection is answered, whole."""
    link.settimeout(60)
    link.sendall(HEALTH)
    received = b""
    while not received.endswith(b"}"):
        piece = link.recv(4096)
        if not piece:
            return False
        received += piece
    return received.startswith(b"HTTP/1.1 200 OK")


def _closed(link: socket.socket) -> bool:
    link.settimeout(60)
    try:
        return link.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("begun", [b"", b"POST /v1/completions HTTP/1.1\r\n"])
def test_a_head_that_never_ends_is_cut_off(
    address: tuple[str, int], begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    with socket.create_connection(address) as link:
        link.sendall(begun)
        dribble = threading.Event()

        def slowly() -> None:
            for number in range(10_000):
                if dribble.wait(0.05):
                    return
                try:
                    link.sendall(f"X-{number}: 1\r\n".encode() if begun else b"")
                except OSError:
                    return

        writer = threading.Thread(target=slowly)
        writer.start()
        assert _closed(link)
        dribble.set()
        writer.join()
    monkeypatch.undo()
    assert httpx.get(f"http://127.0.0.1:{address[1]}/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        ("POST /v1/completions", "Host: localhost", 401),
        ("POST /v1/completions", f"Host: example.org\r\nAuthorization: Bearer {KEY}", 403),
        ("POST /nothing", f"Host: localhost\r\nAuthorization: Bearer {KEY}", 404),
        ("POST /health", f"Host: localhost\r\nAuthorization: Bearer {KEY}", 405),
        ("GET /health", "Host: localhost", 200),
    ],
)
def test_a_body_that_goes_on_after_its_answer_is_cut_off(
    address: tuple[str, int], line: str, headers: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REST_SECONDS", 0.3)
    with socket.create_connection(address) as link:
        link.settimeout(60)
        link.sendall(f"{line} HTTP/1.1\r\n{headers}\r\nContent-Length: 3000000\r\n\r\n{{".encode())
        received = b""
        while not received.endswith(b"}"):
            received += link.recv(4096)
        assert received.startswith(f"HTTP/1.1 {status} ".encode())
        cut = False
        for _ in range(200):
            time.sleep(0.02)
            try:
                link.sendall(b" ")
            except OSError:
                cut = True
                break
        assert cut


def test_a_connection_goes_on_when_the_rest_of_a_refused_body_has_come(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REST_SECONDS", 0.3)
    with socket.create_connection(address) as link:
        link.settimeout(60)
        link.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
        received = b""
        while not received.endswith(b"}"):
            received += link.recv(4096)
        link.sendall(b"}")
        time.sleep(0.5)
        assert _health(link)


def test_a_slow_second_request_on_a_connection_is_cut_off_too_and_an_idle_one_is_not(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_connection(address) as slow, socket.create_connection(address) as idle:
        for link in (slow, idle):
            assert _health(link)
        monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
        slow.sendall(HEALTH[:20])
        # All that time nothing came on the other one.
        assert _closed(slow)
        monkeypatch.undo()
        assert _health(idle)


def test_connections_beyond_the_limit_are_closed_and_the_rest_go_on(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 8)
    monkeypatch.setattr(connection, "HEAD_SECONDS", 600.0)
    links = [socket.create_connection(address) for _ in range(12)]
    try:
        assert all(_closed(link) for link in links[8:])
        assert _health(links[0])
    finally:
        for link in links:
            link.close()
