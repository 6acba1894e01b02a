"""What a session file says: a conversation, put together from its events.

Every event is a line of JSON: `session` (the first), `draft`, `queued` and `taken_back`, `user`, `partial` (a piece of
an answer under way) and `answer` (the whole answer), `name`, `forked`, `job` and `job_ended` (a job that was started
from here, and that its end was shown), `left` (the user went away in order). A process killed in mid-answer leaves its
partials, from which the answer is put together when the session is read again; a torn last line is passed over.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from assistant.errors import HoneError
from assistant.skills import material
from assistant.skills.material import Material

SCHEMA_VERSION = 1
Role = Literal["user", "assistant"]
_NO_FINISH = "interrupted"


@dataclass(frozen=True)
class Message:
    role: Role
    text: str
    finish: str | None = None
    """Of an answer: stop, length, cancelled, error, or interrupted when its process died while writing it."""
    model: str | None = None
    at: str = ""
    asked: str = ""
    """Of a question: what the model was told in place of the text, when that was a command."""
    materials: tuple[Material, ...] = ()
    """What a question showed to the model besides its text."""

    @property
    def content(self) -> str:
        """What the model gets of it: the words with the materials."""
        words = self.asked or self.text
        return material.rendered(words, self.materials) if self.materials else words


@dataclass(frozen=True)
class Conversation:
    """What a session file says; `draft` is the text that was typed (or queued) and not yet asked."""

    id: str
    messages: tuple[Message, ...] = ()
    draft: str = ""
    folder: str = ""
    created: str = ""
    name: str = ""
    """What the user called it."""
    jobs: tuple[str, ...] = ()
    """Ids of jobs that were started from here and whose end was not shown yet."""
    left: bool = False
    """The user went away in order, and nothing was written since."""

    @property
    def broke_off(self) -> bool:
        """Its process ended with something unfinished: an answer, a question, a draft, a job that was followed."""
        last = self.messages[-1] if self.messages else None
        unanswered = last is not None and (last.role == "user" or last.finish == _NO_FINISH)
        return not self.left and (unanswered or bool(self.draft or self.jobs))

    @property
    def texts(self) -> tuple[str, ...]:
        """All that can be searched for: the name, the draft, and what was said."""
        return (self.name, self.draft, *(message.text for message in self.messages))

    @cached_property
    def lowered(self) -> tuple[str, ...]:
        """`texts` in lower case, made once: a search looks through all conversations at each key."""
        return tuple(text.lower() for text in self.texts)

    @property
    def title(self) -> str:
        """The name, else the first line that the user wrote."""
        if self.name:
            return self.name
        first = next((message.text for message in self.messages if message.role == "user"), self.draft)
        started = f"job {self.jobs[0]}" if self.jobs else ""
        return next((line.strip() for line in first.splitlines() if line.strip()), started)


def event_of(message: Message) -> dict[str, Any]:
    """The line that keeps a message whole."""
    event: dict[str, Any] = {"type": "user", "text": message.text, "at": message.at}
    if message.role == "assistant":
        return {**event, "type": "answer", "finish": message.finish or _NO_FINISH, "model": message.model}
    if message.asked:
        event["asked"] = message.asked
    if message.materials:
        event["materials"] = [one.as_json() for one in message.materials]
    return event


def read(identifier: str, content: bytes) -> tuple[Conversation, list[str]]:
    """A conversation, and the prompts in its draft that waited for their turn.

    Raises:
        HoneError: a newer Hone wrote it.
    """
    conversation = Conversation(identifier)
    messages: list[Message] = []
    queue: list[str] = []
    partial: list[str] = []
    draft = ""
    events = list(_events(content))

    def close_partial() -> None:
        if partial:
            messages.append(Message("assistant", "".join(partial), _NO_FINISH))
            partial.clear()

    for event in events:
        text = event.get("text")
        match event.get("type"):
            case "session":
                if event.get("schema_version", 0) > SCHEMA_VERSION:
                    raise HoneError(f"session {identifier} was written by a newer Hone; update this one to open it")
                folder, created = str(event.get("folder", "")), str(event.get("created", ""))
                conversation = replace(conversation, folder=folder, created=created)
            case "draft" if isinstance(text, str):
                draft = text
            case "queued" if isinstance(text, str):
                queue.append(text)
                draft = ""
            case "name" if isinstance(text, str):
                conversation = replace(conversation, name=text)
            case "taken_back" if text in queue:
                queue.remove(text)
            case "user" if isinstance(text, str):
                close_partial()
                if text in queue:
                    queue.remove(text)
                else:
                    draft = ""
                at, asked = str(event.get("at", "")), str(event.get("asked", ""))
                messages.append(Message("user", text, at=at, asked=asked, materials=_materials(event)))
            case "partial" if isinstance(text, str):
                partial.append(text)
            case "answer" if isinstance(text, str):
                partial.clear()
                messages.append(_answer(event, text))
    close_partial()
    unsent = "\n\n".join([*queue, draft] if draft else queue)
    # A conversation can be given a name from within another one.
    kinds = [event.get("type") for event in events if event.get("type") != "name"]
    left = kinds[-1:] == ["left"]
    return replace(conversation, messages=tuple(messages), draft=unsent, jobs=_jobs(events), left=left), queue


def _jobs(events: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    ended = {event.get("text") for event in events if event.get("type") == "job_ended"}
    started = dict.fromkeys(str(event.get("text")) for event in events if event.get("type") == "job")
    return tuple(job for job in started if job not in ended)


def _answer(event: Mapping[str, Any], text: str) -> Message:
    model = event.get("model")
    finish, at = str(event.get("finish", _NO_FINISH)), str(event.get("at", ""))
    return Message("assistant", text, finish, model if isinstance(model, str) else None, at)


def _materials(event: Mapping[str, Any]) -> tuple[Material, ...]:
    listed = event.get("materials")
    found = [material.from_json(one) for one in listed] if isinstance(listed, list) else []
    return tuple(one for one in found if one is not None)


def _events(content: bytes) -> Iterator[dict[str, Any]]:
    for line in content.split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event
