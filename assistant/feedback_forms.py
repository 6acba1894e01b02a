"""Feedback in the forms of other programs: Tabby's event log and Continue's development data, both JSON Lines.

Tabby: `{"ts": MS, "event": {"completion" | "view" | "select" | "dismiss": {...}}}`, as its server logs them
(crates/tabby-common/src/api/event.rs). Continue: schema 0.2.0 of its events `autocomplete`, `chatFeedback` and
`editOutcome` (packages/config-yaml/src/schemas/data).
"""

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from assistant import prompts
from assistant.errors import HoneError
from assistant.feedback_events import Event, Kind, Source
from assistant.feedback_summary import Story, stories

Form = Literal["tabby", "continue"]
FORMS: tuple[Form, ...] = ("tabby", "continue")
CONTINUE_SCHEMA = "0.2.0"
_OUR_AGENT = "hone"
_NOT_IN_AN_ID = re.compile(r"[^\w.:@\-]")


@dataclass(frozen=True)
class Foreign:
    """An event of another program, ready for `Feedback.record`."""

    kind: Kind
    id: str
    time: datetime
    user: str | None
    model: str
    source: Source = "complete"
    language: str | None = None
    prompt: str | None = None
    completion: str | None = None
    seconds: float | None = None
    path: str | None = None
    rendered: bool = True


def read(form: Form, lines: Iterable[str]) -> Iterator[Foreign]:
    """The events of a file, in its order; blank lines and events of other kinds are passed over.

    A completion's prompt is written anew from what stood before the cursor, in Hone's own form.

    Raises:
        HoneError: a line is not what that program writes; the line is named.
    """
    completions: dict[str, Mapping[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            if not isinstance(content, dict):
                raise TypeError("it is no JSON object")
            yield from _from_tabby(content, completions) if form == "tabby" else _from_continue(content)
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError, OSError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise HoneError(f"line {number} is no event of {form.capitalize()}'s form: {what}") from error


def write(form: Form, events: Iterable[Event]) -> Iterator[dict[str, Any]]:
    """The lines of a file, as JSON values. What the form has no place for is left out: edits, of Tabby's also thumbs;
    of Continue's what nobody judged, and what has no texts."""
    for story in stories(events):
        yield from _to_tabby(story) if form == "tabby" else _to_continue(story)


def _from_tabby(content: Mapping[str, Any], completions: dict[str, Mapping[str, Any]]) -> Iterator[Foreign]:
    ((name, event),) = _object(content["event"], "event").items()
    event = _object(event, name)
    if name == "completion":
        completions[_text(event["completion_id"])] = {**event, "user": event.get("user", content.get("user"))}
        return
    kinds: dict[str, Kind] = {"view": "shown", "select": "accepted", "dismiss": "rejected"}
    if name not in kinds:
        return
    made = completions.get(_text(event["completion_id"]), {})
    choice, elapsed = int(event["choice_index"]), event.get("elapsed")
    texts = {int(one["index"]): _text(one["text"]) for one in made.get("choices", ())}
    text = texts.get(choice)
    partly = name == "select" and event.get("kind") == "line"
    if partly and text is not None:
        text = text.partition("\n")[0]
    segments = _object(made.get("segments") or {}, "segments")
    yield Foreign(
        kind="partly" if partly else kinds[name],
        id=_identity("tabby", event["completion_id"], choice),
        time=datetime.fromtimestamp(int(content["ts"]) / 1000, UTC),
        user=made.get("user"),
        model="Tabby",
        language=made.get("language"),
        prompt=_prompt(segments.get("filepath"), segments.get("prefix", made.get("prompt"))),
        completion=None if name == "dismiss" else text,
        seconds=None if elapsed is None else int(elapsed) / 1000,
        path=segments.get("filepath"),
    )


def _from_continue(content: Mapping[str, Any]) -> Iterator[Foreign]:
    name = content.get("eventName") or _continue_name(content)
    common: dict[str, Any] = {
        "time": _time(content["timestamp"]),
        "user": content.get("userId") or None,
        "model": str(content.get("modelName") or "Continue"),
    }
    if name == "autocomplete":
        path = content.get("filepath") or None
        ours = content.get("userAgent") == _OUR_AGENT
        shown = {
            **common,
            "id": _identity("continue", content["completionId"], 0),
            "path": path,
            "prompt": content.get("prompt") if ours else _prompt(path, content.get("prefix")),
        }
        yield Foreign(kind="shown", completion=_text(content["completion"]), **shown)
        # Without an answer nobody decided.
        if content.get("accepted") is True:
            yield Foreign(kind="accepted", completion=_text(content["completion"]), **shown)
        elif content.get("accepted") is False:
            yield Foreign(kind="rejected", **shown)
    elif name in ("chatFeedback", "editOutcome"):
        good = content.get("feedback") if name == "chatFeedback" else content["accepted"]
        if good is None:
            return
        thumbs = name == "chatFeedback"
        kind: Kind = ("up" if good else "down") if thumbs else ("accepted" if good else "rejected")
        told = json.dumps(content, sort_keys=True)
        yield Foreign(
            kind=kind,
            id=_identity("continue", str(uuid.uuid5(uuid.NAMESPACE_OID, told)), 0),
            source="chat",
            prompt=_text(content["prompt"]),
            completion=_text(content["completion"]),
            rendered=False,
            **common,
        )


def _continue_name(content: Mapping[str, Any]) -> str:
    """Continue's files are named after the event, and older ones do not repeat it on each line."""
    if "completionId" in content:
        return "autocomplete"
    return "editOutcome" if "newCode" in content else "chatFeedback"


def _to_tabby(story: Story) -> Iterator[dict[str, Any]]:
    first = story.first
    if first.source != "complete":
        return
    identity = {"completion_id": first.id, "choice_index": 0}
    if story.prompt is not None and story.shown is not None:
        yield _tabby(
            story,
            "completion",
            {
                "completion_id": first.id,
                "language": first.language or "",
                "prompt": story.prompt,
                "choices": [{"index": 0, "text": story.shown}],
                **({"user": first.user} if first.user else {}),
            },
        )
    if "shown" in story.kinds:
        yield _tabby(story, "view", identity)
    if story.verdict in ("accepted", "partly"):
        yield _tabby(story, "select", {**identity, **({"kind": "line"} if story.verdict == "partly" else {})})
    elif story.verdict == "rejected":
        yield _tabby(story, "dismiss", identity)


def _tabby(story: Story, name: str, event: Mapping[str, Any]) -> dict[str, Any]:
    return {"ts": round(datetime.fromisoformat(story.first.time).timestamp() * 1000), "event": {name: event}}


def _to_continue(story: Story) -> Iterator[dict[str, Any]]:
    first = story.first
    text = story.shown or story.accepted
    if story.prompt is None or text is None:
        return
    common = {
        "schema": CONTINUE_SCHEMA,
        "timestamp": datetime.fromisoformat(first.time).astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "userId": first.user or "",
        "userAgent": _OUR_AGENT,
        "selectedProfileId": "",
        "modelProvider": "hone",
        "modelName": first.model,
        "completionOptions": {},
    }
    if first.source == "complete" and story.verdict != "ignored":
        yield {
            "eventName": "autocomplete",
            **common,
            "accepted": story.verdict != "rejected",
            "time": 0,
            "prefix": story.prompt,
            "suffix": "",
            "prompt": story.prompt,
            "completion": text,
            "cacheHit": False,
            "filepath": first.path or "",
            "completionId": first.id,
            "uniqueId": "",
        }
    elif first.source == "chat" and story.thumb is not None:
        yield {
            "eventName": "chatFeedback",
            **common,
            "modelTitle": first.model,
            "prompt": story.prompt,
            "completion": text,
            "feedback": story.thumb == "up",
            "sessionId": str(uuid.uuid5(uuid.NAMESPACE_OID, first.id)),
        }


def _prompt(path: str | None, before: str | None) -> str | None:
    if before is None:
        return None
    return prompts.completion(path, before) if path else before


def _identity(program: str, identity: Any, choice: int) -> str:
    made = f"{program}:{identity}" + (f":{choice}" if choice else "")
    return _NOT_IN_AN_ID.sub("-", made)[:128]


def _time(value: Any) -> datetime:
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value / 1000, UTC)
    time = datetime.fromisoformat(_text(value))
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{name} is no object")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]} is no text")
    return value
