"""Keeps Python's search for reference cycles from stopping the app.

An app of Textual holds hundreds of thousands of objects and makes thousands with each frame. By default all of them
are looked at again and again: while code streamed in, every tenth frame took 130 ms more for it, 3 of 8 seconds of
processor time.
"""

import gc

_YOUNG, _MIDDLE, _OLD = 20_000, 20, 50
"""New objects between two looks at the youngest, and looks at one generation between two at the next older one."""


def settle() -> None:
    """What is there now is not looked at any more, and what comes less often. Call it once what lasts is loaded."""
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)


def sweep() -> None:
    """Looks at all that came since `settle`, without which there is nothing to do. Call it when nothing is drawn.

    Without sweeps 300 turns of a conversation left 68 MB.
    """
    if gc.get_freeze_count():
        gc.collect()
