"""From what a person types to what the model is asked: the words, and what they mention."""

from assistant.conversations import Message
from assistant.errors import UsageError
from assistant.skills import mentions, tasks, traces
from assistant.skills.material import Material
from assistant.skills.mentions import Place
from assistant.skills.tasks import Skill


def of_text(text: str, place: Place) -> Message:
    """A question in the user's own words.

    Raises:
        HoneError: a mention that cannot be shown; see `mentions.expand`.
    """
    expanded = mentions.expand(text, place)
    asked = expanded.text if expanded.text != text else ""
    return Message("user", text, asked=asked, materials=expanded.materials)


def of_skill(skill: Skill, words: str, place: Place, typed: str) -> Message:
    """A ready-made skill on what `words` mention; for `fix` they are the error, which may name the places itself.

    Args:
        typed: what stands in the conversation.

    Raises:
        HoneError: nothing to work on is named, or it cannot be shown.
    """
    expanded = mentions.expand(words, place)
    shown, told = expanded.materials, words
    for mention in reversed(mentions.find(words)):
        told = told[: mention.start] + told[mention.end :]
    if skill.name == "fix":
        if not told.strip():
            raise UsageError("fix needs the error: /fix and the traceback, with or without @FILE")
        shown = (*(shown or traces.places(told, place)), Material("input", "The error", told.strip("\n") + "\n"))
        told = ""
    elif not shown:
        raise UsageError(f"/{skill.name} needs something to work on: /{skill.name} @FILE, @FILE:10-40 or @NAME")
    return Message("user", typed, asked=tasks.request(skill, shown, " ".join(told.split())), materials=shown)


def target_of(message: Message) -> Material | None:
    """The part of a file that an answer to this question can replace: the first one shown."""
    return next((one for one in message.materials if one.first), None)
