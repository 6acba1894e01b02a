"""Fields of a request's JSON object, each read with its own check."""

from collections.abc import Mapping
from typing import Any

from assistant.errors import HoneError

MAX_STOP_STRINGS = 16


class BadFieldError(HoneError):
    """A field of the request is missing, malformed or not supported."""

    def __init__(self, field: str | None, message: str) -> None:
        super().__init__(message)
        self.field = field


def boolean(body: Mapping[str, Any], field: str, default: bool) -> bool:
    """
    Raises:
        BadFieldError: as all functions here do, naming the field.
    """
    value = body.get(field)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadFieldError(field, f"{field} must be true or false")
    return value


def integer(body: Mapping[str, Any], field: str, low: int, high: int) -> int | None:
    value = body.get(field)
    if value is None:
        return None
    if type(value) is not int or not low <= value <= high:
        raise BadFieldError(field, f"{field} must be a whole number from {low} to {high}, got {value!r:.40}")
    return value


def number(body: Mapping[str, Any], field: str, default: float, low: float, high: float) -> float:
    value = body.get(field)
    if value is None:
        return default
    # Comparisons with NaN are false, so NaN is refused too.
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadFieldError(field, f"{field} must be a number from {low:g} to {high:g}, got {value!r:.40}")
    return float(value)


def string(body: Mapping[str, Any], field: str) -> str | None:
    value = body.get(field)
    if value is not None and not isinstance(value, str):
        raise BadFieldError(field, f"{field} must be a string")
    return value


def model_name(body: Mapping[str, Any]) -> str | None:
    return string(body, "model") or None


def stop_strings(body: Mapping[str, Any]) -> tuple[str, ...]:
    value = body.get("stop")
    if value is None:
        return ()
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list) or not all(isinstance(text, str) and text for text in strings):
        raise BadFieldError("stop", "stop must be a string or a list of strings, none of them empty")
    if len(strings) > MAX_STOP_STRINGS:
        raise BadFieldError("stop", f"stop has {len(strings)} strings, at most {MAX_STOP_STRINGS} are taken")
    return tuple(strings)
