"""Requests in the OpenAI API's shapes, checked.

Fields that the API knows and this gateway cannot honour are refused, unknown ones are ignored, and only the fields
named here ever reach an engine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from assistant.gateway.fields import BadFieldError, boolean, integer, model_name, string
from assistant.gateway.sampling import MAX_LOGPROBS, Defaults, Sampling, parse_openai_sampling

MAX_TEXTS = 4096
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class ChatRequest:
    sampling: Sampling
    messages: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class CompletionRequest:
    sampling: Sampling
    prompt: str | tuple[int, ...]
    suffix: str | None
    parse_special: bool
    verbatim: tuple[tuple[int, int], ...] = ()
    """Parts of the prompt that spell no control token."""


@dataclass(frozen=True)
class TokenizeRequest:
    model: str | None
    texts: tuple[str, ...]
    parse_special: bool


def parse_chat(body: Mapping[str, Any]) -> ChatRequest:
    """
    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadFieldError("messages", "messages must be a list with at least one message")
    if body.get("tools") and body.get("tool_choice") != "none":
        raise BadFieldError("tools", "tools are not supported by this gateway")
    limit = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    asked = boolean(body, "logprobs", False)
    top = integer(body, "top_logprobs", 0, MAX_LOGPROBS)
    if top is not None and not asked:
        raise BadFieldError("top_logprobs", "top_logprobs needs logprobs: true")
    sampling = parse_openai_sampling(body, Defaults(0.7, None, limit), (top or 0) if asked else None)
    return ChatRequest(sampling, tuple(_message(message, index) for index, message in enumerate(messages)))


def parse_completion(body: Mapping[str, Any]) -> CompletionRequest:
    """
    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    prompt = text_or_tokens(body)
    suffix = string(body, "suffix")
    if not prompt and suffix is None:
        raise BadFieldError("prompt", "prompt is empty")
    if suffix and not isinstance(prompt, str):
        raise BadFieldError("suffix", "suffix needs a prompt of text, not of token ids")
    if body.get("echo"):
        raise BadFieldError("echo", "echo is not supported by this gateway")
    logprobs = integer(body, "logprobs", 0, MAX_LOGPROBS)
    sampling = parse_openai_sampling(body, Defaults(1.0, 16, least_tokens=0), logprobs)
    verbatim = _spans(body.get("verbatim"), prompt)
    # Around the cursor in an empty file there is nothing; a suffix that is empty otherwise is none.
    around = suffix if suffix or prompt == "" else None
    return CompletionRequest(sampling, prompt, around, boolean(body, "parse_special", True), verbatim)


def text_or_tokens(body: Mapping[str, Any]) -> str | tuple[int, ...]:
    """The prompt, which may be empty.

    Raises:
        BadFieldError: it is neither one text nor one list of token ids.
    """
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list) and all(type(token) is int and 0 <= token < 2**31 for token in prompt):
        return tuple(prompt)
    raise BadFieldError("prompt", "prompt must be one string or one list of token ids")


def parse_tokenize(body: Mapping[str, Any]) -> TokenizeRequest:
    """
    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    texts = body.get("texts")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadFieldError("texts", "texts must be a list of strings")
    if len(texts) > MAX_TEXTS:
        raise BadFieldError("texts", f"texts has {len(texts)} entries, at most {MAX_TEXTS} are taken at once")
    return TokenizeRequest(model_name(body), tuple(texts), boolean(body, "parse_special", False))


def _spans(value: Any, prompt: str | tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    if value is None:
        return ()
    pairs: list[Any] = value if isinstance(value, list) and isinstance(prompt, str) else [None]
    if not all(isinstance(pair, list) and len(pair) == 2 and all(type(at) is int for at in pair) for pair in pairs):
        raise BadFieldError("verbatim", "verbatim must be a list of [start, end] in characters of a prompt of text")
    bounds = [0, *(at for pair in pairs for at in pair), len(prompt)]
    if any(one > other for one, other in pairwise(bounds)) or any(start == end for start, end in pairs):
        raise BadFieldError("verbatim", "verbatim must name parts of the prompt in their order, none empty")
    return tuple((start, end) for start, end in pairs)


def model_list(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": [{"object": "model", "owned_by": "hone", **entry} for entry in entries]}


def _message(message: Any, index: int) -> dict[str, str]:
    field = f"messages[{index}]"
    if not isinstance(message, dict):
        raise BadFieldError(field, f"{field} must be an object with role and content")
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise BadFieldError(f"{field}.role", f"{field}.role must be one of {', '.join(_ROLES)}, got {role!r:.40}")
    content = message.get("content")
    if isinstance(content, list):
        parts = []
        for part in content:
            if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise BadFieldError(f"{field}.content", f"{field}.content: only parts of type text are supported")
            parts.append(part["text"])
        content = "".join(parts)
    if content is None and role == "assistant":
        content = ""
    if not isinstance(content, str):
        raise BadFieldError(f"{field}.content", f"{field}.content must be text")
    return {"role": _ROLES[role], "content": content}
