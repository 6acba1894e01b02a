"""Real gateway processes for tests."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx


@dataclass(frozen=True)
class Served:
    """A running `hone serve`."""

    url: str
    uds: str | None
    key: str
    home: Path
    process: subprocess.Popen[str]

    def http(self, key: str | None = None) -> httpx.Client:
        """A plain client; `key` "" sends none."""
        given = self.key if key is None else key
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {given}"} if given else {},
            transport=httpx.HTTPTransport(uds=self.uds),
            timeout=600,
        )


@contextmanager
def serve(home: Path, *arguments: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "tests.assistant.run_hone", "serve", "--json", *arguments]
    environment = {**os.environ, "HONE_HOME": str(home)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            where: dict[str, Any] = json.loads(process.stdout.readline())
            yield Served(where["url"], where["uds"], Path(where["key_file"]).read_text().strip(), home, process)
        finally:
            process.terminate()
