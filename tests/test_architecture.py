"""The rules of the house that a test can hold."""

import json
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

HEAVY = {
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "numpy",
    "xllamacpp",
    "textual",
    "rich",
    "starlette",
    "uvicorn",
    "httpx",
    "pydantic",
    "jinja2",
    "huggingface_hub",
    "gguf",
    "detect_secrets",
}
COMMANDS = [
    [],
    ["chat"],
    ["ask"],
    ["review"],
    ["complete"],
    ["tune"],
    ["eval"],
    ["feedback"],
    ["jobs"],
    ["gate"],
    ["serve"],
    ["doctor"],
    ["models"],
    ["models", "promote"],
    ["models", "export"],
    ["models", "merge"],
    ["jobs"],
    ["jobs", "logs"],
]

PROBE = """
import json, sys
sys.argv = ["hone", *json.loads(sys.argv[1]), "--help"]
from tui.cli import main
try:
    main()
except SystemExit as ended:
    code = ended.code
sys.stderr.write(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command) or "hone")
def test_help_answers_without_a_heavy_import(command: list[str]):
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(command)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    code, modules = json.loads(done.stderr)
    assert code in (0, None)
    assert "Usage: hone" in done.stdout
    assert sorted(HEAVY & set(modules)) == []


def test_the_floors_are_the_ones_of_the_import_rules():
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    assert 'layers = ["tui", "evals", "tuning", "assistant"]' in settings
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert folders == {"tui", "evals", "tuning", "assistant"}


def test_no_path_of_a_machine_is_committed():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    homes = re.compile(r"/(?:home|Users|root)/\w")
    for name in filter(None, tracked.split("\0")):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt"} and path.exists() and path.name != "test_architecture.py":
            assert not homes.search(path.read_text("utf-8")), name
