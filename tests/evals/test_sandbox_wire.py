"""What crosses between a candidate and its tests: exact built-in values, and nothing that the candidate can shape."""

import enum
import math
import socket
from collections import Counter, OrderedDict, namedtuple
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.sandbox.inside.remote import one_line
from evals.sandbox.inside.wire import Channel, Closed, ProtocolError, TooLong, Unencodable, decode, encode

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**80)
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
    | st.binary().map(bytearray)
    | st.builds(range, st.integers(), st.integers(), st.integers(min_value=1))
)
KEYS = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.tuples(st.integers(), st.text())
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(KEYS, inner)
        | st.sets(KEYS)
        | st.frozensets(KEYS)
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from("tdsfbacnirokz"), inner, max_size=2)
        | st.builds(lambda tag, value: {tag: value}, st.sampled_from("tdsfbacnir"), inner)
    ),
)


def refuse(*_: Any) -> Any:
    raise Unencodable("thing")


def refuse_form(*_: Any) -> Any:
    raise ProtocolError("no object")


def shape(value: Any) -> Any:
    """A value with the types of all its parts; the order of sets is none."""
    if isinstance(value, list | tuple):
        return type(value), [shape(each) for each in value]
    if isinstance(value, dict):
        return type(value), [(shape(key), shape(each)) for key, each in value.items()]
    if isinstance(value, set | frozenset):
        return type(value), sorted(repr(shape(each)) for each in value)
    return type(value), repr(value)


@settings(max_examples=50)
@given(VALUES)
def test_a_value_comes_back_with_all_its_types(value: Any) -> None:
    one, other = socket.socketpair()
    with one, other:
        if len(repr(encode(value, refuse))) < 50_000:
            Channel(one, 1 << 20).send(encode(value, refuse))
            assert shape(decode(Channel(other, 1 << 20).receive(), refuse_form)) == shape(value)


@given(JSON)
def test_any_json_is_a_value_of_exact_types_or_refused(form: Any) -> None:
    try:
        value = decode(form, refuse_form)
    except ProtocolError:
        return
    assert shape(decode(encode(value, refuse), refuse_form)) == shape(value)


def test_nan_and_infinity_cross() -> None:
    values = decode(encode([math.nan, math.inf, -math.inf, -0.0], refuse), refuse_form)
    assert [repr(value) for value in values] == ["nan", "inf", "-inf", "-0.0"]


def test_a_child_of_a_builtin_crosses_as_what_its_base_holds() -> None:
    class Liar(int):
        def __index__(self) -> int:
            return 7

        def __int__(self) -> int:
            return 7

        def __pos__(self) -> int:
            return 7

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    class Full(list[int]):
        def __iter__(self) -> Any:
            return iter([1, 2, 3])

        def __getitem__(self, key: Any) -> Any:
            return [1, 2, 3]

    class Word(str):
        def __str__(self) -> str:
            return "other"

    point = namedtuple("point", "x y")
    color = enum.IntEnum("color", "red green")
    given = [Liar(3), Full(), Word("own"), Counter("aab"), OrderedDict(a=1), point(1, 2), color.green]
    wanted = [3, [], "own", {"a": 2, "b": 1}, {"a": 1}, (1, 2), 2]
    assert shape(decode(encode(given, refuse), refuse_form)) == shape(wanted)


def test_objects_and_endless_nesting_do_not_cross() -> None:
    deep: list[Any] = []
    deep.append(deep)
    for value in (object(), iter([]), print, deep):
        with pytest.raises(Unencodable):
            encode([value], refuse)


@pytest.mark.parametrize(
    "form", ["[" * 100_000 + "]" * 100_000, "no json", '{"a":', "\xff"], ids=["deep", "words", "half", "bytes"]
)
def test_what_is_no_message_is_refused(form: str) -> None:
    one, other = socket.socketpair()
    with one, other:
        body = form.encode("latin-1")
        other.sendall(len(body).to_bytes(4, "big") + body)
        with pytest.raises(ProtocolError):
            decode(Channel(one, 1 << 20).receive(), refuse_form)


def test_a_long_message_and_a_closed_connection_are_told_apart() -> None:
    one, other = socket.socketpair()
    with one:
        with other:
            other.sendall(b"\xff\xff\xff\xff")
            with pytest.raises(TooLong):
                Channel(one, 100).receive()
            with pytest.raises(TooLong):
                Channel(one, 100).send("x" * 100)
        with pytest.raises(Closed):
            Channel(one, 100).receive()


@given(st.text())
def test_one_line_is_short_and_printable(text: str) -> None:
    line = one_line(text, 20)
    assert len(line) <= 20
    assert line.isprintable()
    assert one_line("\x1b[2Jgone\nnext") == "?[2Jgone next"
