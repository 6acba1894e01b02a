"""Messages between processes: a length and JSON, and plain Python values as tagged JSON.

Only exact built-in types cross. A subclass of one crosses as the value that its base type holds, so that a `__eq__` or
an `__iter__` of its own never counts. Anything else crosses as a handle or not at all.
"""

import builtins
import contextlib
import json
import operator
import struct
from collections.abc import Callable
from typing import Any

HEADER = struct.Struct("!I")
_SMALL = 1 << 62
_DEPTH = 200
_PLAIN = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    list,
    tuple,
    dict,
    set,
    frozenset,
    range,
    object,
    type(None),
)
_ERRORS = tuple(kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, Exception))
_TYPES: dict[str, type] = {kind.__name__: kind for kind in (*_PLAIN, *_ERRORS)}


class ProtocolError(Exception):
    """The other side sent something that is no message."""


class TooLong(Exception):
    """A message is longer than agreed."""


class Closed(Exception):
    """The other side is gone."""


class Unencodable(Exception):
    """A value cannot cross; `kind` names its type."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Channel:
    """Messages over a connected stream socket, each `!I` length and JSON; none longer than `limit` bytes."""

    def __init__(self, connection: Any, limit: int) -> None:
        self._connection = connection
        self._limit = limit

    def send(self, message: Any) -> None:
        """Raises: Closed, TooLong, RecursionError."""
        body = json.dumps(message).encode("ascii")
        if len(body) > self._limit:
            raise TooLong(f"{len(body)} bytes")
        try:
            self._connection.sendall(HEADER.pack(len(body)) + body)
        except OSError as error:
            raise Closed from error

    def receive(self) -> Any:
        """Raises: Closed, TooLong, ProtocolError (no JSON)."""
        (length,) = HEADER.unpack(self._exactly(HEADER.size))
        if length > self._limit:
            raise TooLong(f"{length} bytes")
        try:
            return json.loads(self._exactly(length))
        except (ValueError, RecursionError) as error:
            raise ProtocolError("no JSON") from error

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            try:
                part = self._connection.recv(min(count - len(parts), 1 << 20))
            except OSError as error:
                raise Closed from error
            if not part:
                raise Closed
            parts += part
        return bytes(parts)


def encode(value: Any, other: Callable[[Any], Any], depth: int = 0) -> Any:
    """JSON for a value; `other` makes the JSON of what is no plain value, or raises Unencodable.

    Raises:
        Unencodable: nested deeper than 200, or what `other` raises.
    """
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if -_SMALL < value < _SMALL else {"i": hex(value)}
    if kind is float:
        return value if value - value == 0 else {"n": repr(value)}
    if depth >= _DEPTH:
        raise Unencodable("value nested deeper than 200")
    depth += 1
    if kind is list:
        return [encode(each, other, depth) for each in value]
    if kind is tuple:
        return {"t": [encode(each, other, depth) for each in value]}
    if kind is dict:
        return {"d": [[encode(key, other, depth), encode(each, other, depth)] for key, each in value.items()]}
    if kind is set or kind is frozenset:
        return {"s" if kind is set else "f": [encode(each, other, depth) for each in value]}
    if kind is bytes or kind is bytearray:
        return {"b" if kind is bytes else "a": value.hex()}
    if kind is complex:
        return {"c": [repr(value.real), repr(value.imag)]}
    if kind is type and value in _TYPES.values():
        return {"y": value.__name__}
    if kind is range:
        return {"r": [encode(part, other, depth) for part in (value.start, value.stop, value.step)]}
    base = plain(value, kind)
    return other(value) if base is None else encode(base[0], other, depth)


def plain(value: Any, kind: type) -> tuple[Any] | None:
    """What the built-in base of a subclass holds (a Counter is a dict, numpy's float64 a float, its int64 an index)."""
    if issubclass(kind, type):
        return None
    for base, read in _BASES:
        if issubclass(kind, base):
            return (read(value),)
    if hasattr(kind, "__index__"):
        with contextlib.suppress(Exception):  # An array has it too, and raises.
            return (int.__pos__(operator.index(value)),)
    return None


# The readers are the base's own methods: what a subclass overrides is not asked. They return the exact base type.
_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, int.__pos__),
    (float, float.__pos__),
    (complex, complex.__pos__),
    (str, lambda value: str.__getitem__(value, slice(None))),
    (list, lambda value: list.__getitem__(value, slice(None))),
    (tuple, lambda value: tuple(tuple.__iter__(value))),
    (dict, lambda value: dict(dict.items(value))),
    (set, lambda value: set(set.__iter__(value))),
    (frozenset, lambda value: frozenset(frozenset.__iter__(value))),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    (bytearray, lambda value: bytearray.__getitem__(value, slice(None))),
)


def decode(message: Any, other: Callable[[str, Any], Any]) -> Any:
    """The value of a JSON form; exact built-in types only. `other` reads the tags `o` (an object of the sender) and `k`
    (an object of the receiver), or raises ProtocolError.

    Raises:
        ProtocolError: no form that `encode` makes.
    """
    try:
        return _decode(message, other)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ProtocolError(f"no value: {error}") from error


def _decode(message: Any, other: Callable[[str, Any], Any]) -> Any:
    if message is None or isinstance(message, bool | int | float | str):
        return message
    if isinstance(message, list):
        return [_decode(each, other) for each in message]
    if not isinstance(message, dict) or len(message) != 1:
        raise ProtocolError("no value")
    tag, content = next(iter(message.items()))
    if tag in {"o", "k"}:
        return other(tag, content)
    return _decode_tagged(tag, content, other)


def _decode_tagged(tag: str, content: Any, other: Callable[[str, Any], Any]) -> Any:
    if tag == "t":
        return tuple(_decode(each, other) for each in _list(content))
    if tag == "d":
        return {_decode(key, other): _decode(each, other) for key, each in map(_list, _list(content))}
    if tag == "s":
        return {_decode(each, other) for each in _list(content)}
    if tag == "f":
        return frozenset(_decode(each, other) for each in _list(content))
    if tag == "b":
        return bytes.fromhex(content)
    if tag == "a":
        return bytearray.fromhex(content)
    if tag == "i":
        return int(content, 16)
    if tag == "y" and isinstance(content, str) and content in _TYPES:
        return _TYPES[content]
    if tag == "n":
        return float(content)
    if tag == "c":
        real, imaginary = _list(content)
        return complex(float(real), float(imaginary))
    if tag != "r":
        raise ProtocolError("no value")
    return range(*(operator.index(_decode(each, other)) for each in _list(content)))


def _list(content: Any) -> list[Any]:
    if not isinstance(content, list):
        raise ProtocolError("no list")
    return content
