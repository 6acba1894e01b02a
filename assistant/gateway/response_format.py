"""`response_format` of OpenAI's API: the JSON schema that an answer must conform to, checked before an engine sees it.

An engine compiles the schema into a grammar in native code. What could make that compiler run away is refused here, and
so is what it cannot compile: llama.cpp would only log that and answer without any constraint.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from assistant.gateway.fields import BadFieldError

MAX_SCHEMA_CHARACTERS = 65_536
MAX_SCHEMA_DEPTH = 32
MAX_REPETITIONS = 1000
"""Of `minItems` and the like, and in a pattern's braces: a grammar holds each repetition as a rule of its own."""
MAX_PATTERN_CHARACTERS = 200

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
"""What `json_object` asks for."""

_FIELD = "response_format"
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_BRACES = re.compile(r"\{(\d+)(?:,(\d*))?\}")


def parse_response_format(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema that the answer must conform to, None for free text.

    Raises:
        BadFieldError: the format is unknown, or the schema malformed, too large or too deep.
    """
    wanted = body.get(_FIELD)
    if wanted is None or wanted == {"type": "text"}:
        return None
    if not isinstance(wanted, dict):
        raise BadFieldError(_FIELD, f"{_FIELD} must be an object")
    if wanted.get("type") == "json_object":
        return ANY_OBJECT
    if wanted.get("type") != "json_schema":
        raise BadFieldError(_FIELD, f"{_FIELD}.type must be text, json_object or json_schema")
    described = wanted.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    if not isinstance(schema, dict):
        raise BadFieldError(_FIELD, f"{_FIELD}.json_schema.schema must be an object, a JSON schema")
    _check(schema)
    return schema


def _check(schema: Mapping[str, Any]) -> None:
    for depth, node in _nodes(schema):
        if depth > MAX_SCHEMA_DEPTH and isinstance(node, dict | list):
            raise BadFieldError(_FIELD, f"the schema is nested more than {MAX_SCHEMA_DEPTH} deep")
        if isinstance(node, dict):
            _check_object(node)
    try:
        size = len(json.dumps(schema, allow_nan=False))
    except ValueError as error:
        raise BadFieldError(_FIELD, f"the schema is not JSON: {error}") from error
    if size > MAX_SCHEMA_CHARACTERS:
        raise BadFieldError(_FIELD, f"the schema has {size} characters, at most {MAX_SCHEMA_CHARACTERS} are taken")
    reason = _compile_error(json.dumps(schema))
    if reason:
        raise BadFieldError(_FIELD, f"the schema cannot be enforced: {' '.join(reason.split())[:300]}")


def _compile_error(schema: str) -> str:
    """Empty when the compiler that is inside llama.cpp, here as a package, takes the schema."""
    from llguidance import LLMatcher

    try:
        return str(LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(schema)))
    except (RuntimeError, ValueError) as error:
        return str(error)


def _check_object(node: Mapping[str, Any]) -> None:
    reference = node.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#"):
        raise BadFieldError(_FIELD, "the schema refers to another document; $ref must begin with #")
    for name in _COUNTS:
        count = node.get(name)
        # Under `properties` such a name stands for a field, whose schema is an object.
        if isinstance(count, int | float) and not 0 <= count <= MAX_REPETITIONS:
            raise BadFieldError(_FIELD, f"{name} in the schema must be from 0 to {MAX_REPETITIONS}")
    pattern = node.get("pattern")
    if isinstance(pattern, str):
        if len(pattern) > MAX_PATTERN_CHARACTERS:
            raise BadFieldError(_FIELD, f"a pattern in the schema is longer than {MAX_PATTERN_CHARACTERS} characters")
        counts = [int(number) for braces in _BRACES.finditer(pattern) for number in braces.groups() if number]
        if max(counts, default=0) > MAX_REPETITIONS:
            raise BadFieldError(_FIELD, f"a pattern in the schema repeats more than {MAX_REPETITIONS} times")


def _nodes(schema: Any) -> Iterator[tuple[int, Any]]:
    """Every value with its depth; without recursion, since depth is what is checked."""
    waiting = [(1, schema)]
    while waiting:
        depth, node = waiting.pop()
        yield depth, node
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        waiting += [(depth + 1, value) for value in inner]
