"""What the screens need from the rest of Hone, in one value: tests give their own."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tui.chat import clipboard, models
from tui.chat.clipboard import Tool
from tui.chat.models import ModelRow, ModelTarget
from tui.chat.ops import running
from tui.chat.ops.running import Done

if TYPE_CHECKING:
    from assistant.client import Client
    from assistant.feedback import Feedback
    from assistant.skills.ghost import Ghost
    from assistant.skills.review.findings import Review
    from assistant.skills.review.request import Progress, Request


def _connect(model: str | None) -> AbstractContextManager["Client"]:
    from assistant import client

    return client.connect(model=model, wait=False)


def _ghost(client: "Client", model: str | None, root: Path | None) -> "Ghost":
    from assistant.feedback import Feedback
    from assistant.skills import ghost

    return ghost.Ghost(client, model, root, feedback=Feedback())


def _review(request: "Request", progress: "Progress", cancelled: Callable[[], bool]) -> "Review":
    from assistant.skills.review import model, run

    found, note = model.find(None)
    done = run.review(request, found, progress, cancelled)
    return replace(done, notes=(*done.notes, note)) if note and done.files else done


def _feedback() -> "Feedback":
    from assistant.feedback import Feedback
    from assistant.skills.repository import root_of

    return Feedback(repository=root_of(Path.cwd()))


@dataclass(frozen=True)
class Services:
    connect: Callable[[str | None], AbstractContextManager["Client"]] = _connect
    """Opens a client to a gateway that may still be loading its model."""
    check: Callable[[str, bool], ModelTarget] = models.check
    rows: Callable[[], Sequence[ModelRow]] = models.rows
    feedback: Callable[[], "Feedback"] = _feedback
    clipboard: Callable[[], Sequence[Tool]] = clipboard.tools
    run: Callable[[Sequence[str]], Done] = running.run
    """Runs a command line of Hone's, given without the program."""
    ghost: Callable[["Client", str | None, Path | None], "Ghost"] = _ghost
    """What writes ahead in the editor, for the files of one repository."""
    review: Callable[["Request", "Progress", Callable[[], bool]], "Review"] = _review
    """Reviews a change with what is there to review it: analyzers, and a reviewer if one was tuned."""
