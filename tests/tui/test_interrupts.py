"""Ctrl-C in the callbacks of weak references, where Python forgets it."""

import subprocess
import sys

import pytest

LOSING = """
import os, signal, sys, time, weakref
from tui import interrupts

class Thing: pass

def gone(_):
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000): pass

if sys.argv[1] == "kept":
    interrupts.keep()
try:
    thing = Thing()
    reference = weakref.ref(thing, gone)
    del thing
    end = time.monotonic() + (20 if sys.argv[1] == "kept" else 0.2)
    while time.monotonic() < end: pass
    print("lost")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize(("how", "what"), [("kept", "interrupted\n"), ("python's own", "lost\n")])
def test_an_interrupt_in_a_callback_comes_a_moment_later(how: str, what: str):
    done = subprocess.run([sys.executable, "-c", LOSING, how], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == what
    assert ("Exception ignored" in done.stderr) == (how != "kept")


def test_other_errors_there_are_still_told():
    code = "from tui import interrupts\ninterrupts.keep()\nclass A:\n    def __del__(self): 1 / 0\nA()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "ZeroDivisionError" in done.stderr
