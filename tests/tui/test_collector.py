import subprocess
import sys


def test_what_is_loaded_is_looked_at_no_more():
    # In a process of its own: what is frozen stays so.
    code = (
        "import gc; from tui import collector\n"
        "before = len(gc.get_objects()); collector.settle()\n"
        "print(gc.get_freeze_count() > 0.9 * before, len(gc.get_objects()) < 0.1 * before, gc.isenabled())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "True"]
