"""Completion and evaluation through the real gateway, engine and scorer, with the embedded model."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file

from assistant.models.identity import adapter_digest, base_identity
from assistant.models.registry import AdapterVersion, Registry
from assistant.models.store import fetch
from tests.evals.eval_fixtures import samples_of
from tests.evals.test_heldout import write_manifest

pytestmark = pytest.mark.model

Make = Callable[..., Path]
HONE = Path(sys.executable).with_name("hone")
HIDDEN, RANK, KEY_VALUE = 576, 2, 192
CODE = "\n\n".join(
    f"def {name}(a, b):\n    return a {sign} b\n" for name, sign in (("add", "+"), ("subtract", "-"), ("multiply", "*"))
)


def write_idle_adapter(folder: Path, seed: int = 0) -> Path:
    """A LoRA on the first layer's v projection, in both forms, whose B is zero: it changes nothing."""
    folder.mkdir(parents=True)
    a = np.random.default_rng(seed).standard_normal((RANK, HIDDEN)).astype(np.float32)
    b = np.zeros((KEY_VALUE, RANK), dtype=np.float32)
    name = "base_model.model.model.layers.0.self_attn.v_proj"
    save_file({f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}, folder / "adapter_model.safetensors")
    configuration = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "",
        "r": RANK,
        "lora_alpha": 4,
        "lora_dropout": 0.0,
        "target_modules": ["v_proj"],
        "layers_to_transform": [0],
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(configuration))
    writer = gguf.GGUFWriter(folder / "adapter.gguf", "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    writer.add_tensor("blk.0.attn_v.weight.lora_a", a)
    writer.add_tensor("blk.0.attn_v.weight.lora_b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


def hone(home: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HONE_HOME": str(home)}
    return subprocess.run(
        [HONE, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=240
    )


def test_a_line_is_completed_by_the_embedded_model(embedded_home: Path, make_repository: Make) -> None:
    root = make_repository(
        {"math.py": CODE + "\n\ndef divide(a, b):\n    \n", "use.py": "def add(a, b):\n    return b\n"}
    )
    done = hone(embedded_home, root, "complete", "math.py:14", "--json", "--max-tokens", "24")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["schema_version"] == 1
    assert result["mode"] == "prefix"
    assert result["model"] == "smollm2-135m"
    assert result["text"] == "return a / b"
    assert result["retrieved"] == ["use.py"]
    assert result["adapter"] is None
    plain = hone(embedded_home, root, "complete", "math.py:14", "--no-retrieval", "--max-tokens", "24")
    assert plain.stdout == "return a / b\n"
    assert plain.stderr == ""


@pytest.fixture
def tuned_repository(embedded_home: Path, make_repository: Make, tmp_path: Path) -> tuple[Path, AdapterVersion]:
    """A repository and the adapter `idle` that was tuned on it."""
    files = {
        "lib/ops.py": CODE,
        "lib/helpers.py": CODE.replace("a", "left").replace("b", "right"),
        "lib/more.py": "import ops\nTOTAL = ops.add(1, 2)\n",
    }
    root = make_repository(files)
    base = fetch("smollm2-135m")
    folder = write_idle_adapter(tmp_path / "idle")
    write_manifest(folder, root, {"lib/ops.py": "test", "lib/helpers.py": "train", "lib/more.py": "train"})
    digest = base_identity(base).digest
    created = "2026-01-01T00:00:00+00:00"
    version = AdapterVersion("idle", adapter_digest(folder, digest), base.name, digest, folder, created, {})
    Registry().register(version)
    return root, version


def command_for(root: Path) -> list[str]:
    models = ["--model", "smollm2-135m", "--model", "idle"]
    return ["eval", "repo", "--repo", str(root), *models, "--limit", "3", "--levels", "line", "--out", "out"]


def test_an_adapter_that_does_nothing_changes_no_figure(
    embedded_home: Path, tuned_repository: tuple[Path, AdapterVersion], tmp_path: Path
) -> None:
    root, version = tuned_repository
    command = command_for(root)
    done = hone(embedded_home, tmp_path, *command, "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["schema_version"] == 2
    plain, idle = printed["tasks"][0]["details"]["models"]
    assert idle["name"] == version.id
    assert 0.3 < plain["bits_per_byte"]["value"] < 3.0
    assert idle["bits_per_byte"]["value"] == pytest.approx(plain["bits_per_byte"]["value"], rel=1e-5)
    for context in ("without_retrieval", "with_retrieval"):
        assert idle["lines"][context]["edit_similarity"] == plain["lines"][context]["edit_similarity"]
        assert plain["lines"][context]["edit_similarity"]["value"] > 0.3
    assert (
        plain["lines"]["with_retrieval"]["prompt_tokens_mean"]
        > plain["lines"]["without_retrieval"]["prompt_tokens_mean"]
    )
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == printed
    count = len(samples_of(tmp_path / "out"))
    again = hone(embedded_home, tmp_path, *command)
    assert again.returncode == 0, again.stderr
    assert "bits per byte" in again.stdout
    assert len(samples_of(tmp_path / "out")) == count


def test_the_gate_measures_what_no_report_holds_and_reads_it_the_next_time(
    embedded_home: Path, tuned_repository: tuple[Path, AdapterVersion], tmp_path: Path
) -> None:
    root, version = tuned_repository
    asked = ["gate", "idle", "--against", "smollm2-135m", "--tasks", "repo:exact_match_with_retrieval=0.02"]
    asked += ["--repo", str(root), "--limit", "1", "--report", "out", "--json"]
    done = hone(embedded_home, tmp_path, *asked)
    assert done.returncode == 2, done.stderr
    told = json.loads(done.stdout)
    assert (told["candidate"], told["against"]) == (version.id, "smollm2-135m")
    assert told["tasks"][0]["difference"]["value"] == 0.0
    assert "1 group is too few" in told["explanation"]
    assert "$ hone eval repo" in done.stderr
    again = hone(embedded_home, tmp_path, *asked, "--no-run")
    assert again.returncode == 2, again.stderr
    assert json.loads(again.stdout) == told
    page = (tmp_path / "out" / "gate" / "report.html").read_text("utf-8")
    assert "lib/ops.py" in page
    # The name means another version now, so what was measured is no report of it.
    folder = write_idle_adapter(tmp_path / "other", seed=1)
    digest = adapter_digest(folder, version.base_digest)
    assert digest != version.digest
    newer = AdapterVersion("idle", digest, "smollm2-135m", version.base_digest, folder, "2026-01-02T00:00:00+00:00", {})
    Registry().register(newer)
    stale = hone(embedded_home, tmp_path, *asked, "--no-run")
    assert stale.returncode == 3
    assert "in the versions that they are now" in stale.stderr


def test_evaluating_what_was_trained_on_is_refused(embedded_home: Path, make_repository: Make) -> None:
    root = make_repository({"a.py": "x = 1\n"})
    done = hone(embedded_home, root, "eval", "repo", "--repo", ".", "--model", "smollm2-135m")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("hone: no manifest of the given models covers")
    assert done.stderr.count("\n") == 1


def test_ctrl_c_keeps_what_was_measured_and_leaves_no_process(
    embedded_home: Path, tuned_repository: tuple[Path, AdapterVersion], tmp_path: Path
) -> None:
    environment = {**os.environ, "HONE_HOME": str(embedded_home)}
    process = subprocess.Popen(
        [HONE, *command_for(tuned_repository[0])],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    children: list[psutil.Process] = []
    file = tmp_path / "out" / "samples.jsonl"
    while process.poll() is None and not (file.exists() and file.stat().st_size):
        time.sleep(0.05)
        children = psutil.Process(process.pid).children(recursive=True) or children
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert out == ""
    assert "hone: stopped; what was measured is kept in out" in error
    assert "Traceback" not in error
    assert samples_of(tmp_path / "out")
    assert children
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
