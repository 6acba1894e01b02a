"""Tabby's API, for its editor plugins: `/v1/completions` with `segments`, `/v1/events`, `/v1/health`."""

import functools
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from assistant.engines.base import Chunk
from assistant.gateway.around import Around
from assistant.gateway.failures import event
from assistant.gateway.fields import BadFieldError, integer, string
from assistant.gateway.results import Result
from assistant.gateway.sampling import Defaults, Sampling, parse_sampling
from assistant.prompts import Snippet

MAX_SNIPPETS = 64
# Tabby's own: completion.max_decoding_tokens and the sampling temperature of its completions.
_MAX_TOKENS = 64
_TEMPERATURE = 0.1
# The least important first: it is the first to go when not all fit.
_SNIPPETS = ("relevant_snippets_from_recently_opened_files", "relevant_snippets_from_changed_files", "declarations")
SERVER_SETTING = {"disable_client_side_telemetry": True}

EventKind = Literal["view", "select", "dismiss"]
_EVENT_KINDS: tuple[EventKind, ...] = ("view", "select", "dismiss")


@dataclass(frozen=True)
class SegmentsRequest:
    sampling: Sampling
    around: Around
    language: str | None


@dataclass(frozen=True)
class Event:
    """What became of a completion that was shown."""

    kind: EventKind
    completion_id: str
    choice_index: int
    line_only: bool
    """Only a line of it was taken."""
    elapsed_seconds: float | None


def is_tabby(body: Mapping[str, Any]) -> bool:
    return "segments" in body and "prompt" not in body


def parse_segments(body: Mapping[str, Any]) -> SegmentsRequest:
    """
    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    segments = body.get("segments")
    if not isinstance(segments, dict):
        raise BadFieldError("segments", "segments must be an object with prefix and suffix")
    if string(body, "mode") not in (None, "standard"):
        raise BadFieldError("mode", "mode: only standard completions are supported by this gateway")
    around = Around(
        prefix=string(segments, "prefix") or "",
        suffix=string(segments, "suffix") or "",
        path=_one_line(string(segments, "filepath") or "") or None,
        snippets=tuple(snippet for field in _SNIPPETS for snippet in _snippets(segments, field)),
    )
    fields = {name: body.get(name) for name in ("model", "temperature", "seed")}
    return SegmentsRequest(
        Sampling(**parse_sampling(fields, Defaults(_TEMPERATURE, _MAX_TOKENS))), around, string(body, "language")
    )


def _snippets(segments: Mapping[str, Any], field: str) -> list[Snippet]:
    """The best one last."""
    entries = segments.get(field) or []
    if not isinstance(entries, list) or len(entries) > MAX_SNIPPETS:
        raise BadFieldError(field, f"{field} must be a list of at most {MAX_SNIPPETS} snippets")
    found = []
    for entry in entries:
        path, body = (entry.get("filepath"), entry.get("body")) if isinstance(entry, dict) else (None, None)
        if not isinstance(path, str) or not isinstance(body, str):
            raise BadFieldError(field, f"each of {field} must be an object with filepath and body")
        found.append(Snippet(_one_line(path), body))
    return found[::-1]


def _one_line(name: str) -> str:
    return " ".join(name.split())


def parse_event(body: Mapping[str, Any], query: Mapping[str, str]) -> Event:
    """
    Args:
        query: of the URL, where older clients put `select_kind`.

    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    kind = next((known for known in _EVENT_KINDS if known == body.get("type")), None)
    if kind is None:
        raise BadFieldError("type", f"type must be one of {', '.join(_EVENT_KINDS)}")
    identifier = string(body, "completion_id")
    if not identifier:
        raise BadFieldError("completion_id", "completion_id must be the id of a completion")
    select_kind = string(body, "select_kind") or query.get("select_kind")
    elapsed = integer(body, "elapsed", 0, 2**53)
    return Event(
        kind,
        identifier,
        integer(body, "choice_index", 0, 1000) or 0,
        select_kind == "line",
        None if elapsed is None else elapsed / 1000,
    )


class TabbyAnswer:
    """Writes a completion in Tabby's shape; it is never streamed."""

    def __init__(self, identifier: str, model: str, details: Mapping[str, Any]) -> None:
        self._id = identifier
        self._hone = {"model": model, **details}

    def opening(self) -> str:
        return ""

    def piece(self, index: int, chunk: Chunk) -> str:
        return ""

    def ending(self, index: int, result: Result) -> str:
        return ""

    def closing(self, results: Sequence[Result]) -> str:
        return event(self.whole(results))

    def whole(self, results: Sequence[Result]) -> dict[str, Any]:
        choices = [{"index": index, "text": result.text} for index, result in enumerate(results)]
        return {"id": self._id, "choices": choices, "hone": self._hone}


@functools.cache
def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        described = version("hone-assistant")
    except PackageNotFoundError:
        described = "unknown"
    return {"build_date": "", "build_timestamp": "", "git_sha": "", "git_describe": f"hone-{described}"}


def health(model: str) -> dict[str, Any]:
    return {
        "model": model,
        "chat_model": model,
        "device": "cpu",
        "arch": platform.machine(),
        "cpu_info": platform.processor() or platform.machine(),
        "cpu_count": os.cpu_count() or 1,
        "cuda_devices": [],
        "version": _versions(),
    }
