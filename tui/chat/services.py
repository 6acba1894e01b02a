"""What the chat needs from the rest of Hone, in one value: tests give their own."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tui.chat import clipboard, models
from tui.chat.clipboard import Tool
from tui.chat.models import ModelRow, ModelTarget

if TYPE_CHECKING:
    from assistant.client import Client


def _connect(model: str | None) -> AbstractContextManager["Client"]:
    from assistant import client

    return client.connect(model=model, wait=False)


@dataclass(frozen=True)
class Services:
    connect: Callable[[str | None], AbstractContextManager["Client"]] = _connect
    """Opens a client to a gateway that may still be loading its model."""
    check: Callable[[str, bool], ModelTarget] = models.check
    rows: Callable[[], Sequence[ModelRow]] = models.rows
    clipboard: Callable[[], Sequence[Tool]] = clipboard.tools
