"""The `openai` package for JavaScript against the gateway; skipped where there is no node."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.assistant.gateway_fakes import KEY, ScriptedEngine, gateway, listening
from tests.conftest import ROOT

PACKAGE = "openai@7.57.0"


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """A folder with the package installed, kept between test runs."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    home = Path(os.environ.get("HONE_TEST_HOME") or ROOT / ".hone" / "test")
    folder = home / "node" / PACKAGE
    if not (folder / "node_modules" / "openai" / "package.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
        done = subprocess.run([*command, PACKAGE], capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm could not fetch {PACKAGE}: {done.stderr.strip()[-200:]}")
    return folder


def test_the_javascript_client_understands_every_answer(node_folder: Path) -> None:
    script = node_folder / "client.mjs"
    shutil.copyfile(Path(__file__).parent / "openai_client.mjs", script)
    engine = ScriptedEngine(lambda request: '{"a": 1}' if request.json_schema else f"seed {request.seed}")
    with listening(gateway(engine)) as url:
        command = ["node", str(script), f"{url}/v1", KEY]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "models": ["fake", "tuned"],
        "chat": ["seed 1", "seed 2"],
        "logprobs": [2, 2],
        "usage": 4,
        "finish": "stop",
        "streamedUsage": 2,
        "streamed": "seed None",
        "formatted": '{"a": 1}',
        "text": ["seed None", "length"],
        "errors": [
            ["NotFoundError", 404, "model_not_found", None],
            ["BadRequestError", 400, None, "temperature"],
            ["AuthenticationError", 401, "invalid_api_key", None],
        ],
    }
