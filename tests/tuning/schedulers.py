"""Programs that stand in for crontab and systemctl: real processes that keep what they are given in a folder."""

import os
from pathlib import Path

import pytest

CRONTAB = """#!/bin/sh
file="$(dirname "$0")/table"
case "$1" in
-l) if [ -e "$file" ]; then cat "$file"; else echo "no crontab for tester" >&2; exit 1; fi;;
-) if [ -e "$(dirname "$0")/refuse" ]; then echo '"-":3: bad minute' >&2; exit 1; fi; cat > "$file";;
*) exit 2;;
esac
"""

SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$(dirname "$0")/asked"
if [ -e "$(dirname "$0")/refuse" ]; then
  case "$*" in *enable*) echo "Failed to enable unit: no" >&2; exit 1;; esac
fi
"""


def put(folder: Path, patch: pytest.MonkeyPatch, *programs: str) -> Path:
    """A PATH with git and such, these programs, and no real scheduler. Returns the folder they keep things in."""
    folder.mkdir()
    for program, script in (("crontab", CRONTAB), ("systemctl", SYSTEMCTL)):
        if program in programs:
            (folder / program).write_text(script)
            (folder / program).chmod(0o755)
    for program in ("git", "sh", "cat", "dirname"):
        found = next(each for each in os.get_exec_path() if (Path(each) / program).exists())
        (folder / program).symlink_to(Path(found) / program)
    patch.setenv("PATH", str(folder))
    patch.setenv("XDG_CONFIG_HOME", str(folder / "configuration"))
    return folder
