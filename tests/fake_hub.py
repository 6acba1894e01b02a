"""A small Hugging Face hub on loopback: the repository listing and file downloads with ranges, as the real one answers.

Point HF_ENDPOINT at `FakeHub.url`. Faults can be switched on: connections dropped in mid-file, damaged bytes, slow
answers.
"""

import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import unquote, urlsplit

_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_LISTING = re.compile(r"/api/models/(?P<repository>[^/]+/[^/]+)(?:/revision/[^/]+)?")
_FILE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/[^/]+/(?P<name>.+)")
_LARGE_SUFFIXES = (".safetensors", ".gguf", ".bin")
_PIECE = 256 * 1024


@dataclass
class Request:
    method: str
    path: str
    range: str | None

    @property
    def file(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass
class FakeHub:
    """Serves `repositories`: name -> file name -> bytes."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: tuple[str, ...] = ("license:apache-2.0",)
    requests: list[Request] = field(default_factory=list)
    drops: int = 0
    """How many more downloads of large files are cut in the middle."""
    damaged: set[str] = field(default_factory=set)
    """Names of files served with one bit flipped."""
    seconds_per_piece: float = 0.0
    without_digests: bool = False

    def __enter__(self) -> "FakeHub":
        hub = self

        class Handler(_Handler):
            served = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def downloads(self) -> list[Request]:
        return [request for request in self.requests if request.method == "GET" and "/resolve/" in request.path]


class _Handler(BaseHTTPRequestHandler):
    served: FakeHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, *_: object) -> None:
        """Quiet: the tests look at `requests`."""

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.served.requests.append(Request(self.command, path, self.headers.get("Range")))
        listing, file = _LISTING.fullmatch(path), _FILE.fullmatch(path)
        if listing and listing["repository"] in self.served.repositories:
            return self._send(200, json.dumps(self._listing(listing["repository"])).encode(), body)
        files = self.served.repositories.get(file["repository"], {}) if file else {}
        if file and file["name"] in files:
            return self._send_file(file["name"], files[file["name"]], body)
        missing = "EntryNotFound" if files else "RepoNotFound"
        return self._send(404, b"{}", body, {"X-Error-Code": missing, "X-Error-Message": "not here"})

    def _listing(self, repository: str) -> dict[str, object]:
        siblings = []
        for name, data in self.served.repositories[repository].items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            sibling: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": blob}
            if name.endswith(_LARGE_SUFFIXES):
                sibling["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            if self.served.without_digests:
                sibling = {"rfilename": name, "size": len(data)}
            siblings.append(sibling)
        return {
            "_id": "1",
            "id": repository,
            "modelId": repository,
            "sha": _COMMIT,
            "private": False,
            "tags": list(self.served.tags),
            "siblings": siblings,
        }

    def _send_file(self, name: str, data: bytes, body: bool) -> None:
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": _COMMIT, "Accept-Ranges": "bytes"}
        if name in self.served.damaged:
            data = bytes([data[0] ^ 1]) + data[1:]
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if not wanted:
            return self._send(200, data, body, headers, name)
        start = int(wanted[1])
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self._send(206, data[start:], body, headers, name)

    def _send(
        self, status: int, data: bytes, body: bool, headers: dict[str, str] | None = None, name: str = ""
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not body:
            return
        cut = len(data)
        if name.endswith(_LARGE_SUFFIXES) and self.served.drops > 0:
            self.served.drops -= 1
            cut = len(data) // 2
        try:
            for start in range(0, cut, _PIECE):
                self.wfile.write(data[start : min(start + _PIECE, cut)])
                if name.endswith(_LARGE_SUFFIXES):
                    time.sleep(self.served.seconds_per_piece)
            self.wfile.flush()
        except OSError:
            self.close_connection = True
        if cut < len(data):
            self.close_connection = True
