"""The slash commands of the chat: their names, what they do, and what a mistyped one was meant to be."""

from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class SlashCommand:
    name: str
    argument: str
    help: str


COMMANDS = (
    SlashCommand("help", "", "keys and commands"),
    SlashCommand("model", "[NAME]", "list models, adapters and aliases; with NAME, switch to it"),
    SlashCommand("sessions", "", "list earlier conversations"),
    SlashCommand("copy", "", "copy the code of the last answer"),
    SlashCommand("clear", "", "start a new conversation; this one stays on disk"),
    SlashCommand("code", "[FILE[:LINE]]", "the editor, with FILE open at LINE"),
    SlashCommand("quit", "", "leave"),
)
NAMES = tuple(command.name for command in COMMANDS)


@dataclass(frozen=True)
class Invocation:
    name: str
    argument: str


def parse(line: str) -> Invocation | str | None:
    """A command with its argument, one line on what is wrong with it, or None when the line is no command.

    A line that begins with `/` and a word with another slash or a dot in it is a path, not a command.
    """
    if not line.startswith("/"):
        return None
    word, _, argument = line[1:].partition(" ")
    if "/" in word or "." in word or "\n" in line.strip():
        return None
    name = word.strip().lower()
    if name in NAMES:
        return Invocation(name, argument.strip())
    starts = [known for known in NAMES if name and known.startswith(name)]
    near = starts or get_close_matches(name, NAMES, n=1, cutoff=0.5)
    hint = f"did you mean /{near[0]}?" if near else "/help lists the commands"
    return f"there is no command /{name}; {hint}"


def matching(line: str) -> tuple[SlashCommand, ...]:
    """The commands that a half-typed line can become."""
    if not line.startswith("/") or any(character.isspace() for character in line):
        return ()
    return tuple(command for command in COMMANDS if command.name.startswith(line[1:].lower()))
