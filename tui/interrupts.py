"""Ctrl-C in a moment at which Python would lose it."""

import _thread
import sys
import time

_SECONDS = 0.01
"""Raised at once it would be raised in the hook, and lost there."""


def keep() -> None:
    """From now on an interrupt that Python cannot raise is raised in the main thread a moment later.

    In a finalizer or the callback of a weak reference, which every import has, a KeyboardInterrupt is printed and
    forgotten.
    """
    sys.unraisablehook = _again


def _again(lost: "sys.UnraisableHookArgs") -> None:
    if issubclass(lost.exc_type, KeyboardInterrupt):
        _thread.start_new_thread(_interrupt, ())
    else:
        sys.__unraisablehook__(lost)


def _interrupt() -> None:
    time.sleep(_SECONDS)
    _thread.interrupt_main()
