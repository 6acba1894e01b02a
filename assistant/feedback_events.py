"""One event of feedback: what became of a suggestion or an answer, and the line that says it."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from assistant.errors import HoneError, UsageError

Kind = Literal["shown", "accepted", "partly", "rejected", "edited", "up", "down"]
"""`shown` was visible long enough to be read; `partly`: a line or a word of it was accepted; `edited`: looked at again
some time after it was accepted, see `Event.survival`; `up` and `down` are thumbs."""
Source = Literal["complete", "chat", "review"]
"""Of `review` there is what was dismissed: the question on a line that the model had found wrong."""

KINDS: tuple[Kind, ...] = get_args(Kind)
SOURCES: tuple[Source, ...] = get_args(Source)
SCHEMA_VERSION = 3
"""1 had no repository, path, user and rendered, 2 no model_sha256; their lines are read as they are."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[\w.:@\-]{1,128}")


@dataclass(frozen=True)
class Event:
    """One line of the file."""

    id: str
    """Of the suggestion or answer; all of its events have the same one."""
    time: str
    """UTC, ISO 8601."""
    kind: Kind
    source: Source
    model: str
    """Immutable name."""
    adapter: str | None
    language: str | None
    prompt_sha256: str | None
    """Of the prompt as it was asked."""
    prompt: str | None
    """Redacted."""
    completion: str | None
    """Redacted: of `shown` and the thumbs what was shown, of `accepted` and `partly` what was accepted."""
    survival: float | None
    """Of `edited`: the share of the accepted words that are still there."""
    seconds: float | None
    """Of `edited`: how long after it was accepted."""
    withheld: bool
    """There were texts, and they were left out."""
    repository: str | None = None
    """`feedback_consent.key_of` of the one it happened in; None where that is not known."""
    path: str | None = None
    """From the repository's root, `/` separated; only where texts are kept."""
    user: str | None = None
    """Of an import: as the other program names its users. None is this machine's own."""
    rendered: bool = True
    """The prompt is as the model read it; else it is a question, without chat template and what was said before."""
    model_sha256: str | None = None
    """Of a base model: of its weights, tokenizer and template. None of an adapter, whose name has its digest and whose
    digest covers its base, and of models that are not on this machine."""


def check(
    kind: str,
    identity: str,
    model: str,
    adapter: str | None,
    language: str | None,
    source: str,
    prompt_sha256: str | None,
    survival: float | None,
    seconds: float | None,
) -> None:
    """
    Raises:
        UsageError: a field is not what it must be; the line says which.
    """
    if kind not in KINDS:
        raise UsageError(f"{kind!r:.40} is no kind of feedback; there are {', '.join(KINDS)}")
    if source not in SOURCES:
        raise UsageError(f"{source!r:.40} is no source of feedback; there are {', '.join(SOURCES)}")
    if not _ID.fullmatch(identity):
        raise UsageError("the id of a suggestion is 1 to 128 letters, digits, dots, colons, @ or dashes")
    if any(len(text) > 512 for text in (model, adapter or "", language or "")):
        raise UsageError("model, adapter and language of feedback are names, of 512 characters at most")
    if prompt_sha256 is not None and not _DIGEST.fullmatch(prompt_sha256):
        raise UsageError("prompt_sha256 is 64 hexadecimal digits")
    if seconds is not None and not 0 <= seconds < 10**9:
        raise UsageError(f"seconds is a time from 0 on, got {seconds}")
    if survival is not None and not 0 <= survival <= 1:
        raise UsageError(f"survival is a share from 0 to 1, got {survival}")


def older_than(days: float, now: datetime | None = None) -> Callable[[Event], bool]:
    """Whether an event is older than so many days; one without a time that can be read is."""
    limit = (now or datetime.now(UTC)) - timedelta(days=days)

    def is_older(event: Event) -> bool:
        time = time_of(event)
        return time is None or time < limit

    return is_older


def time_of(event: Event) -> datetime | None:
    """In UTC; None where it cannot be read."""
    try:
        return datetime.fromisoformat(event.time).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


_FIELDS = {field.name for field in fields(Event)}
_SINCE_3 = {"model_sha256"}
_SINCE_2 = {"repository", "path", "user", "rendered", *_SINCE_3}


def parsed(line: bytes) -> Event | None:
    """The event of a line; None of a damaged one.

    Raises:
        HoneError: a newer Hone wrote it, so it must neither be dropped nor misread.
    """
    try:
        data: Any = json.loads(line)
        if not isinstance(data, dict):
            return None
        written = data.get("schema_version")
        if isinstance(written, int) and written > SCHEMA_VERSION:
            raise HoneError(f"feedback was written by a newer Hone (schema {written}); update this one")
        if data.get("kind") not in KINDS or not isinstance(data.get("id"), str):
            return None
        missing = _FIELDS - data.keys()
        if missing - (_SINCE_2 if written == 1 else _SINCE_3 if written == 2 else set()):
            return None
        return Event(**{name: data[name] for name in _FIELDS - missing})
    except (ValueError, RecursionError):
        return None
