"""Requests that are passed on to other servers: checked as this gateway's own are, and only fields named here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assistant.feedback_events import Source
from assistant.gateway import around, likelihoods, native, openai, tabby
from assistant.gateway.fleet_server import Kind
from assistant.gateway.sampling import Sampling
from assistant.prompts import CompletionMode, FimTokens

TOKENIZE = "/v1/tokenize"
APPLY_TEMPLATE = "/apply-template"
_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "stream",
)
_OPENAI = (*_SAMPLING, "max_tokens", "n", "logprobs", "response_format", "stream_options")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "/v1/chat/completions": (*_OPENAI, "max_completion_tokens", "top_logprobs"),
    "/v1/completions": (*_OPENAI, "prompt", "suffix", "parse_special", "verbatim"),
    "/v1/fim/completions": (*_OPENAI, "prompt", "suffix", "parse_special", "verbatim"),
    "/infill": (
        *_SAMPLING,
        "input_prefix",
        "input_suffix",
        "input_extra",
        "prompt",
        "n_predict",
        "n_indent",
        "t_max_predict_ms",
        "samplers",
        "response_fields",
    ),
    "/completion": (*_SAMPLING, "prompt", "n_predict", "n_indent", "t_max_predict_ms", "samplers", "response_fields"),
    TOKENIZE: ("texts", "parse_special"),
    "/v1/likelihoods": ("texts", "answers"),
    APPLY_TEMPLATE: ("messages",),
}
_SEGMENTS = ("segments", "language", "temperature", "seed", "mode")
_ONLY_HONE_TAKES = frozenset({"parse_special", "verbatim"})
_VLLM_NAMES = {"repeat_penalty": "repetition_penalty"}


@dataclass(frozen=True)
class Need:
    """What of a request not every server does, in words, and the kinds that do."""

    what: str
    kinds: tuple[Kind, ...] = ("hone",)


@dataclass(frozen=True)
class Sent:
    """A request as one server gets it."""

    body: dict[str, Any]
    mode: CompletionMode | None = None
    """Of a prompt that was built here around a cursor."""


@dataclass(frozen=True)
class Forwarded:
    """A request as it goes to a server, but for the model's name there."""

    path: str
    body: Mapping[str, Any]
    model: str | None
    answers: int = 1
    stream: bool = False
    need: Need | None = None
    source: Source = "complete"
    language: str | None = None
    prompt: str | None = None
    """None when it is token ids or a conversation, which the server writes out."""

    def for_server(self, kind: Kind, model: str, fim: FimTokens | None) -> Sent:
        """
        Args:
            model: the name by which it lists the model.
            fim: of a vLLM's model, which gets a suffix as a prompt in the model's own form.
        """
        body = {"model": model, **self.body}
        if kind == "hone":
            return Sent(body)
        names = _VLLM_NAMES if kind == "vllm" else {}
        body = {names.get(name, name): value for name, value in body.items() if name not in _ONLY_HONE_TAKES}
        if kind != "vllm" or "suffix" not in body:
            return Sent(body)
        prompt = around.build(around.Around(str(body["prompt"]), str(body.pop("suffix"))), fim)
        return Sent({**body, "prompt": prompt.text}, prompt.mode)


def parse(path: str, body: Mapping[str, Any]) -> Forwarded:
    """
    Args:
        path: one of those above.

    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    if path == "/v1/completions" and tabby.is_tabby(body):
        segments = tabby.parse_segments(body)
        kept = _kept(body, _SEGMENTS)
        before = segments.around.prefix
        form = Need("Tabby's form of a completion")
        return Forwarded(path, kept, segments.sampling.model, 1, False, form, "complete", segments.language, before)
    kept = _kept(body, _FIELDS[path])
    if path == "/v1/chat/completions":
        chat = openai.parse_chat(body)
        return _generating(path, {**kept, "messages": list(chat.messages)}, chat.sampling, None, "chat")
    if path in ("/v1/completions", "/v1/fim/completions"):
        text = openai.parse_completion(body)
        # Other servers refuse a suffix or get it wrong; for vLLM the prompt is made here.
        suffixed = Need("a suffix", ("hone", "vllm")) if text.suffix is not None else None
        need = suffixed if path == "/v1/completions" else Need(path)
        prompt = text.prompt if isinstance(text.prompt, str) else list(text.prompt)
        return _generating(path, {**kept, "prompt": prompt}, text.sampling, need, "complete", text.prompt)
    if path == "/infill":
        infill = native.parse_infill(body)
        return _generating(path, kept, infill.sampling, Need(path), "complete", infill.prefix + infill.middle)
    if path == "/completion":
        raw = native.parse_raw(body)
        return _generating(path, kept, raw.sampling, Need(path), "complete", raw.prompt)
    if path == APPLY_TEMPLATE:
        return Forwarded(path, kept, openai.parse_chat(body).sampling.model, need=Need(path))
    if path == TOKENIZE:
        return Forwarded(path, kept, openai.parse_tokenize(body).model, need=Need(path, ("hone", "vllm")))
    return Forwarded(path, kept, likelihoods.parse_likelihoods(body).model, need=Need(path))


def _kept(body: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: body[name] for name in names if body.get(name) is not None}


def _generating(
    path: str,
    body: Mapping[str, Any],
    sampling: Sampling,
    need: Need | None,
    source: Source,
    prompt: str | tuple[int, ...] | None = None,
) -> Forwarded:
    told = prompt if isinstance(prompt, str) else None
    return Forwarded(path, body, sampling.model, sampling.choices, sampling.stream, need, source, None, told)
