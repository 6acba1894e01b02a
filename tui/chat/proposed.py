"""What code from an answer would change in a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.conversations import Message
from assistant.errors import HoneError
from assistant.skills import confine, edits, questions
from assistant.skills.blocks import code_of
from assistant.skills.edits import Hunk
from assistant.skills.material import Material
from assistant.skills.mentions import Place, shown_path


@dataclass(frozen=True)
class Proposed:
    path: Path
    name: str
    """From the repository's root."""
    before: str | None
    """None: there is no such file yet."""
    hunks: tuple[Hunk, ...]
    """One at least."""

    @property
    def title(self) -> str:
        count = len(self.hunks)
        return f"{'new file' if self.before is None else f'{count} change' + 's' * (count > 1)} in {self.name}"


@dataclass(frozen=True)
class LastCode:
    text: str
    shown: Material | None
    """What the model saw of the file that the code is for."""


def last_code(messages: Sequence[Message]) -> LastCode:
    """The longest block of code in the last answer.

    Raises:
        HoneError: there is no answer, or no code in it.
    """
    answers = [index for index, one in enumerate(messages) if one.role == "assistant"]
    blocks = code_of(messages[answers[-1]].text) if answers else []
    if not blocks:
        raise HoneError("the last answer has no code" if answers else "there is no answer yet")
    asked = next((one for one in reversed(messages[: answers[-1]]) if one.role == "user"), None)
    return LastCode(max(blocks, key=len), questions.target_of(asked) if asked is not None else None)


def proposed(code: str, path: str, place: Place, shown: Material | None) -> Proposed:
    """
    Args:
        path: from the repository's root.
        shown: what the model saw of the file; the code replaces these lines.

    Raises:
        HoneError: no file is named, it may not be written, it cannot be read, or it holds the code already.
    """
    if not path:
        raise HoneError("name the file that the code goes into")
    file = confine.inside(path, place.root, place.root)
    if (why := confine.secret_by_name(file)) is not None:
        raise HoneError(f"{path} is not written: {why}")
    name = shown_path(file, place)
    before = edits.read(file)
    hunks = edits.hunks(before or "", edits.placed(code, name, before or "", shown))
    if not hunks:
        raise HoneError(f"{name} holds this code already")
    return Proposed(file, name, before, tuple(hunks))


def rows(hunk: Hunk, before: str) -> list[tuple[str, str]]:
    """The lines of a hunk with those around it, each behind its sign: ` `, `-` or `+`."""
    lines = before.splitlines()
    end = hunk.start + len(hunk.old)
    around = [(" ", line) for line in lines[max(0, hunk.start - edits.CONTEXT) : hunk.start]]
    below = [(" ", line) for line in lines[end : end + edits.CONTEXT]]
    return [*around, *(("-", line) for line in hunk.old), *(("+", line) for line in hunk.new), *below]
