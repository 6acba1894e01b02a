"""`/v1/choices`: how likely each of a few one-token answers is after each of several texts, without generating any.

OpenAI's `logprobs` cannot answer it: they hold the likeliest tokens only, and take a request for each place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assistant.engines import choices
from assistant.engines.base import InvalidRequestError
from assistant.gateway.fields import BadFieldError, integer, model_name


@dataclass(frozen=True)
class ChoicesRequest:
    model: str | None
    texts: tuple[str, ...]
    choices: tuple[str, ...]
    assumed: int


def parse_choices(body: Mapping[str, Any]) -> ChoicesRequest:
    """
    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    texts, words = (_strings(body, field) for field in ("texts", "choices"))
    assumed = integer(body, "assumed", 0, choices.MAX_CHOICES - 1) or 0
    try:
        choices.check(texts, words, assumed)
    except InvalidRequestError as error:
        raise BadFieldError("choices", str(error)) from error
    return ChoicesRequest(model_name(body), texts, words, assumed)


def _strings(body: Mapping[str, Any], field: str) -> tuple[str, ...]:
    value = body.get(field)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadFieldError(field, f"{field} must be a list of strings")
    return tuple(value)


def answer(model: str, logprobs: Sequence[Sequence[float]]) -> dict[str, Any]:
    """
    Args:
        model: the immutable name of what answered.
        logprobs: natural logarithms, a row for each text, in it one for each choice.
    """
    return {"object": "choices", "model": model, "logprobs": [list(row) for row in logprobs]}
