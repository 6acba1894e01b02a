"""Thumbs up and down: what is kept of an answer that was rated."""

from typing import TYPE_CHECKING, Literal

from assistant.sessions import Conversation

if TYPE_CHECKING:
    from assistant.feedback import Feedback

Rating = Literal["up", "down"]


def rate(feedback: "Feedback", kind: Rating, conversation: Conversation, at: int) -> str:
    """Keeps a rating of the answer at a place of a conversation; returns what to say of that.

    Raises:
        HoneError: it cannot be kept.
    """
    answer = conversation.messages[at]
    asked = next((one for one in reversed(conversation.messages[:at]) if one.role == "user"), None)
    feedback.record(
        kind,
        id=f"{conversation.id}:{at}",
        model=answer.model or "unknown",
        adapter=answer.model if answer.model and "@" in answer.model else None,
        source="chat",
        prompt=asked.content if asked else None,
        completion=answer.text,
    )
    return f"Kept as {'good' if kind == 'up' else 'bad'}; `hone feedback` shows it"
