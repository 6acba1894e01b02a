"""What /help, /sessions and the hint above the input box say."""

from collections.abc import Sequence

from textual.content import Content

from assistant.sessions import Conversation
from tui.chat.commands import COMMANDS, SlashCommand

_KEYS = (
    ("Enter", "send"),
    ("Alt+Enter, Ctrl+J", "new line"),
    ("Up, Down", "earlier inputs"),
    ("Tab", "complete a command; in an empty box, something to try"),
    ("Esc", "stop the answer; what came is kept"),
    ("Ctrl+Y", "copy the code of the last answer"),
    ("Ctrl+C", "copy the selection, else stop, else clear the box"),
    ("Page Up, Page Down", "scroll; Ctrl+Home and Ctrl+End go all the way"),
    ("Ctrl+P", "palette: themes, screenshot, all keys"),
    ("Ctrl+Q", "leave"),
)


def help_text() -> str:
    names = [f"/{command.name} {command.argument}".rstrip() for command in COMMANDS]
    width = max(len(name) for name in [*names, *(key for key, _ in _KEYS)])
    lines = ["Commands"]
    lines += [f"  {name:<{width}}  {command.help}" for name, command in zip(names, COMMANDS, strict=True)]
    lines += ["Keys", *(f"  {key:<{width}}  {what}" for key, what in _KEYS)]
    return "\n".join(lines)


def sessions_table(found: Sequence[Conversation], current: str) -> str:
    """Earlier conversations, newest first."""
    others = [conversation for conversation in found if conversation.id != current]
    if not others:
        return "no earlier conversations"
    lines = ["Earlier conversations, newest first"]
    lines += [f"  {one.id}  {one.created[:16].replace('T', ' ')}  {one.title[:60]}" for one in others]
    return "\n".join([*lines, "Resume one with: hone --session ID"])


def command_hint(found: Sequence[SlashCommand]) -> Content:
    """Half-typed command: what it can become."""
    lines = [
        Content.assemble((f"/{command.name} {command.argument}".ljust(14), "$text-primary"), command.help)
        for command in found
    ]
    return Content("\n").join(lines)
