"""Conversations as files for people and programs, and a search through all that was said."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.conversations import Conversation, Message
from assistant.skills.material import fenced

_AROUND = 40
"""Characters shown on both sides of what was searched for."""


@dataclass(frozen=True)
class Hit:
    conversation: Conversation
    excerpt: str
    """The line that holds the words, shortened around them; empty when only the name does or nothing was asked."""


def search(query: str, conversations: Sequence[Conversation]) -> list[Hit]:
    """The conversations that hold every word of `query`, in their names or in what was said, in the order given.

    Letters count alike in upper and lower case. An empty query finds all.
    """
    words = query.lower().split()
    hits: list[Hit] = []
    for conversation in conversations:
        if all(any(word in text for text in conversation.lowered) for word in words):
            hits.append(Hit(conversation, _excerpt(conversation, words)))
    return hits


def _excerpt(conversation: Conversation, words: list[str]) -> str:
    if not words:
        return ""
    for text, lowered in zip(conversation.texts[1:], conversation.lowered[1:], strict=True):
        place = lowered.find(words[0])
        if place >= 0:
            start, end = text.rfind("\n", 0, place) + 1, text.find("\n", place)
            line = text[max(start, place - _AROUND) : min(end if end >= 0 else len(text), place + _AROUND)]
            return " ".join(line.split())
    return ""


def markdown(conversation: Conversation) -> str:
    """A conversation for people: what was asked, with the material shown, and the answers as they were written."""
    title = conversation.title or "Conversation"
    lines = [f"# {title}", "", f"Conversation {conversation.id}, {conversation.created}", ""]
    for message in conversation.messages:
        lines += [f"## {_heading(message)}", "", message.text.strip("\n"), ""]
        for one in message.materials:
            note = f" ({one.note})" if one.note else ""
            summary = _escaped(f"{one.title or 'Standard input'}{note}")
            lines += [f"<details><summary>{summary}</summary>", "", fenced(one.text), "", "</details>", ""]
    return "\n".join(lines)


def as_json(conversation: Conversation) -> str:
    """A conversation for programs, one JSON object."""
    messages = []
    for message in conversation.messages:
        entry = {"role": message.role, "text": message.text, "at": message.at}
        if message.role == "assistant":
            entry |= {"finish": message.finish or "", "model": message.model or ""}
        messages.append({**entry, "materials": [one.as_json() for one in message.materials]})
    head = {"schema_version": 1, "id": conversation.id, "name": conversation.title}
    head |= {"created": conversation.created, "folder": conversation.folder}
    return json.dumps({**head, "messages": messages}, ensure_ascii=False, indent=2) + "\n"


def file_name(conversation: Conversation, ending: str) -> str:
    """A name for an export that any file system takes."""
    words = re.sub(r"[\W_]+", "-", conversation.title.lower()).strip("-")[:40].rstrip("-")
    return f"hone-{conversation.id}{'-' + words if words else ''}.{ending}"


def _heading(message: Message) -> str:
    if message.role == "user":
        return "Question"
    ended = f", {message.finish}" if message.finish not in (None, "stop") else ""
    return f"Answer ({message.model}{ended})" if message.model else f"Answer{ended}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
