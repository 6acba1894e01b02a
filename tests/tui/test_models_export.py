"""`hone models export` and `hone models merge`, run as a user runs them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assistant.errors import HoneError
from tests.tui.test_models_command import process, refused, report
from tests.tuning import tiny_gguf
from tui.cli import app

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("cli") / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_HOME", str(home))
        path = str(tiny_gguf.write_base(home / "tiny.gguf", "F16"))
        tiny_gguf.register("mine", path, seed=1)
        tiny_gguf.register("yours", path, seed=2)
        yield path


def test_exports_and_says_what_was_measured(base: str, tmp_path: Path) -> None:
    done = process("models", "export", "mine", "--to", "gguf-q8_0", "--to", "vllm", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "llama.cpp agrees on" in done.stdout
    assert "bits per byte" in done.stdout
    assert "in a fresh process" in done.stderr
    manifest = json.loads((tmp_path / "out" / "export.json").read_text("utf-8"))
    assert [each["format"] for each in manifest["exports"]] == ["gguf-q8_0", "vllm"]
    (command,) = [line.partition("with: ")[2] for line in done.stdout.splitlines() if "serve it with: " in line]
    assert command.startswith("vllm serve ")
    assert f"--served-model-name {base} --enable-lora --max-lora-rank 8 --lora-modules mine@" in command
    assert command.endswith(f"={tmp_path / 'out' / 'vllm'}")
    assert Path(command.split()[2], "model.safetensors").is_file()


def test_combines_and_shows_the_result(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("models", "merge", "mine", "yours", "--weights", "0.5,0.5", "--name", "ours", "--json")
    app(words, standalone_mode=False)
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["schema_version"] == 1
    assert result["method"] == "cat"
    assert [parent.partition("@")[0] for parent in result["parents"]] == ["mine", "yours"]
    assert result["proof"]["agreement"] > 0.9
    assert "combining mine@" in err
    shown = report("models", "show", "ours")
    assert (shown["id"], shown["state"]) == (result["adapter"], "whole, and fits its base")


def test_bad_requests_are_one_line(base: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    for arguments, said, status in (
        (["export", "mine", "--out", out], "say what to export to with --to: peft", 2),
        (["export", "mine", "--to", "peft"], "name a new folder", 2),
        (["export", "mine", "--to", "onnx", "--out", out], "onnx is no export format", 2),
        (["export", "mine", "--to", "peft", "--out", str(tmp_path)], "exists already", 1),
        (["export", "nobody", "--to", "peft", "--out", out], "no model is called nobody", 1),
        (["merge", "mine", "yours", "--weights", "a,b", "--name", "x"], "takes numbers with commas", 2),
        (["merge", "mine", "yours", "--weights", "0.5", "--name", "x"], "2 adapters need 2 weights", 2),
        (["merge", "mine", "yours", "--weights", "1,1", "--name", "x", "--method", "mean"], "mean is no method", 2),
        (["merge", "mine", "--weights", "1", "--name", "x", "--method", "svd"], "means nothing to one adapter", 2),
    ):
        with pytest.raises(HoneError) as refusal:
            app(["models", *arguments], standalone_mode=False)
        assert said in str(refusal.value)
        assert "\n" not in str(refusal.value)
        assert refusal.value.exit_code == status
    assert "is a base model" in refused("models", "export", base, "--to", "peft", "--out", out, status=2)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(base: str, tmp_path: Path) -> None:
    arguments = ["models", "export", "mine", "--to", "safetensors", "--to", "gguf-f16", "--out", str(tmp_path / "out")]
    process: Any = subprocess.Popen(
        [sys.executable, "-c", "from tui.cli import main; main()", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stderr:
        if "merging the adapter" in line:
            break
    assert [path.name.endswith(".part") for path in tmp_path.iterdir()] == [True]
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0, errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
