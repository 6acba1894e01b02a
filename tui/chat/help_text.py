"""What /help says."""

from tui.chat.commands import ALL

_KEYS = (
    ("Enter", "send"),
    ("Alt+Enter, Ctrl+J", "new line"),
    ("Up, Down", "earlier inputs; Ctrl+R searches them"),
    ("@", "shows a file, folder, definition or @diff to the model; @FILE:10-40 some lines of it"),
    ("Tab", "complete what is offered; in an empty box, something to try"),
    (
        "Ctrl+Up",
        "walk questions, answers and code: copy, apply to a file, open in the editor, edit and ask again, retry",
    ),
    ("Esc", "stop the answer; what came is kept"),
    ("Ctrl+Y", "copy the code of the last answer"),
    ("Ctrl+C", "copy the selection, else stop, else clear the box"),
    ("Page Up, Page Down", "scroll; Ctrl+Home and Ctrl+End go all the way"),
    ("Ctrl+P", "palette: themes, screenshot, all keys"),
    ("Ctrl+Q", "leave"),
)


def help_text() -> str:
    names = [f"/{command.name} {command.argument}".rstrip() for command in ALL]
    width = max(len(name) for name in [*names, *(key for key, _ in _KEYS)])
    lines = ["Commands"]
    lines += [f"  {name:<{width}}  {command.help}" for name, command in zip(names, ALL, strict=True)]
    lines += ["Keys", *(f"  {key:<{width}}  {what}" for key, what in _KEYS)]
    return "\n".join(lines)
