"""Opens a report's HTML file in a browser, where there is one outside of this terminal."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from assistant.errors import HoneError

HTML = "report.html"


def command(environment: Mapping[str, str] | None = None, platform: str = sys.platform) -> list[str]:
    """The program that opens a file; empty where none would open a window: a text browser would take the terminal."""
    env = os.environ if environment is None else environment
    path = env.get("PATH")
    # Editors that lend their terminal over a network set it to a helper of theirs.
    chosen = shlex.split(env.get("BROWSER", "").split(":")[0].replace("%s", ""))
    if chosen and shutil.which(chosen[0], path=path):
        return chosen
    if platform == "darwin":
        return ["open"]
    if env.get("WSL_DISTRO_NAME") and shutil.which("wslview", path=path):
        return ["wslview"]
    if (env.get("DISPLAY") or env.get("WAYLAND_DISPLAY")) and shutil.which("xdg-open", path=path):
        return ["xdg-open"]
    return []


def open_report(folder: Path) -> None:
    """
    Raises:
        HoneError: there is no page or nothing to open it with; says where it is.
    """
    page = folder / HTML
    if not page.is_file():
        raise HoneError(f"there is no {HTML} in {folder}; `hone eval --out DIR` writes one")
    program = command()
    if not program:
        raise HoneError(f"no browser can be opened from here; the page is {page}")
    try:
        subprocess.Popen(
            [*program, str(page)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise HoneError(f"{program[0]} cannot be started: {error.strerror}; the page is {page}") from error
