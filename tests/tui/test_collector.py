import gc
import subprocess
import sys
import weakref

from tui import collector


def test_what_is_loaded_is_looked_at_no_more():
    # In a process of its own: what is frozen stays so.
    code = (
        "import gc; from tui import collector\n"
        "before = len(gc.get_objects()); collector.settle()\n"
        "print(gc.get_freeze_count() > 0.9 * before, len(gc.get_objects()) < 0.1 * before, gc.isenabled())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "True"]


def test_a_sweep_finds_what_came_since(monkeypatch):
    class Knot:
        def __init__(self) -> None:
            self.itself = self

    gone: list[str] = []
    knot = Knot()
    weakref.finalize(knot, gone.append, "the knot")
    del knot
    frozen = 0
    monkeypatch.setattr(collector.gc, "get_freeze_count", lambda: frozen)
    gc.disable()
    try:
        collector.sweep()
        assert gone == []
        frozen = 1
        collector.sweep()
        assert gone == ["the knot"]
    finally:
        gc.enable()
