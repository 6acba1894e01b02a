"""`hone doctor`: what is installed, where things are, and what is exposed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from assistant.gateway.process import Running

_PACKAGES = (
    "hone-assistant",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "xllamacpp",
    "gguf",
    "huggingface-hub",
    "textual",
    "uvicorn",
)
_LOOPBACK = ("127.", "::1", "::ffff:127.")


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Say what is installed, where things are, what is exposed, and what is wrong (then the exit code is 1)."""
    from tui import tables

    problems: list[str] = []
    report = {
        "versions": _versions(problems),
        "machine": _machine(),
        "state": _state(problems),
        "settings": _settings(problems),
        "models": _models(problems),
        "gateway": _gateway(problems),
        "problems": problems,
    }
    if as_json:
        tables.print_json(report)
    else:
        tables.print_fields({**report, "problems": problems or ["none found"]})
    if problems:
        raise typer.Exit(1)


def _versions(problems: list[str]) -> dict[str, str]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            problems.append(f"{package} is not installed; install Hone again with `pip install hone-assistant`")
    return found


def _machine() -> dict[str, Any]:
    import os
    import platform

    import psutil

    memory = psutil.virtual_memory()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "memory_gib": round(memory.total / 2**30, 1),
        "memory_available_gib": round(memory.available / 2**30, 1),
    }


def _state(problems: list[str]) -> dict[str, Any]:
    import shutil

    from assistant import config, paths

    home = paths.home()
    if home.stat().st_mode & 0o022:
        problems.append(f"{home} can be written by other users; run `chmod go-w {home}`")
    repository, user = config.repository_file(), config.user_file()
    return {
        "folder": str(home),
        "disk_free_gib": round(shutil.disk_usage(home).free / 2**30, 1),
        "repository_settings": str(repository) if repository else None,
        "user_settings": str(user) if user.is_file() else None,
    }


def _settings(problems: list[str]) -> dict[str, Any]:
    from assistant.config import load_settings
    from assistant.errors import HoneError

    try:
        return load_settings().model_dump()
    except HoneError as error:
        problems.append(str(error))
        return {}


def _models(problems: list[str]) -> dict[str, Any]:
    from assistant.errors import HoneError
    from assistant.models import store
    from assistant.models.registry import Registry

    cached = store.cached_names()
    try:
        registry = Registry()
        versions, aliases = registry.versions(), registry.aliases()
    except HoneError as error:
        problems.append(str(error))
        return {"cached": cached}
    problems += [
        f"the files of {version.id} are gone from {version.folder}; tune again or `hone models rm {version.id}`"
        for version in versions
        if not (version.folder / "adapter_model.safetensors").exists()
    ]
    return {
        "cached": cached,
        "adapters": [version.id for version in versions],
        "aliases": {alias: version.id for alias, version in aliases.items()},
    }


def _gateway(problems: list[str]) -> dict[str, Any]:
    from assistant.gateway.process import find_running

    running = find_running()
    if running is None:
        return {"running": False}
    listeners = _listeners(running)
    exposed = [address for address in listeners if not address.startswith((*_LOOPBACK, "/"))]
    if exposed:
        problems.append(
            f"the gateway (process {running.pid}) can be reached from other machines at {', '.join(exposed)}; "
            "whoever has its key can use it: serve on 127.0.0.1 or a Unix socket if that is not meant"
        )
    key = Path(running.key_file)
    if key.exists() and key.stat().st_mode & 0o077:
        problems.append(f"other users can read the gateway's key; run `chmod 600 {key}`")
    return {
        "running": True,
        "process": running.pid,
        "model": running.model,
        "address": running.uds or running.url,
        "listens_on": listeners,
        "exposed_beyond_this_machine": bool(exposed),
    }


def _listeners(running: "Running") -> list[str]:
    """What the gateway and its children really listen on, not what they say."""
    import psutil

    addresses = [str(running.uds)] if running.uds else []
    try:
        gateway = psutil.Process(running.pid)
        for process in (gateway, *gateway.children(recursive=True)):
            addresses += [
                f"{connection.laddr.ip}:{connection.laddr.port}"
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            ]
    except psutil.Error:
        return addresses
    return addresses
