"""A Hugging Face hub of datasets on loopback, asked by a child process, since the library reads its endpoint once."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_API = re.compile(r"/api/datasets/(?P<name>[^/]+/[^/]+)(?:/(?P<verb>revision|tree|paths-info)/[^/]+(?P<below>/.*)?)?")
_FILE = re.compile(r"/datasets/(?P<name>[^/]+/[^/]+)/resolve/[^/]+/(?P<path>.+)")
_ASK = """
import json, sys
from assistant.errors import HoneError
from tuning.corpus.collect import read
from tuning.corpus.sources import parse, resolve
answers = []
for spec in sys.argv[1:]:
    answers.append({"paths": [], "commit": None, "error": ""})
    try:
        source = resolve(parse(spec))
        answers[-1]["commit"] = source.commit
        answers[-1]["paths"] = [item.path for item in read([source])]
    except HoneError as error:
        answers[-1]["error"] = str(error)
print(json.dumps(answers))
"""


class Ask:
    def __init__(self, url: str, home: Path) -> None:
        self.requests: list[str] = []
        self._environment = {
            **os.environ,
            "HF_ENDPOINT": url,
            "HF_HOME": str(home / "hf"),
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
        }

    def __call__(self, *specs: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-c", _ASK, *specs], env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        answers: list[dict[str, Any]] = json.loads(done.stdout)
        return answers


@contextmanager
def dataset_hub(datasets: dict[str, dict[str, bytes]], home: Path) -> Iterator[Ask]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(body=True)

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            self.answer(body=True, asked=self.rfile.read(length).decode())

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, body: bool, asked: str = "") -> None:
            path = unquote(urlsplit(self.path).path)
            ask.requests.append(path)
            api, file = _API.fullmatch(path), _FILE.fullmatch(path)
            if api and api["name"] in datasets:
                return self.send(200, json.dumps(self.listing(api, asked)).encode(), body)
            files = datasets.get(file["name"], {}) if file else {}
            if file and file["path"] in files:
                return self.send_file(files[file["path"]], body)
            missing = "EntryNotFound" if files else "RepoNotFound"
            return self.send(404, b'{"error": "not here"}', body, {"X-Error-Code": missing})

        def listing(self, api: re.Match[str], asked: str) -> object:
            files = datasets[api["name"]]
            if api["verb"] == "paths-info":
                return [self.entry(name, data) for name, data in files.items() if name in unquote(asked)]
            if api["verb"] == "tree":
                below = (api["below"] or "").strip("/")
                return self.children(files, f"{below}/" if below else "")
            siblings = [{"rfilename": name} for name in files]
            return {"_id": "1", "id": api["name"], "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}

        def children(self, files: dict[str, bytes], prefix: str) -> list[dict[str, object]]:
            inside = {name.removeprefix(prefix): data for name, data in files.items() if name.startswith(prefix)}
            folders = dict.fromkeys(name.partition("/")[0] for name in inside if "/" in name)
            return [
                *({"type": "directory", "path": prefix + folder, "size": 0, "oid": "0" * 40} for folder in folders),
                *(self.entry(prefix + name, data) for name, data in inside.items() if "/" not in name),
            ]

        def entry(self, name: str, data: bytes) -> dict[str, object]:
            return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}

        def send_file(self, data: bytes, body: bool) -> None:
            headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            if not wanted:
                return self.send(200, data, body, headers)
            start, end = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            return self.send(206, data[start : end + 1], body, headers)

        def send(self, status: int, data: bytes, body: bool, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    ask = Ask(f"http://127.0.0.1:{server.server_address[1]}", home)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield ask
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
