"""The servers that a gateway stands in front of: the table `[fleet]` of the user's configuration file."""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant import config
from assistant.engines.remote import base_url, is_local, read_key
from assistant.errors import HoneError

if TYPE_CHECKING:
    from assistant.config import Settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FLEET_KEYS = ("check_seconds", "servers")
_TEXTS = ("url", "key_env", "key_file", "adapters_folder")
_FLAGS = ("plain_key", "load_adapters")


@dataclass(frozen=True)
class ServerSettings:
    """One server with OpenAI's API. Its key is named here and never held."""

    name: str
    url: str
    """What `/chat/completions` is appended to."""
    weight: float = 1.0
    """Its share of the requests, relative to the other servers'."""
    key_env: str | None = None
    """The environment variable that holds its key."""
    key_file: Path | None = None
    """A file with its key, readable by its owner alone."""
    plain_key: bool = False
    """The key may go to another machine unencrypted."""
    load_adapters: bool = False
    """It is a vLLM that may be told to load adapters."""
    adapters_folder: str | None = None
    """Where that machine sees what is here `HONE_HOME/adapters`; None: at the same path."""


@dataclass(frozen=True)
class FleetSettings:
    """`queue`, `deadline` and `context_length` as in `config.Settings`; `default` is what requests without a model
    get."""

    servers: tuple[ServerSettings, ...]
    default: str
    queue: int
    deadline: float
    context_length: int = 4096
    check_seconds: float = 5.0
    """Between two looks at each server."""

    model = "fleet"
    """What the record of a running gateway says in place of a model's name."""


def load(settings: "Settings") -> FleetSettings:
    """
    Raises:
        HoneError: no server is configured, a setting is unknown or has an impossible value, a server's key cannot be
            read, or a repository's file has such a table.
    """
    given: dict[str, Any] = {}
    origin = config.user_file()
    for file, table in config.tables("fleet"):
        # A cloned repository must not decide where prompts are sent.
        if file.name == config.REPOSITORY_FILE:
            raise HoneError(f"{file}: [fleet] cannot be set by a repository; set it in {config.user_file()}")
        origin, given = file, table
    _refuse_unknown(given, _FLEET_KEYS, f"{origin}: fleet")
    seconds = _number(given.get("check_seconds", 5.0), 0.1, f"{origin}: fleet.check_seconds")
    servers = given.get("servers")
    if not isinstance(servers, Mapping) or not servers:
        raise HoneError(
            f"no servers are configured; give each a table in {origin}, for instance "
            '[fleet.servers.one] with url = "http://localhost:8000"'
        )
    read = tuple(_server(name, table, f"{origin}: fleet.servers.{name}") for name, table in servers.items())
    return FleetSettings(
        read, settings.model, settings.queue, settings.deadline, settings.context_length, check_seconds=seconds
    )


def _server(name: str, table: Any, where: str) -> ServerSettings:
    if not _NAME.fullmatch(name):
        raise HoneError(f"{where}: a server's name has letters, digits, dots, dashes and underscores only")
    if not isinstance(table, Mapping):
        raise HoneError(f"{where} must be a table")
    _refuse_unknown(table, [field.name for field in fields(ServerSettings) if field.name != "name"], where)
    if "url" not in table:
        raise HoneError(f"{where} needs a url")
    for key in (*_TEXTS, *_FLAGS):
        wanted: type = str if key in _TEXTS else bool
        if key in table and not (isinstance(table[key], wanted) and table[key] != ""):
            raise HoneError(f"{where}.{key} = {table[key]!r} must be {'text' if wanted is str else 'true or false'}")
    if "key_env" in table and "key_file" in table:
        raise HoneError(f"{where} names its key twice; leave out key_env or key_file")
    try:
        url = base_url(table["url"])
    except HoneError as error:
        raise HoneError(f"{where}: {error}") from error
    keyed = "key_env" in table or "key_file" in table
    if keyed and url.startswith("http:") and not is_local(url) and not table.get("plain_key"):
        raise HoneError(f"{where}: its key would go to {url} unencrypted; use https, or allow it with plain_key = true")
    variable = table.get("key_env")
    file = Path(table["key_file"]).expanduser() if "key_file" in table else None
    # Said now rather than when the gateway runs.
    read_key(variable, file)
    return ServerSettings(
        name,
        url,
        weight=_number(table.get("weight", 1.0), 0.001, f"{where}.weight"),
        key_env=variable,
        key_file=file,
        plain_key=table.get("plain_key", False),
        load_adapters=table.get("load_adapters", False),
        adapters_folder=table.get("adapters_folder"),
    )


def _refuse_unknown(table: Mapping[str, Any], known: "list[str] | tuple[str, ...]", where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0)
            raise HoneError(f"{where}: unknown key {key!r}; the nearest known one is {near[0]!r}")


def _number(value: Any, least: float, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
        raise HoneError(f"{where} = {value!r} must be a number of at least {least:g}")
    return float(value)
