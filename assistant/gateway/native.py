"""llama.cpp's own API, which llama.vim, llama.vscode and Continue speak: `/infill` and `/completion`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assistant.engines.base import Chunk, Usage
from assistant.gateway.failures import event
from assistant.gateway.fields import BadFieldError, integer, number, string
from assistant.gateway.openai import text_or_tokens
from assistant.gateway.results import Result, measured
from assistant.gateway.sampling import MAX_SAMPLERS, Defaults, Sampling, parse_sampling
from assistant.prompts import Snippet

MAX_SNIPPETS = 256
_NAMELESS = "snippet"
"""Path of a snippet that has none."""


@dataclass(frozen=True)
class InfillRequest:
    """What stands around the cursor: `middle` is the beginning of its line, right after `prefix`."""

    sampling: Sampling
    prefix: str
    middle: str
    suffix: str
    snippets: tuple[Snippet, ...]
    response_fields: tuple[str, ...] | None


@dataclass(frozen=True)
class RawRequest:
    sampling: Sampling
    prompt: str | tuple[int, ...]
    response_fields: tuple[str, ...] | None


def parse_infill(body: Mapping[str, Any]) -> InfillRequest:
    """
    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    return InfillRequest(
        _sampling(body),
        prefix=string(body, "input_prefix") or "",
        middle=string(body, "prompt") or "",
        suffix=string(body, "input_suffix") or "",
        snippets=_snippets(body.get("input_extra")),
        response_fields=_response_fields(body.get("response_fields")),
    )


def parse_raw(body: Mapping[str, Any]) -> RawRequest:
    """
    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    return RawRequest(_sampling(body), text_or_tokens(body), _response_fields(body.get("response_fields")))


def _sampling(body: Mapping[str, Any]) -> Sampling:
    """llama.cpp's own default temperature; `n_predict` -1 is without a limit. What a client says about the prompt cache
    is not asked: it is always on."""
    unlimited = {**body, "n_predict": None} if body.get("n_predict") == -1 else body
    samplers = body.get("samplers")
    if samplers is not None:
        known = isinstance(samplers, list) and all(isinstance(name, str) for name in samplers)
        if not known or len(samplers) > MAX_SAMPLERS:
            raise BadFieldError("samplers", f"samplers must be a list of at most {MAX_SAMPLERS} names")
    milliseconds = number(body, "t_max_predict_ms", 0.0, 0.0, 1e9)
    return Sampling(
        **parse_sampling(unlimited, Defaults(0.8, None, "n_predict", least_tokens=0)),
        samplers=None if samplers is None else tuple(samplers),
        min_indent=integer(body, "n_indent", 0, 10_000) or 0,
        line_seconds=milliseconds / 1000 if milliseconds else None,
    )


def _snippets(extra: Any) -> tuple[Snippet, ...]:
    if extra is None:
        return ()
    if not isinstance(extra, list) or len(extra) > MAX_SNIPPETS:
        raise BadFieldError("input_extra", f"input_extra must be a list of at most {MAX_SNIPPETS} objects")
    found = []
    for index, entry in enumerate(extra):
        field = f"input_extra[{index}]"
        text = entry.get("text") if isinstance(entry, dict) else None
        name = entry.get("filename") if isinstance(entry, dict) else None
        if not isinstance(text, str) or not isinstance(name, str | None):
            raise BadFieldError(field, f"{field} must be an object with text and filename")
        found.append(Snippet(_one_line(name or "") or _NAMELESS, text))
    return tuple(found)


def _one_line(name: str) -> str:
    return " ".join(name.split())


def _response_fields(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > 64 or not all(isinstance(path, str) for path in value):
        raise BadFieldError("response_fields", "response_fields must be a list of at most 64 names")
    return tuple(value)


class NativeAnswer:
    """Writes an answer in llama.cpp's shape.

    Args:
        response_fields: paths such as `timings/prompt_n`, each of which becomes a field of that very name; None is all.
    """

    def __init__(
        self, identifier: str, model: str, details: Mapping[str, Any], response_fields: Sequence[str] | None = None
    ) -> None:
        self._id = identifier
        self._model = model
        self._details = details
        self._response_fields = response_fields
        self._tokens = 0

    def opening(self) -> str:
        return ""

    def piece(self, index: int, chunk: Chunk) -> str:
        return event({"index": index, "content": chunk.text, "tokens": [], "stop": False})

    def ending(self, index: int, result: Result) -> str:
        return event(self._object("", result))

    def closing(self, results: Sequence[Result]) -> str:
        return ""

    def whole(self, results: Sequence[Result]) -> dict[str, Any]:
        return self._object(results[0].text, results[0])

    def _object(self, content: str, result: Result) -> dict[str, Any]:
        usage = result.usage
        whole = {
            "index": 0,
            "id": self._id,
            "content": content,
            "tokens": [],
            "stop": True,
            # Whether a stop string or the end token ended it is not known here.
            "stop_type": "limit" if result.reason == "length" else "eos",
            "model": self._model,
            "tokens_predicted": usage.completion_tokens,
            "tokens_evaluated": usage.prompt_tokens,
            "tokens_cached": usage.prompt_tokens + usage.completion_tokens,
            "truncated": bool(self._details.get("truncated")),
            "timings": _timings(usage),
            "hone": {"model": self._model, **self._details, **measured(usage)},
        }
        if self._response_fields is None:
            return whole
        found = {path: _at(whole, path.split("/")) for path in self._response_fields}
        return {path: value for path, value in found.items() if value is not None}


def _at(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _timings(usage: Usage) -> dict[str, Any]:
    computed = usage.prompt_tokens - usage.cached_tokens
    return {
        "cache_n": usage.cached_tokens,
        **_rates("prompt", computed, usage.prompt_seconds),
        **_rates("predicted", usage.completion_tokens, usage.completion_seconds),
    }


def _rates(name: str, tokens: int, seconds: float) -> dict[str, Any]:
    return {
        f"{name}_n": tokens,
        f"{name}_ms": seconds * 1000,
        f"{name}_per_token_ms": seconds * 1000 / tokens if tokens else 0.0,
        f"{name}_per_second": tokens / seconds if seconds > 0 else 0.0,
    }
