"""aider, the program, makes an edit through the gateway; skipped where it is not installed.

`HONE_TEST_AIDER` names it when it is not on the path: it wants an environment of its own.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.assistant.gateway_fakes import KEY, ScriptedEngine, gateway, listening

pytestmark = pytest.mark.slow

BEFORE = "def area(width, height):\n    return width + height\n"
AFTER = "def area(width, height):\n    return width * height\n"


def test_aider_edits_a_file(make_repository: Callable[..., Path], tmp_path: Path) -> None:
    program = os.environ.get("HONE_TEST_AIDER") or shutil.which("aider")
    if program is None:
        pytest.skip("aider is not installed")
    repository = make_repository({"area.py": BEFORE})
    engine = ScriptedEngine(lambda request: f"The sum was meant to be a product.\n\narea.py\n```python\n{AFTER}```\n")
    engine.context_length = 8192
    home = tmp_path / "aider-home"
    home.mkdir()
    with listening(gateway(engine)) as url:
        done = subprocess.run(
            [
                *(program, "--model", "openai/fake", "--edit-format", "whole", "--yes-always", "--no-auto-commits"),
                *("--no-check-update", "--analytics-disable", "--no-show-model-warnings", "--no-show-release-notes"),
                *("--no-gitignore", "--map-tokens", "0", "--no-pretty", "--no-detect-urls"),
                *("--message", "area must multiply", "area.py"),
            ],
            cwd=repository,
            env={**os.environ, "HOME": str(home), "OPENAI_API_BASE": f"{url}/v1", "OPENAI_API_KEY": KEY},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert (repository / "area.py").read_text() == AFTER, done.stdout
    assert "area must multiply" in str(engine.requests[0].prompt)
