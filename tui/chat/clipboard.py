"""Copying that is known to have worked: by the terminal (OSC 52) and by the system's own tool, read back."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

_SECONDS = 2.0
MAX_OSC52 = 74_994
"""Bytes that terminals take: base64 of them is 100,000 characters, xterm's and tmux's limit."""

Outcome = Literal["checked", "sent", "too long"]


@dataclass(frozen=True)
class Tool:
    """Commands that write the clipboard from standard input, and read it to standard output."""

    write: tuple[str, ...]
    read: tuple[str, ...]


def tools(environment: Mapping[str, str] | None = None, platform: str = sys.platform) -> list[Tool]:
    """The tools that this machine has, best first."""
    env = os.environ if environment is None else environment
    found: list[Tool] = []
    if platform == "darwin":
        found.append(Tool(("pbcopy",), ("pbpaste",)))
    if env.get("WAYLAND_DISPLAY"):
        found.append(Tool(("wl-copy",), ("wl-paste", "--no-newline")))
    if env.get("DISPLAY"):
        found.append(Tool(("xclip", "-selection", "clipboard"), ("xclip", "-selection", "clipboard", "-o")))
        found.append(Tool(("xsel", "--clipboard", "--input"), ("xsel", "--clipboard", "--output")))
    if env.get("WSL_DISTRO_NAME"):
        found.append(Tool(("clip.exe",), ("powershell.exe", "-NoProfile", "-Command", "Get-Clipboard -Raw")))
    if env.get("TMUX"):
        found.append(Tool(("tmux", "load-buffer", "-w", "-"), ("tmux", "show-buffer")))
    return [tool for tool in found if shutil.which(tool.write[0], path=env.get("PATH"))]


def copy(text: str, found: Sequence[Tool]) -> Outcome:
    """Copies by the first tool whose clipboard then holds the text; without one the terminal has to have taken it.

    The caller sends OSC 52 itself: only the app may write to the terminal.
    """
    for tool in found:
        if _run(tool.write, text) is not None and _same(_run(tool.read, None), text):
            return "checked"
    return "too long" if len(text.encode("utf-8", "replace")) > MAX_OSC52 else "sent"


def told(outcome: Outcome, text: str) -> str:
    """What the user is told."""
    count = len(text.splitlines())
    lines = f"{count} line{'s' if count != 1 else ''}"
    if outcome == "too long":
        return f"{lines} are too long for the terminal's clipboard; /export writes them to a file"
    return f"Copied {lines}" if outcome == "checked" else f"Copied {lines}, if this terminal takes it (OSC 52)"


def _same(read: str | None, text: str) -> bool:
    return read is not None and read.replace("\r\n", "\n").rstrip("\n") == text.rstrip("\n")


def _run(command: Sequence[str], given: str | None) -> str | None:
    """Standard output; None when it fails or takes too long. xclip stays behind to serve the clipboard, so nothing is
    read from a command that writes."""
    try:
        done = subprocess.run(
            command,
            input=None if given is None else given.encode("utf-8", "replace"),
            stdin=subprocess.DEVNULL if given is None else None,
            stdout=subprocess.PIPE if given is None else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout or b"").decode("utf-8", "replace")
