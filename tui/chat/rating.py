"""Thumbs up and down: what is kept of an answer that was rated."""

from typing import TYPE_CHECKING, Literal

from assistant.conversations import Conversation

if TYPE_CHECKING:
    from assistant.feedback import Feedback
    from assistant.feedback_events import Event

Rating = Literal["up", "down"]


def rate(feedback: "Feedback", kind: Rating, conversation: Conversation, at: int) -> str:
    """Keeps a rating of the answer at a place of a conversation; returns what to say of that.

    Raises:
        HoneError: it cannot be kept.
    """
    answer = conversation.messages[at]
    asked = next((one for one in reversed(conversation.messages[:at]) if one.role == "user"), None)
    event = feedback.record(
        kind,
        id=f"{conversation.id}:{at}",
        model=answer.model or "unknown",
        adapter=answer.model if answer.model and "@" in answer.model else None,
        source="chat",
        prompt=asked.content if asked else None,
        completion=answer.text,
    )
    return f"Kept as {'good' if kind == 'up' else 'bad'}{_texts(feedback, event)}"


def _texts(feedback: "Feedback", event: "Event") -> str:
    """What became of the texts."""
    if not event.withheld:
        return "; `hone feedback` shows it"
    if feedback.keeps_texts():
        return ", without its texts: they are too long, or a secret in them could not be taken out"
    elsewhere = "" if feedback.repository is not None else " --elsewhere"
    return f", without its texts: to be learnt from they must be kept, which `hone feedback on{elsewhere}` allows"
