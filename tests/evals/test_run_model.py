"""Completion and evaluation through the real gateway, engine and scorer, with the embedded model."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
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


def write_idle_adapter(folder: Path) -> Path:
    """A LoRA on the first layer's v projection, in both forms, whose B is zero: it changes nothing."""
    folder.mkdir(parents=True)
    a = np.random.default_rng(0).standard_normal((RANK, HIDDEN)).astype(np.float32)
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


def test_an_adapter_that_does_nothing_changes_no_figure(
    embedded_home: Path, make_repository: Make, tmp_path: Path
) -> None:
    helpers = CODE.replace("a", "left").replace("b", "right")
    root = make_repository(
        {"lib/ops.py": CODE, "lib/helpers.py": helpers, "lib/more.py": "import ops\nTOTAL = ops.add(1, 2)\n"}
    )
    base = fetch("smollm2-135m")
    folder = write_idle_adapter(tmp_path / "idle")
    write_manifest(folder, root, {"lib/ops.py": "test", "lib/helpers.py": "train", "lib/more.py": "train"})
    digest = base_identity(base).digest
    version = AdapterVersion(
        "idle", adapter_digest(folder, digest), base.name, digest, folder, "2026-01-01T00:00:00+00:00", {}
    )
    Registry().register(version)
    command = [
        "eval",
        "repo",
        "--repo",
        str(root),
        "--model",
        "smollm2-135m",
        "--model",
        "idle",
        "--limit",
        "3",
        "--out",
        "out",
    ]
    done = hone(embedded_home, tmp_path, *command, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    plain, idle = report["models"]
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
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    count = len(samples_of(tmp_path / "out"))
    again = hone(embedded_home, tmp_path, *command)
    assert again.returncode == 0, again.stderr
    assert "bits per byte" in again.stdout
    assert len(samples_of(tmp_path / "out")) == count


def test_evaluating_what_was_trained_on_is_refused(embedded_home: Path, make_repository: Make) -> None:
    root = make_repository({"a.py": "x = 1\n"})
    done = hone(embedded_home, root, "eval", "repo", "--repo", ".", "--model", "smollm2-135m")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("hone: no manifest of the given models covers")
    assert done.stderr.count("\n") == 1
