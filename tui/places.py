"""The screens of the app: what they are called, which key leads there, and how one screen asks for another."""

from collections.abc import Awaitable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Protocol, runtime_checkable

from textual.binding import Binding
from textual.message import Message
from textual.screen import Screen


@dataclass(frozen=True)
class Place:
    name: str
    """Also its slash command in the chat."""
    key: str
    title: str
    help: str
    screen: str
    """`module:class` of the screen; made without arguments when the user first goes there."""

    def make(self) -> Screen[None]:
        made = resolve_name(self.screen)()
        assert isinstance(made, Screen)
        return made


CHAT = Place("chat", "f2", "Chat", "Ask the model about code", "tui.chat.screen:ChatScreen")
PLACES = (
    CHAT,
    Place("code", "f3", "Code", "Edit files while the model writes ahead", "tui.code.screen:CodeScreen"),
    Place(
        "review",
        "f4",
        "Review",
        "See what is wrong with a change before it is committed",
        "tui.review.screen:ReviewScreen",
    ),
    Place("jobs", "f5", "Jobs", "Watch, stop and start training and evaluation", "tui.jobs.screen:JobsScreen"),
    Place("models", "f6", "Models", "See, compare, promote and fetch models", "tui.models.screen:ModelsScreen"),
    Place("evals", "f7", "Evals", "See what was measured, sample by sample", "tui.evals.screen:EvalsScreen"),
)


@dataclass
class Visit(Message):
    """Any widget may post it: the app shows the place, and the place is told the argument."""

    place: str
    argument: str = ""


@dataclass
class Send(Message):
    """Any widget may post it: the app shows the place, which takes the text."""

    place: str
    text: str
    language: str
    """As a code block names it; empty where it is not known."""


@runtime_checkable
class Taking(Protocol):
    """A screen that text can be sent to."""

    def take(self, text: str, language: str) -> Awaitable[None]: ...


@runtime_checkable
class Visited(Protocol):
    """A screen that can be asked for something particular."""

    def visit(self, argument: str) -> Awaitable[None]:
        """`argument` is what stood behind the slash command, never empty."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """A screen that holds what must not be lost."""

    def may_leave(self) -> Awaitable[bool]:
        """Asks the user about unsaved work; False when the app has to stay."""
        ...

    def close(self) -> None:
        """The app has ended, in order or not."""
        ...


def bindings() -> list[Binding]:
    return [
        Binding(place.key, f"go('{place.name}')", place.title, tooltip=place.help, id=f"go.{place.name}", priority=True)
        for place in PLACES
    ]
