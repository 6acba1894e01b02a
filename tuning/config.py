"""A run's configuration from all the places it comes from. Each later one wins: defaults, what the task suggests, the
[tune] table of hone.toml and of the user's config.toml, --config, flags.

Strict: an unknown key, a wrong type and a contradiction are refused in one line that says where the value came from.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from assistant import config as settings
from assistant.errors import HoneError, UsageError
from tuning.plan import (
    KEYS,
    NULLABLE,
    SECTIONS,
    SHORT_NAMES,
    Plan,
    PlanError,
    changed_keys,
    from_json,
    nearest_key,
    to_json,
)
from tuning.plan_checks import BASE_CHANGING, contradiction

LIMITS = ("steps", "minutes", "epochs")
DEFAULT_EPOCHS = 2.0
DEFAULT = "default"

TASKS: Mapping[str, Mapping[str, Any]] = {
    "code": {},
    "review": {
        "examples.code_rate": 0.0,
        "examples.review_rate": 1.0,
        "examples.review_form": "rewriting",
        "examples.reviews_per_file": 24,
        "examples.review_lines": 30,
        "examples.review_twins": True,
        "examples.review_several": 0.9,
        "corpus.replay": 0.75,
        "corpus.replay_source": "installed:all",
    },
    "chat": {"examples.instruct_rate": 0.5},
}
"""What a task changes in the defaults."""

_REPLACES: Mapping[str, tuple[str, ...]] = {**dict.fromkeys(LIMITS, LIMITS), "corpus.sources": ("corpus.weights",)}
"""Settings that leave nothing of these from an earlier place: another limit, the weights of other sources."""

_NOT_FROM_A_REPOSITORY = frozenset(
    {
        "tracker",
        "corpus.sources",
        "corpus.weights",
        "corpus.replay",
        "corpus.replay_source",
        "corpus.decontaminate_files",
        "corpus.redact",
        "feedback.rows",
        "feedback.start",
    }
)
"""A cloned repository must not decide what of this machine is read, learnt or sent."""


@dataclass(frozen=True)
class Setting:
    value: Any
    origin: str
    """A file, or a flag as the user typed it."""


Layer = Mapping[str, Setting]
"""Dotted key -> setting, from one place."""


@dataclass(frozen=True)
class Configuration:
    plan: Plan
    origins: Mapping[str, str]
    """Of every key: `default`, a task, a file or a flag."""

    @property
    def given(self) -> frozenset[str]:
        """The keys that somebody set to something else than their default, which a printed configuration repeats."""
        return changed_keys(self.plan)


def configure(layers: Iterable[Layer]) -> Configuration:
    """The plan that these layers, weakest first, come to; it has one of steps, minutes and epochs.

    Raises:
        UsageError: a wrong type or range, or values that contradict each other.
    """
    settings_in_force: dict[str, Setting] = {}
    checked = [layer for layer in layers if _checked(layer)]
    task = next((layer["examples.task"].value for layer in reversed(checked) if "examples.task" in layer), "code")
    suggested = {key: Setting(value, f"task {task}") for key, value in TASKS[task].items()}
    init = next((layer["lora.init"].value for layer in reversed(checked) if "lora.init" in layer), "default")
    if BASE_CHANGING.fullmatch(init) and not any(
        layer["dtype"].value != "auto" for layer in checked if "dtype" in layer
    ):
        # The fastest number format may be one that cannot hold such a start exactly.
        checked.append({"dtype": Setting("float32", f"lora.init {init}")})
    for layer in (suggested, *checked):
        limits = [layer[key] for key in LIMITS if key in layer and _value(key, layer[key].value) is not None]
        if len(limits) > 1:
            names = ", ".join(dict.fromkeys(limit.origin for limit in limits))
            raise UsageError(f"{names}: give only one of steps, minutes and epochs")
        for replaced in {replaced for key in layer for replaced in _REPLACES.get(key, ())}:
            settings_in_force.pop(replaced, None)
        settings_in_force.update(layer)
    values = {key: _value(key, setting.value) for key, setting in settings_in_force.items()}
    if all(values.get(limit) is None for limit in LIMITS):
        values["epochs"] = DEFAULT_EPOCHS
        settings_in_force.pop("epochs", None)
    plan = from_json(_nested(values))
    origins = {key: settings_in_force[key].origin if key in settings_in_force else DEFAULT for key in KEYS}
    found = contradiction(plan)
    if found is not None:
        keys, reason = found
        places = [origins[key] for key in keys if origins.get(key, DEFAULT) != DEFAULT]
        raise UsageError(": ".join([", ".join(dict.fromkeys(places)), reason] if places else [reason]))
    return Configuration(plan, origins)


def _checked(layer: Layer) -> Layer:
    """
    Raises:
        UsageError: a value that no plan has.
    """
    for key, setting in layer.items():
        try:
            from_json(_nested({key: _value(key, setting.value)}))
        except PlanError as error:
            raise UsageError(f"{setting.origin}: {error}") from error
    return layer


def _value(key: str, value: Any) -> Any:
    return None if key in NULLABLE and value == "none" else value


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = value
    return nested


def flattened(content: Mapping[str, Any], origin: str) -> Layer:
    """The layer of a parsed TOML file.

    Raises:
        UsageError: an unknown key; the nearest known one is named.
    """
    layer: dict[str, Setting] = {}
    for name, value in content.items():
        if name in SECTIONS and isinstance(value, Mapping):
            layer |= {f"{name}.{inner}": Setting(content, origin) for inner, content in value.items()}
        else:
            layer[name] = Setting(value, origin)
    for key in layer:
        if key not in KEYS or (key in content and "." in key):
            raise UsageError(f"{origin}: {key!r} is no setting; the nearest one is {nearest_key(key)!r}")
    return layer


def read_file(file: Path) -> Layer:
    """
    Raises:
        HoneError: the file cannot be read, is no TOML (the line is named), or has an unknown key.
    """
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise HoneError(f"cannot read {file}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise HoneError(f"{file} is not valid TOML: {error}") from error
    return flattened(content, str(file))


def own_files() -> list[Layer]:
    """The [tune] tables of the repository's hone.toml and of the user's config.toml, weakest first.

    Raises:
        HoneError: an unknown key, or one that a repository must not set.
    """
    layers = []
    for file, content in settings.tables("tune"):
        layer = flattened(content, f"{file} [tune]")
        refused = next((key for key in layer if key in _NOT_FROM_A_REPOSITORY), None)
        if refused is not None and file.name == settings.REPOSITORY_FILE:
            raise HoneError(
                f"{file} [tune]: {refused!r} cannot be set by a repository; set it in {settings.user_file()}, "
                "by --config or by a flag"
            )
        layers.append(layer)
    return layers


def assigned(assignments: Sequence[str], flag: str = "--set") -> Layer:
    """The layer of `--set key=value`: a dotted key and a TOML value; a word needs no quotes.

    Raises:
        UsageError: no such key, or nothing after the =.
    """
    layer: dict[str, Setting] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key, text = key.strip(), text.strip()
        key = SHORT_NAMES.get(key, key)
        if not equals or not text:
            raise UsageError(f"{flag} {assignment}: write key=value, like {flag} lora.rank=16")
        if key not in KEYS:
            raise UsageError(f"{flag} {assignment}: {key!r} is no setting; the nearest one is {nearest_key(key)!r}")
        layer[key] = Setting(toml_value(text), f"{flag} {key}")
    return layer


def swept(axes: Sequence[str]) -> Layer:
    """The layer of `--sweep key=v1,v2,...`, one or several of them.

    Raises:
        UsageError: no such key, or no values.
    """
    sweep: dict[str, list[Any]] = {}
    for axis in axes:
        key, _, text = axis.partition("=")
        key, values = SHORT_NAMES.get(key.strip(), key.strip()), [value.strip() for value in text.split(",")]
        if not all(values):
            raise UsageError(f"--sweep {axis}: write key=value,value, like --sweep lr=2e-4,5e-4,1e-3")
        if key not in KEYS:
            raise UsageError(f"--sweep {axis}: {key!r} is no setting; the nearest one is {nearest_key(key)!r}")
        sweep[key] = [toml_value(value) for value in values]
    return {"sweep": Setting(sweep, "--sweep")} if sweep else {}


def toml_value(text: str) -> Any:
    """What `text` means after the = of a TOML file; what is no TOML value is the text itself."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text


def to_toml(configuration: Configuration) -> str:
    """A file that `read_file` reads back to the same plan, with the origin of every value beside it."""
    content = to_json(configuration.plan)
    lines = []
    for section, keys in groupby(KEYS, key=lambda key: key.rpartition(".")[0]):
        if section:
            lines += ["", f"[{section}]"]
        values = content[section] if section else content
        entries = [(f"{(name := key.rpartition('.')[2])} = {_toml(values[name])}", key) for key in keys]
        width = min(60, max(len(entry) for entry, _ in entries))
        lines += [f"{entry:<{width}}  # {_comment(configuration.origins[key])}" for entry, key in entries]
    return "\n".join(lines) + "\n"


def _comment(origin: str) -> str:
    """A comment must not end at a line end in a file's name."""
    return "".join(character if character.isprintable() else "?" for character in origin)


def _toml(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(name)} = {_toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for the delete character, which only JSON allows as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
