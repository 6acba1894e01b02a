"""Settings. Each later source wins: defaults, the repository's hone.toml, the user's config.toml, HONE_*, flags."""

import difflib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from assistant.errors import HoneError

REPOSITORY_FILE = "hone.toml"
_NOT_FROM_A_REPOSITORY = frozenset({"host", "port"})
"""A cloned repository must not decide what this machine exposes."""
_TABLES = frozenset({"app", "chat", "fleet", "jobs", "keys", "ray", "review", "slurm", "tune"})
"""Tables of the files that are no settings of this floor; who reads one checks it."""


class Settings(BaseSettings):
    """What the user can set; every field is a key in the files and, as HONE_<FIELD>, an environment variable."""

    model_config = SettingsConfigDict(env_prefix="HONE_", extra="forbid", frozen=True, env_ignore_empty=True)

    model: str = Field("smollm2-135m", min_length=1)
    """Base name, path, hub id, adapter NAME[@DIGEST] or alias."""
    context_length: int = Field(4096, ge=256)
    """Tokens; models with less get less."""
    threads: int | None = Field(None, ge=1)
    """None: as many as there are physical cores."""
    slots: int = Field(2, ge=1, le=64)
    """Requests that llama.cpp computes together, others wait; each takes the memory of a whole context. Two, so that a
    completion does not wait for a chat answer that is being written."""
    queue: int = Field(256, ge=1, le=10_000)
    """Answers that a gateway makes or lets wait; more are turned away."""
    deadline: float = Field(600.0, gt=0, le=86_400)
    """Seconds that a request to a gateway may take when it does not say itself."""
    host: str = "127.0.0.1"
    port: int = Field(8873, ge=0, le=65535)
    """Of `hone serve`; 0 lets the system choose. Gateways that commands start for themselves take any free one."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        files = [InitSettingsSource(settings_cls, _read(file)) for file in _files()]
        return init_settings, env_settings, *reversed(files)


def load_settings(**flags: Any) -> Settings:
    """The settings in force here and now. A flag that is None was not given.

    Raises:
        HoneError: a file that is not TOML, an unknown key (the nearest known one is named), or a bad value.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "settings"
        raise HoneError(f"{_origin(key, given)}: {key} = {first['input']!r} is not possible: {first['msg']}") from error


def user_file() -> Path:
    """The user's own configuration file; it need not exist."""
    import platformdirs

    return Path(platformdirs.user_config_dir("hone", appauthor=False)) / "config.toml"


def repository_file() -> Path | None:
    """The hone.toml of the repository around the current folder, None when there is none.

    Looked for upwards to the repository's root and no further: above it, files belong to others. Outside any
    repository only the current folder counts.
    """
    here = Path.cwd()
    folders = [here, *here.parents]
    root = next((index for index, folder in enumerate(folders) if (folder / ".git").exists()), 0)
    return next((file for folder in folders[: root + 1] if (file := folder / REPOSITORY_FILE).is_file()), None)


def _files() -> list[Path]:
    """The configuration files that exist, weakest first."""
    own = user_file()
    return [file for file in (repository_file(), own if own.is_file() else None) if file]


def tables(name: str) -> list[tuple[Path, dict[str, Any]]]:
    """The table `name` of each configuration file that has it, weakest first; its keys are not checked here.

    Raises:
        HoneError: a file that is not TOML, or `name` is no table in it.
    """
    found = [(file, loaded[name]) for file in _files() if name in (loaded := _load(file))]
    wrong = next((file for file, content in found if not isinstance(content, dict)), None)
    if wrong is not None:
        raise HoneError(f"{wrong}: {name!r} must be a table, [{name}]")
    return found


def _read(file: Path) -> dict[str, Any]:
    loaded = {key: value for key, value in _load(file).items() if key not in _TABLES}
    for key in loaded:
        if key not in Settings.model_fields:
            near = difflib.get_close_matches(key, Settings.model_fields, n=1, cutoff=0)
            raise HoneError(f"{file}: unknown key {key!r}; the nearest known one is {near[0]!r}")
        if file.name == REPOSITORY_FILE and key in _NOT_FROM_A_REPOSITORY:
            raise HoneError(f"{file}: {key!r} cannot be set by a repository; set it in {user_file()} or by a flag")
    return loaded


def _load(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise HoneError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise HoneError(f"{file} is not valid TOML: {error}") from error


def _origin(key: str, flags: dict[str, Any]) -> str:
    """Where the value in force of `key` comes from."""
    import os

    if key in flags:
        return "flag"
    if os.environ.get(f"HONE_{key.upper()}"):
        return f"HONE_{key.upper()}"
    return next((str(file) for file in reversed(_files()) if key in _read(file)), "settings")
