"""`/v1/likelihoods`: how likely given answers are, each after a text and all that was before, without generating any.

OpenAI's `logprobs` cannot answer it: they are of what the model wrote itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assistant.engines.base import InvalidRequestError
from assistant.engines.likelihoods import check_answers, check_texts
from assistant.gateway.fields import BadFieldError, model_name


@dataclass(frozen=True)
class LikelihoodsRequest:
    model: str | None
    texts: tuple[str, ...]
    answers: tuple[str, ...]


def parse_likelihoods(body: Mapping[str, Any]) -> LikelihoodsRequest:
    """
    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    texts, answers = (_strings(body, field) for field in ("texts", "answers"))
    try:
        check_texts(texts)
    except InvalidRequestError as error:
        raise BadFieldError("texts", str(error)) from error
    try:
        check_answers(texts, answers)
    except InvalidRequestError as error:
        raise BadFieldError("answers", str(error)) from error
    return LikelihoodsRequest(model_name(body), texts, answers)


def _strings(body: Mapping[str, Any], field: str) -> tuple[str, ...]:
    value = body.get(field)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadFieldError(field, f"{field} must be a list of strings")
    return tuple(value)


def answer(model: str, logprobs: Sequence[Sequence[float]]) -> dict[str, Any]:
    """
    Args:
        model: the immutable name of what answered.
        logprobs: natural logarithms, a row for each answer, in it one for each token.
    """
    return {"object": "likelihoods", "model": model, "logprobs": [list(row) for row in logprobs]}
