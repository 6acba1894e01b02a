"""What the screens need from the rest of Hone, in one value: tests give their own."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tui.chat import models
from tui.chat.models import ModelRow, ModelTarget

if TYPE_CHECKING:
    from assistant.client import Client
    from assistant.skills.ghost import Ghost


def _connect(model: str | None) -> AbstractContextManager["Client"]:
    from assistant import client

    return client.connect(model=model, wait=False)


def _ghost(client: "Client", model: str | None, root: Path | None) -> "Ghost":
    from assistant.feedback import Feedback
    from assistant.skills import ghost

    return ghost.Ghost(client, model, root, feedback=Feedback())


@dataclass(frozen=True)
class Services:
    connect: Callable[[str | None], AbstractContextManager["Client"]] = _connect
    """Opens a client to a gateway that may still be loading its model."""
    check: Callable[[str, bool], ModelTarget] = models.check
    rows: Callable[[], Sequence[ModelRow]] = models.rows
    ghost: Callable[["Client", str | None, Path | None], "Ghost"] = _ghost
    """What writes ahead in the editor, for the files of one repository."""
