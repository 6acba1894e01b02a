"""A table of the user's own configuration file as a frozen dataclass, read strictly."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from assistant.errors import HoneError

Kind = TypeVar("Kind")


def load(
    name: str,
    kind: type[Kind],
    least: Mapping[str, float],
    most: Mapping[str, float],
    complaint: Callable[[str, Any], str | None] = lambda key, value: None,
) -> Kind:
    """The table `name` as a `kind`, whose fields are its keys: whole numbers, numbers, booleans, texts of one line, and
    tuples of such texts.

    Args:
        least: the smallest value of each number.
        most: the largest one, where there is one.
        complaint: what is wrong with a key's value besides.

    Raises:
        HoneError: a key is unknown or has an impossible value, or a repository's file has such a table.
    """
    # Supervisors read specs, which hold such settings; what parses files would take megabytes of each of them.
    from assistant import config

    given: dict[str, Any] = {}
    types = get_type_hints(kind)
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    for file, table in config.tables(name):
        # A cloned repository must not start programs, spend somebody's hours or take a whole machine.
        if file.name == config.REPOSITORY_FILE:
            raise HoneError(f"{file}: [{name}] cannot be set by a repository; set it in {config.user_file()}")
        for key, value in table.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0)
                raise HoneError(f"{file}: unknown key {name}.{key}; the nearest known one is {near[0]!r}")
            wrong = _wrong(value, types[key], least.get(key), most.get(key)) or complaint(key, value)
            if wrong is not None:
                raise HoneError(f"{file}: {name}.{key} {wrong}")
            given[key] = _converted(value, types[key])
    return kind(**given)


def is_line(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _wrong(value: Any, kind: Any, least: float | None, most: float | None) -> str | None:
    """What a value lacks to be one of this type and within these bounds; None when nothing."""
    allowed = get_args(kind) or (kind,)
    if get_origin(kind) is tuple:
        good = isinstance(value, list) and all(is_line(one) and one for one in value)
        return None if good else f"= {value!r} must be a list of texts of one line, one word each"
    if bool in allowed:
        return None if isinstance(value, bool) else f"= {value!r} must be true or false"
    if str in allowed:
        return None if is_line(value) else f"= {value!r} must be a text of one line"
    if isinstance(value, bool) or not isinstance(value, int | float if float in allowed else int):
        return f"= {value!r} must be a {'' if float in allowed else 'whole '}number"
    if least is not None and not least <= value <= (float("inf") if most is None else most):
        bounds = f"at least {least:g}" if most is None else f"{least:g} to {most:g}"
        return f"= {value!r} is not possible; allowed: {bounds}"
    return None


def _converted(value: Any, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        return tuple(value)
    return float(value) if kind is float else value
