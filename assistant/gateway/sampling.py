"""How to generate: the fields that all generating endpoints share, checked and turned into an engine's request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assistant.engines.base import Engine, Request
from assistant.gateway.fields import BadFieldError, boolean, integer, model_name, number, stop_strings
from assistant.gateway.response_format import parse_response_format

MAX_CHOICES = 16
MAX_LOGPROBS = 20
MAX_SAMPLERS = 16


@dataclass(frozen=True)
class Sampling:
    """`max_tokens` None is as many as the context holds; `choices` is how many answers are made."""

    model: str | None
    max_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repeat_penalty: float
    frequency_penalty: float
    presence_penalty: float
    seed: int | None
    stop: tuple[str, ...]
    stream: bool
    choices: int = 1
    include_usage: bool = False
    json_schema: Mapping[str, Any] | None = None
    logprobs: int | None = None
    samplers: tuple[str, ...] | None = None
    min_indent: int = 0
    line_seconds: float | None = None


@dataclass(frozen=True)
class Defaults:
    """Of one endpoint."""

    temperature: float
    max_tokens: int | None
    limit: str = "max_tokens"
    """The field that holds the most tokens of an answer."""
    least_tokens: int = 1


def parse_sampling(body: Mapping[str, Any], defaults: Defaults) -> dict[str, Any]:
    """The fields of `Sampling` that OpenAI's and llama.cpp's APIs spell alike.

    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    if body.get("logit_bias"):
        raise BadFieldError("logit_bias", "logit_bias is not supported by this gateway")
    max_tokens = integer(body, defaults.limit, defaults.least_tokens, 2**31 - 1)
    top_k = integer(body, "top_k", 0, 2**31 - 1)
    return {
        "model": model_name(body),
        "max_tokens": defaults.max_tokens if max_tokens is None else max_tokens,
        "temperature": number(body, "temperature", defaults.temperature, 0.0, 2.0),
        "top_p": number(body, "top_p", 0.95, 0.0, 1.0),
        "top_k": 40 if top_k is None else top_k,
        "min_p": number(body, "min_p", 0.05, 0.0, 1.0),
        "repeat_penalty": number(body, "repeat_penalty", 1.0, 0.1, 10.0),
        "frequency_penalty": number(body, "frequency_penalty", 0.0, -2.0, 2.0),
        "presence_penalty": number(body, "presence_penalty", 0.0, -2.0, 2.0),
        "seed": integer(body, "seed", -(2**63), 2**64),
        "stop": stop_strings(body),
        "stream": boolean(body, "stream", False),
    }


def parse_openai_sampling(body: Mapping[str, Any], defaults: Defaults, logprobs: int | None) -> Sampling:
    """
    Args:
        logprobs: which each of OpenAI's two endpoints asks for in a way of its own.

    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    choices = integer(body, "n", 1, MAX_CHOICES) or 1
    if body.get("best_of") not in (None, 1, choices):
        raise BadFieldError("best_of", "best_of must be n: this gateway gives every answer that it makes")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise BadFieldError("stream_options", "stream_options must be an object")
    return Sampling(
        **parse_sampling(body, defaults),
        choices=choices,
        include_usage=bool(options and boolean(options, "include_usage", False)),
        json_schema=parse_response_format(body),
        logprobs=logprobs,
    )


def engine_requests(
    sampling: Sampling,
    prompt: str | tuple[int, ...],
    parse_special: bool,
    adapter: str | None,
    engine: Engine,
    verbatim: tuple[tuple[int, int], ...] = (),
) -> list[Request]:
    """One request for each of the answers; with a seed, each has a seed of its own."""
    limit = engine.context_length
    return [
        Request(
            prompt=prompt,
            max_tokens=limit if sampling.max_tokens is None else min(sampling.max_tokens, limit),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            repeat_penalty=sampling.repeat_penalty,
            frequency_penalty=sampling.frequency_penalty,
            presence_penalty=sampling.presence_penalty,
            samplers=_known(sampling.samplers, engine),
            seed=None if sampling.seed is None else sampling.seed + index,
            stop=sampling.stop,
            adapter=adapter,
            parse_special=parse_special,
            verbatim=verbatim,
            json_schema=sampling.json_schema,
            logprobs=sampling.logprobs,
            min_indent=sampling.min_indent,
            line_seconds=sampling.line_seconds,
        )
        for index in range(sampling.choices)
    ]


def ignored_samplers(sampling: Sampling, engine: Engine) -> list[str]:
    """Those that were asked for and that this engine does not have."""
    return [name for name in sampling.samplers or () if name not in engine.samplers]


def _known(samplers: Sequence[str] | None, engine: Engine) -> tuple[str, ...] | None:
    return None if samplers is None else tuple(name for name in samplers if name in engine.samplers)
