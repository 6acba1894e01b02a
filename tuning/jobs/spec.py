"""What a job shall do: steps of command lines, and what they need of the machine. Plain JSON, read strictly."""

import json
import re
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from assistant.errors import HoneError
from tuning.jobs.ray_settings import RaySettings
from tuning.jobs.slurm_settings import SlurmSettings

FILE_NAME = "spec.json"
SCHEMA = 1
_STEP_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_PLACE = re.compile(r"\{([a-z0-9-]+)\.([a-z_]+)\}")
_JOB = "{job}"


@dataclass(frozen=True)
class Step:
    """One command; the next step begins when it ends with 0."""

    name: str
    argv: tuple[str, ...]
    """`{job}` at its beginning stands for the job's folder, `{tune.adapter}` for what the step `tune` reported as
    `adapter`."""
    resume: tuple[str, ...] = ()
    """How it goes on from a checkpoint; empty: by the same command."""
    run: str = ""
    """The tuning run whose checkpoints count; empty: it has none."""


@dataclass(frozen=True)
class Spec:
    name: str
    """What it makes or measures, for people."""
    command: tuple[str, ...]
    """As the user gave it, without the program."""
    folder: str
    """Where its commands run."""
    steps: tuple[Step, ...]
    after: tuple[str, ...] = ()
    """Jobs that must have ended well before this one starts."""
    priority: int = 0
    """A job of a higher one goes first."""
    memory: int = 0
    """Bytes it is expected to need."""
    cores: int = 1
    limit: int = 1
    """It starts when fewer jobs than this are running."""
    nice: int = 10
    threads: int | None = None
    """Of arithmetic, None: as many as the libraries take."""
    stop_seconds: float = 120.0
    """How long a step that is told to leave may take for its checkpoint."""
    environment: dict[str, str] = field(default_factory=dict)
    """Set for the steps besides what the submitting process has; never secrets, which are not stored."""
    slurm: SlurmSettings | None = None
    """What it asks Slurm for, which then runs it."""
    ray: RaySettings | None = None
    """What it asks Ray for, likewise."""

    @property
    def is_local(self) -> bool:
        """It runs on the machine that it was submitted on."""
        return self.slurm is None and self.ray is None


class BadSpec(HoneError):
    """A spec.json that is none."""


def to_json(spec: Spec) -> dict[str, Any]:
    return {"schema_version": SCHEMA, **asdict(spec)}


def read(file: Path) -> Spec:
    """
    Raises:
        BadSpec: not readable, of another version, or a key is unknown, missing or of another type.
    """
    try:
        state = file.stat()
        return _read(file, state.st_ino, state.st_mtime_ns, state.st_size)
    except (OSError, ValueError, BadSpec) as error:
        raise BadSpec(f"{file} is no job: {error}") from error


@lru_cache(maxsize=4096)
def _read(file: Path, *_state: int) -> Spec:
    """A file is read once for each state it is in: a screen asks every second."""
    return from_json(json.loads(file.read_text("utf-8")))


def from_json(content: Any) -> Spec:
    """
    Raises:
        BadSpec: as `read`.
    """
    if not isinstance(content, dict):
        raise BadSpec("not an object")
    if content.get("schema_version") != SCHEMA:
        raise BadSpec(f"schema_version is {content.get('schema_version')!r}; this Hone reads {SCHEMA}")
    # Jobs from before Slurm, or Ray, could be asked have no such key.
    given = {"slurm": None, "ray": None, **content}
    spec = _built(Spec, {key: value for key, value in given.items() if key != "schema_version"}, "")
    assert isinstance(spec, Spec)
    check(spec)
    return spec


def check(spec: Spec) -> None:
    """
    Raises:
        BadSpec: no steps, two of one name, or an empty command.
    """
    names = [step.name for step in spec.steps]
    if not names or len(set(names)) < len(names):
        raise BadSpec("a job needs steps of different names")
    for step in spec.steps:
        if not _STEP_NAME.fullmatch(step.name) or not step.argv:
            raise BadSpec(f"a step needs a name of small letters and a command, not {step.name!r}")
    if not Path(spec.folder).is_absolute():
        raise BadSpec(f"folder must be absolute, not {spec.folder!r}")


def filled(argv: tuple[str, ...], job: Path, reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The command line with its places filled; what else stands in braces is the user's.

    Args:
        reports: by step that there is, the object it printed.

    Raises:
        HoneError: a step has not reported what is asked.
    """

    def value(match: re.Match[str]) -> str:
        step, key = match.groups()
        if step not in reports:
            return match[0]
        found = reports[step].get(key)
        if not isinstance(found, str | int | float):
            raise HoneError(f"step {step} has not reported {key}")
        return str(found)

    def of_job(word: str) -> str:
        return f"{job}{word.removeprefix(_JOB)}" if word == _JOB or word.startswith(f"{_JOB}/") else word

    return [_PLACE.sub(value, of_job(word)) for word in argv]


def _built(kind: Any, value: Any, where: str) -> Any:
    """`value` as an instance of the type `kind`; nothing is converted but lists to tuples and integers to floats."""
    if type(value) is kind:
        return value
    origin = get_origin(kind)
    if hasattr(kind, "__dataclass_fields__"):
        if not isinstance(value, dict):
            raise BadSpec(f"{where or 'it'} must be an object")
        known = _types(kind)
        unknown = sorted(value.keys() - known.keys())
        if unknown:
            raise BadSpec(f"unknown key {where}{unknown[0]!r}")
        given = {key: _built(known[key], one, f"{where}{key}") for key, one in value.items()}
        missing = [name for name in known if name not in given]
        if missing:
            raise BadSpec(f"{where}{missing[0]} is missing")
        return kind(**given)
    if origin is tuple:
        if not isinstance(value, list):
            raise BadSpec(f"{where} must be a list")
        return tuple(_built(get_args(kind)[0], one, f"{where}[{index}].") for index, one in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            raise BadSpec(f"{where} must be an object of texts")
        return dict(value)
    if origin in (Union, types.UnionType):
        return None if value is None else _built(get_args(kind)[0], value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    raise BadSpec(f"{where.rstrip('.')} must be of type {kind.__name__}, not {value!r}")


@cache
def _types(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, in their order."""
    return get_type_hints(kind)
