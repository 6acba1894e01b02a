"""`hone serve` as a process, for measurements from outside of it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil


@contextmanager
def serving(model: str, *arguments: str) -> Iterator[tuple[psutil.Process, str, str]]:
    """The process, its URL and its key; the model is loaded."""
    command = [sys.executable, "-m", "tui", "serve", "--json", "--port", "0", "--model", model, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            where = json.loads(process.stdout.readline())
            key = Path(where["key_file"]).read_text("ascii").strip()
            headers = {"Authorization": f"Bearer {key}"}
            httpx.get(f"{where['url']}/v1/models", headers=headers, timeout=300).raise_for_status()
            yield psutil.Process(process.pid), where["url"], key
        finally:
            process.terminate()
