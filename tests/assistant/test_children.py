"""A child that asked for it ends when its parent is killed."""

import subprocess
import sys

import psutil
import pytest

CHILD = (
    "import signal, time; from assistant.children import end_with_parent; end_with_parent(signal.SIGKILL);"
    "print('on', flush=True); time.sleep(300)"
)
PARENT = (
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE);"
    "child.stdout.readline(); print(child.pid, flush=True); child.wait()"
)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_child_ends_with_a_killed_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=60)
    assert not alive
