"""Which schemas may reach an engine."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.gateway.fields import BadFieldError
from assistant.gateway.response_format import (
    ANY_OBJECT,
    MAX_PATTERN_CHARACTERS,
    MAX_REPETITIONS,
    MAX_SCHEMA_CHARACTERS,
    MAX_SCHEMA_DEPTH,
    parse_response_format,
)


def asking(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth - 1):
        schema = {"items": schema}
    return schema


def test_text_is_free_and_json_object_is_any_object() -> None:
    assert parse_response_format({}) is None
    assert parse_response_format({"response_format": None}) is None
    assert parse_response_format({"response_format": {"type": "text"}}) is None
    assert parse_response_format({"response_format": {"type": "json_object"}}) == ANY_OBJECT


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"pattern": {"type": "string"}, "maxItems": {"type": "integer"}}},
        {"$ref": "#/$defs/node", "$defs": {"node": {"type": "array", "maxItems": MAX_REPETITIONS}}},
        {"type": "string", "pattern": "^[a-z]{1,8}$"},
        nested(MAX_SCHEMA_DEPTH),
    ],
)
def test_an_ordinary_schema_passes_unchanged(schema: dict[str, Any]) -> None:
    assert parse_response_format(asking(schema)) == schema


@pytest.mark.parametrize(
    "body",
    [
        {"response_format": "json"},
        {"response_format": {"type": "yaml"}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": None}}},
        asking("string"),
        asking({"$ref": "https://example.com/schema.json"}),
        asking({"$ref": "file:///etc/passwd"}),
        asking({"type": "array", "maxItems": MAX_REPETITIONS + 1}),
        asking({"type": "string", "minLength": -1}),
        asking({"type": "string", "maxLength": float("nan")}),
        asking({"type": "string", "pattern": "^(a{1,9999}){1,9}$"}),
        asking({"type": "string", "pattern": "a" * (MAX_PATTERN_CHARACTERS + 1)}),
        asking({"const": float("inf")}),
        asking({"type": "nonsense"}),
        asking({"$ref": "#/nowhere"}),
        asking({"not": {"type": "string"}}),
        asking({"type": "string", "pattern": "("}),
        asking({"enum": ["x" * MAX_SCHEMA_CHARACTERS]}),
        asking(nested(MAX_SCHEMA_DEPTH + 1)),
    ],
)
def test_what_could_run_away_or_cannot_be_enforced_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(BadFieldError) as caught:
        parse_response_format(body)
    assert caught.value.field == "response_format"
    assert "\n" not in str(caught.value)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("pattern"), inner, max_size=3),
    max_leaves=12,
)


@given(_json)
def test_every_schema_passes_whole_or_is_refused(schema: Any) -> None:
    try:
        assert parse_response_format(asking(schema)) == schema
    except BadFieldError as error:
        assert error.field == "response_format"  # noqa: PT017
