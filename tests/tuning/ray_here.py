"""A Ray of this machine alone, for tests: its own ports, folder and token, a head, and nodes beside it.

It wants an environment of its own with Ray in it, which tests of Hone's own environment do not have:
`python3 -m venv .hone/ray && .hone/ray/bin/pip install 'ray[default]>=2.52'`, or HONE_TEST_RAY names another one. As
on a cluster, that environment also has what Hone depends on: it is pointed at the packages of this one.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.tuning.jobs_here import until

_ENVIRONMENT = Path(os.environ.get("HONE_TEST_RAY") or ROOT / ".hone" / "ray")
PYTHON = _ENVIRONMENT / "bin" / "python"
_RAY = _ENVIRONMENT / "bin" / "ray"


class Cluster:
    """Running until `end`."""

    def __init__(self) -> None:
        # A socket's path must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="hone-ray-"))
        self.token = secrets.token_hex(16)
        self._ports = _free_ports(15)
        self.address = f"http://127.0.0.1:{self._ports[1]}"
        self._started: list[subprocess.Popen[bytes]] = []
        _lend_packages()
        try:
            self.start()
        except BaseException:
            self.end()
            raise

    def start(self) -> None:
        """The head, with nothing of what an earlier one knew."""
        self._run_head()
        until(self._answers, "an answer of Ray's head")

    def _run_head(self) -> None:
        head, dashboard, client, *rest = self._ports[:9]
        self._run(
            "--head",
            f"--port={head}",
            f"--dashboard-port={dashboard}",
            "--dashboard-host=127.0.0.1",
            f"--ray-client-server-port={client}",
            f"--temp-dir={self.folder}",
            *_ports_of(rest),
        )

    def add_node(self) -> None:
        """Another node of one core, on the same machine."""
        self._run(f"--address=127.0.0.1:{self._ports[0]}", *_ports_of(self._ports[9:]))

    def lose(self) -> None:
        """Everything of Ray is killed without a word, as when the head's machine fails; not what it started."""
        _kill([each for each in self._family() if self._is_of_ray(each) or _title(each).startswith("ray::")])
        for process in self._started:
            process.wait()
        self._started = []

    def lose_actor(self, kind: str) -> None:
        """Kills a process that holds such an actor, once there is one."""
        found: list[psutil.Process] = []
        until(lambda: found.extend(each for each in self._family() if _title(each).startswith(f"ray::{kind}")) or found)
        _kill(found[:1])

    def end(self) -> None:
        family = self._family()
        self.lose()
        _kill(family)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _family(self) -> list[psutil.Process]:
        """What was started here, and what of it lost its parent."""
        found = [each for each in psutil.process_iter() if self._is_of_ray(each)]
        return found + [child for each in found for child in _children(each)]

    def _is_of_ray(self, process: psutil.Process) -> bool:
        return str(self.folder) in _title(process) or any(process.pid == each.pid for each in self._started)

    def _run(self, *options: str) -> None:
        environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            # Of the system's Ray, should this run inside of one.
            "RAY_ADDRESS": "",
        }
        log = (self.folder / f"ray-{len(self._started)}.out").open("ab")
        common = ("--node-ip-address=127.0.0.1", "--num-cpus=1", "--num-gpus=0", "--object-store-memory=100000000")
        self._started.append(
            subprocess.Popen(
                [str(_RAY), "start", "--block", "--disable-usage-stats", *common, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        )
        log.close()

    def _answers(self) -> bool:
        import httpx

        if self._started[-1].poll() is not None:
            said = (self.folder / "ray-0.out").read_text()[-3000:]
            # It gives itself thirty seconds, which a busy machine may not have for it.
            assert "timed out during startup" in said, said
            self.lose()
            self._run_head()
        headers = {"Authorization": f"Bearer {self.token}"}
        with suppress(httpx.HTTPError):
            # The dashboard answers before there is anything that could start a job.
            body = {"entrypoint": "true"}
            answer = httpx.post(f"{self.address}/api/jobs/", headers=headers, json=body, timeout=120, verify=False)
            if answer.status_code == 200:
                return True
        # To ask at once again would take the processor from what starts.
        time.sleep(1)
        return False


def start() -> Cluster:
    """Skips where there is no Ray."""
    if not _RAY.exists():
        pytest.skip(f"there is no Ray in {_ENVIRONMENT} (python3 -m venv it, and pip install 'ray[default]')")
    return Cluster()


def reach(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Has this process and its children ask this Ray, and often."""
    from tuning.jobs import ray_api

    monkeypatch.setattr(ray_api, "_FRESH_SECONDS", 0.2)
    monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", cluster.address)
    return cluster


def _lend_packages() -> None:
    """Adds this environment's packages to Ray's own, behind them."""
    version = next((_ENVIRONMENT / "lib").glob("python3.*"))
    (version / "site-packages" / "hone-tests.pth").write_text(sysconfig.get_path("purelib") + "\n")


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _title(process: psutil.Process) -> str:
    """Ray's workers name themselves."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def _ports_of(ports: list[int]) -> list[str]:
    names = ("node-manager", "object-manager", "dashboard-agent-listen", "dashboard-agent-grpc", "metrics-export")
    named = zip((*names, "runtime-env-agent"), ports, strict=True)
    # Workers take any port that is free, so that none of the others is in their range.
    return [*(f"--{name}-port={port}" for name, port in named), "--min-worker-port=0", "--max-worker-port=0"]


def _free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports
