"""Ray's Jobs REST API over HTTP: submit, ask, stop, logs, packages. Nothing of Ray is imported.

The interface is https://docs.ray.io/en/latest/cluster/running-applications/job-submission/api.html; the token goes as
https://docs.ray.io/en/latest/ray-security/token-auth.html has it. A cluster without one runs anybody's commands: one is
always sent.
"""

import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant import atomic
from assistant.errors import HoneError
from tuning.jobs import files
from tuning.jobs.job import Job
from tuning.jobs.ray_settings import RaySettings

if TYPE_CHECKING:
    import httpx

_SECONDS = 30.0
"""What an answer may take."""
_CONNECT_SECONDS = 5.0
_UPLOAD_SECONDS = 600.0
_FRESH_SECONDS = 5.0
"""The head serves everybody: it is asked once in so long for each job."""
_OLDEST = (2, 52)
"""The first version with tokens."""
_FILE = "ray.json"
_GATEWAY = (502, 503, 504)
"""Statuses by which something in front of Ray says that it cannot reach it."""


class NoAnswer(HoneError):
    """Ray could not be asked; nothing follows for its jobs."""


class Unreachable(NoAnswer):
    """Nobody answers for Ray, or not to this token: another time may be better."""


class NotThere(HoneError):
    """Ray answers that there is no such thing."""


@dataclass(frozen=True)
class Seen:
    """A job as Ray has it."""

    submission: str
    state: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    message: str = ""
    error: str = ""
    """Such as RUNTIME_ENV_SETUP_FAILURE; empty without one."""
    node: str = ""
    """The address of the one it runs on."""


@dataclass
class _Answers:
    """What Ray said last, by address and submission: when (monotonic clock, seconds), and what."""

    known: dict[tuple[str, str], tuple[float, Seen | None]] = field(default_factory=dict)
    silent: dict[str, tuple[float, str]] = field(default_factory=dict)
    """By address: when it last did not answer, and how."""


_last = _Answers()


def submission(job: Job) -> str | None:
    """What it is called in Ray; None when it has not been taken."""
    content = files.read_filled(job.folder / _FILE)
    found = content and content.get("submission")
    return found if isinstance(found, str) else None


def keep_submission(job: Job, taken: str) -> None:
    atomic.write_json(job.folder / _FILE, {"submission": taken}, mode=0o600)


def forget_submission(job: Job) -> None:
    (job.folder / _FILE).unlink(missing_ok=True)


def check(ours: RaySettings) -> None:
    """
    Raises:
        HoneError: Ray does not answer, refuses the token, or is too old to know tokens.
    """
    version = _object(ours, "/api/version").get("ray_version", "")
    numbers = re.match(r"(\d+)\.(\d+)", str(version))
    if numbers is None or tuple(map(int, numbers.groups())) < _OLDEST:
        raise HoneError(f"the Ray at {ours.address} is {version or 'of no known version'}; 2.52 or newer knows tokens")


def has_package(ours: RaySettings, name: str) -> bool:
    """Whether the cluster has this package; Ray keeps it for some minutes from now on, used or not.

    Raises:
        NoAnswer: Ray does not answer.
    """
    try:
        _asked(ours, "GET", f"/api/packages/gcs/{name}")
    except NotThere:
        return False
    return True


def put_package(ours: RaySettings, name: str, data: bytes) -> None:
    """
    Raises:
        HoneError: Ray does not take it.
    """
    _asked(ours, "PUT", f"/api/packages/gcs/{name}", seconds=_UPLOAD_SECONDS, content=data)


def submit(ours: RaySettings, wanted: dict[str, Any]) -> None:
    """
    Args:
        wanted: the request, see the API; with a `submission_id` of its own.

    Raises:
        HoneError: Ray refuses or does not answer.
    """
    _asked(ours, "POST", "/api/jobs/", json=wanted)


def seen(ours: RaySettings, taken: str, *, at_once: bool = False) -> Seen | None:
    """How Ray has a job now; None when it knows of none.

    Args:
        at_once: with no answer from a moment ago.

    Raises:
        NoAnswer: Ray does not answer.
    """
    key, now = (ours.address, taken), time.monotonic()
    at, known = _last.known.get(key, (float("-inf"), None))
    if not at_once and now - at <= _FRESH_SECONDS:
        return known
    failed, words = _last.silent.get(ours.address, (float("-inf"), ""))
    # A list of many jobs must not wait for each of them.
    if not at_once and now - failed <= _FRESH_SECONDS:
        raise NoAnswer(words)
    try:
        known = _details(ours, taken)
    except NoAnswer as error:
        _last.silent[ours.address] = (time.monotonic(), str(error))
        raise
    _last.known[key] = (time.monotonic(), known)
    return known


def stop(ours: RaySettings, taken: str) -> None:
    """Has Ray send SIGTERM to all processes of the job, and SIGKILL after RAY_JOB_STOP_WAIT_TIME_S of its environment.

    Raises:
        HoneError: Ray does not do it.
    """
    _asked(ours, "POST", f"/api/jobs/{taken}/stop")
    _last.known.pop((ours.address, taken), None)


def logs(ours: RaySettings, taken: str) -> str:
    """What Ray keeps of what the job's entry point printed, and of what kept it from starting.

    Raises:
        HoneError: Ray does not answer, or has none.
    """
    found = _object(ours, f"/api/jobs/{taken}/logs").get("logs")
    return found if isinstance(found, str) else ""


def usage(ours: RaySettings) -> dict[str, tuple[float, float]]:
    """What is used and what there is of each resource of the cluster; empty where Ray does not tell.

    Raises:
        NoAnswer: Ray does not answer.
    """
    try:
        content = _object(ours, "/api/cluster_status")
        told = dict(content["data"]["clusterStatus"]["loadMetricsReport"]["usage"])
        return {str(name): (float(used), float(there)) for name, (used, there) in told.items()}
    except (NotThere, KeyError, TypeError, ValueError):
        # Not part of the Jobs API: what another version answers is no reason to fail.
        return {}


def _details(ours: RaySettings, taken: str) -> Seen | None:
    try:
        content = _object(ours, f"/api/jobs/{taken}")
    except NotThere:
        return None
    info = content.get("driver_info")
    node = info if isinstance(info, dict) else {}
    return Seen(
        taken,
        str(content.get("status") or ""),
        str(content.get("message") or ""),
        str(content.get("error_type") or ""),
        str(node.get("node_ip_address") or ""),
    )


def _object(ours: RaySettings, path: str) -> dict[str, Any]:
    """
    Raises:
        NotThere, NoAnswer: as `_asked`.
    """
    try:
        content = _asked(ours, "GET", path).json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise NoAnswer(f"what answers at {ours.address} is no Ray: no JSON object at {path}")
    return content


def _asked(ours: RaySettings, method: str, path: str, seconds: float = _SECONDS, **body: Any) -> "httpx.Response":
    """
    Raises:
        NotThere: 404.
        NoAnswer: another status than 200, or none; `Unreachable` where that is not Ray's own.
    """
    import httpx

    headers = {"Authorization": f"Bearer {_token(ours)}"}
    try:
        limits = httpx.Timeout(seconds, connect=_CONNECT_SECONDS)
        # Reading the system's certificates takes longer than all the rest, and without TLS nothing asks for them.
        encrypted = ours.address.startswith("https:")
        answer = httpx.request(method, ours.address + path, headers=headers, timeout=limits, verify=encrypted, **body)
    except httpx.HTTPError as error:
        raise Unreachable(f"Ray at {ours.address} does not answer: {error or type(error).__name__}") from error
    if answer.status_code in (401, 403):
        raise Unreachable(f"Ray at {ours.address} refuses the token (HTTP {answer.status_code})")
    if answer.status_code == 404:
        raise NotThere(f"Ray at {ours.address} knows nothing of {path}")
    if answer.status_code != 200:
        # A traceback: what went wrong is its last line.
        lines = [line.strip() for line in answer.text.splitlines() if line.strip()]
        kind = Unreachable if answer.status_code in _GATEWAY else NoAnswer
        raise kind(f"Ray says (HTTP {answer.status_code}): {lines[-1][:300] if lines else 'nothing more'}")
    return answer


def _token(ours: RaySettings) -> str:
    """From where Ray's own commands take it, unless a file is configured."""
    told = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    if told and not ours.token_file:
        return told
    named = ours.token_file or os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    file = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    try:
        token = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise NoAnswer(
            f"there is no token for Ray: {file}: {why}; set RAY_AUTH_TOKEN, or token_file in [ray] (a cluster gets one "
            "by RAY_AUTH_MODE=token and `ray get-auth-token --generate`)"
        ) from error
    if not token or not token.isprintable() or not token.isascii():
        raise NoAnswer(f"{file} holds no token for Ray")
    return token
