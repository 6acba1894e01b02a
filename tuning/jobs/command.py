"""Command lines of Hone in a job, and as they are shown to people."""

import shlex
import sys
from collections.abc import Sequence

# -P: a folder `tui` where the user stands is not this program.
HONE = (sys.executable, "-P", "-m", "tui")


def shown(argv: Sequence[str]) -> str:
    """As somebody would type it."""
    words = list(argv)
    if tuple(words[1 : len(HONE)]) == HONE[1:]:
        words = ["hone", *words[len(HONE) :]]
    return shlex.join(words)
