"""`hone tune` as a process: what it refuses, a whole run on the embedded model, and broken ones on a tiny model."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, git
from tests.tuning import tiny_gguf
from tests.tuning.code import modules
from tests.tuning.tiny import SAMPLE
from tuning.proof import prove

HONE = [sys.executable, "-P", "-m", "tui"]


def run(*arguments: str, home: Path, **options) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HONE_HOME": str(home)}
    return subprocess.run(
        [*HONE, *arguments], capture_output=True, text=True, env=environment, cwd=home.parent, check=False, **options
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal."""
    assert done.returncode != 0
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("hone: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of Hone's own packages, committed: real code of a size that a test can train on and that grows slowly."""
    folder = tmp_path_factory.mktemp("corpus") / "hone"
    for package in ("assistant/engines", "assistant/models", "tuning/corpus"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.fixture(scope="module")
def tuned(repository: Path, session_home: Path) -> dict:
    done = run(
        "tune", str(repository), "--name", "own", "--steps", "6", "--row-length", "256", "--json", home=session_home
    )
    assert done.returncode == 0, done.stderr
    return {"result": json.loads(done.stdout), "log": done.stderr}


@pytest.fixture
def tiny_base(hone_home: Path, tmp_path: Path) -> str:
    """Of runs whose course is the subject, and not what they learn; its tuning form is in the state folder."""
    return tiny_gguf.ready_base(tmp_path / "tiny.gguf")


def tiny_run(name: str, repository: Path, base: str, *options: str) -> list[str]:
    fixed = ["--row-length", "128", "--rank", "4", "--dtype", "float32"]
    return ["tune", str(repository), "--name", name, "--base", base, *fixed, *options]


@pytest.mark.model
def test_a_run_ends_in_a_proven_registered_adapter(tuned: dict, session_home: Path):
    result = tuned["result"]
    assert result["schema_version"] == 1
    proof = result["proof"]
    assert proof["positions"] >= 500
    assert proof["agreement"] >= 0.93
    assert proof["agreement"] >= proof["base_agreement"] - 0.01
    assert proof["reload_difference"] < 1e-2
    assert proof["changed"] > 0
    figures = result["figures"]
    assert figures["steps"] == 6
    assert figures["validation_after"] < figures["validation_before"]
    assert "tok/s" in tuned["log"]
    assert "ETA" in tuned["log"]
    listed = json.loads(run("models", "show", "own", "--json", home=session_home).stdout)
    assert result["adapter"] in json.dumps(listed)


@pytest.mark.model
def test_the_manifest_says_what_it_was_made_from(tuned: dict, repository: Path):
    folder = Path(tuned["result"]["folder"])
    assert {path.name for path in folder.iterdir()} >= {
        "adapter_model.safetensors",
        "adapter_config.json",
        "adapter.gguf",
        "manifest.json",
        "README.md",
    }
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["digest"] == tuned["result"]["digest"]
    assert manifest["base"]["weights"].startswith("b179c952")
    assert manifest["corpus"]["sources"][0]["commit"] == git(repository, "rev-parse", "HEAD").strip()
    sides = {file["path"]: file["split"] for file in manifest["corpus"]["files"]}
    assert set(sides.values()) == {"train", "validation", "test"}
    assert set(sides) <= set(git(repository, "ls-files").splitlines())
    assert "Hone checks the digest" in (folder / "README.md").read_text("utf-8")


def test_a_dry_run_reports_on_everything_and_trains_nothing(repository: Path, hone_home: Path, tiny_base: str):
    asked = tiny_run("dry", repository, tiny_base, "--row-length", "256", "--dry-run")
    done = run(*asked, "--json", home=hone_home)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    tracked = set(git(repository, "ls-files").split("\n")) - {""}
    assert {one["path"] for one in (*found["taken"], *found["dropped"])} == tracked
    assert found["summary"]["languages"] == {"python": len(found["taken"])}
    assert sum(found["summary"]["sides"].values()) == len(found["taken"])
    assert len(found["samples"]) == 3
    assert all("⟦" in sample for sample in found["samples"])
    assert found["preflight"]["eta_seconds"] > 0
    assert found["preflight"]["training_bytes"] > 0
    assert found["preflight"]["measured_at"] is None
    text = run(*asked, home=hone_home).stdout
    assert "what is learnt between" in text
    assert "measured before, at" in text
    assert text.endswith("nothing was trained\n")
    assert not list((hone_home / "adapters").glob("*/*"))
    assert not list((hone_home / "unfinished").glob("*"))


@pytest.mark.model
@pytest.mark.timeout(600)
@pytest.mark.slow
def test_an_export_with_q_and_k_unpermuted_does_not_pass_the_proof(tuned: dict, embedded_store: Path, tmp_path: Path):
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file, save_file

    from tuning.export import gguf_lora
    from tuning.model.load import load_base, load_tokenizer
    from tuning.proof import picks_and_scores

    base_gguf = next(embedded_store.rglob("*.gguf"))
    manifest = json.loads((Path(tuned["result"]["folder"]) / "manifest.json").read_text("utf-8"))
    (base,) = {path.parent for path in embedded_store.rglob("model.safetensors")}
    adapter = tmp_path / "adapter"
    shutil.copytree(tuned["result"]["folder"], adapter)
    weights = load_file(adapter / "adapter_model.safetensors")
    # Six steps move attention little; a stronger change of q and k shows a wrong export at once.
    for name in weights:
        if name.endswith(("q_proj.lora_B.weight", "k_proj.lora_B.weight")):
            weights[name] *= 4
    save_file(weights, adapter / "adapter_model.safetensors")
    held_out = [file["path"] for file in manifest["corpus"]["files"] if file["split"] == "test"]
    tokens = load_tokenizer(base)("".join((ROOT / path).read_text("utf-8") for path in held_out)).input_ids
    passages = [tokens[start : start + 160] for start in range(0, 320, 160)]
    torch.set_num_threads(os.cpu_count() or 1)
    model = PeftModel.from_pretrained(load_base(base, torch.float32), adapter).eval()
    _, expected = picks_and_scores(model, passages, frozenset())
    torch.set_num_threads(1)
    configuration = json.loads((base / "config.json").read_text("utf-8"))

    gguf_lora(adapter, configuration, adapter / "adapter.gguf")
    right = prove(base, base_gguf, adapter, passages, expected, "float32")
    gguf_lora(adapter, configuration, adapter / "adapter.gguf", permute=False)
    wrong = prove(base, base_gguf, adapter, passages, expected, "float32")
    assert right.holds
    assert not wrong.holds
    assert wrong.agreement < right.agreement - 0.05


def test_restart_discards_a_damaged_run_and_ctrl_c_saves_what_was_learnt(
    make_repository, hone_home: Path, tiny_base: str
):
    damaged = hone_home / "unfinished" / "early" / "step-00000007"
    damaged.mkdir(parents=True)
    (damaged / "position.json").write_text("{", "utf-8")
    asked = tiny_run("early", make_repository(modules(30)), tiny_base, "--minutes", "30", "--json")
    assert "--restart begins anew" in refused(run(*asked, home=hone_home))
    assert damaged.is_dir()
    process = subprocess.Popen(
        [*HONE, *asked, "--restart"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if "step " in line:
            break
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=280)
    assert process.returncode == 0, seen + rest
    result = json.loads(out)
    assert result["figures"]["interrupted"]
    assert Path(result["folder"]).is_dir()
    assert not damaged.exists()
    assert not list((hone_home / "adapters").glob("**/*.part"))


def test_a_killed_run_goes_on_and_ends_in_the_same_adapter(make_repository, hone_home: Path, tiny_base: str):
    repository = make_repository(modules(30))
    asked = tiny_run("again", repository, tiny_base, "--steps", "30", "--checkpoint-minutes", "0")
    process = subprocess.Popen([*HONE, *asked], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    kept = hone_home / "unfinished" / "again"
    while not any(int(step.name.removeprefix("step-")) >= 3 for step in kept.glob("step-*")):
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.wait()

    assert "go on with `hone tune --name again --resume`" in refused(run(*asked, home=hone_home))
    assert "leave out CORPUS, --rank" in refused(
        run("tune", str(repository), "--name", "again", "--resume", "--rank", "4", home=hone_home)
    )
    assert "no unfinished run of other has a checkpoint to go on from; unfinished: again" in refused(
        run("tune", "--name", "other", "--resume", home=hone_home)
    )
    module = repository / "pkg" / "m7.py"
    before = module.read_text("utf-8")
    module.write_text(before + "\n\nCHANGED = True\n", "utf-8")
    assert "pkg/m7.py has changed" in refused(run("tune", "--name", "again", "--resume", home=hone_home))
    module.write_text(before, "utf-8")

    done = run("tune", "--name", "again", "--resume", "--json", home=hone_home)
    assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stderr
    result = json.loads(done.stdout)
    assert result["figures"]["steps"] == 30
    assert not kept.exists()
    unbroken = run(*tiny_run("unbroken", repository, tiny_base, "--steps", "30", "--json"), home=hone_home)
    assert unbroken.returncode == 0, unbroken.stderr
    assert json.loads(unbroken.stdout)["digest"] == result["digest"]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounting a small tmpfs needs root")
def test_a_full_disk_leaves_nothing_behind(make_repository, hone_home: Path, tiny_base: str):
    adapters = hone_home / "adapters"
    adapters.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(adapters)], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        asked = tiny_run("full", make_repository(modules(30)), tiny_base, "--rank", "32", "--steps", "1")
        done = run(*asked, home=hone_home, timeout=250)
        assert "cannot save the adapter" in refused(done)
        assert "No space left" in done.stderr
        assert [path.name for path in adapters.iterdir() if not path.name.endswith(".lock")] == []
        assert json.loads(run("models", "list", "--json", home=hone_home).stdout)["adapters"] == []
    finally:
        subprocess.run(["umount", str(adapters)], check=True)


def test_bad_input_is_one_line(hone_home: Path, make_repository, tmp_path: Path):
    plain = tmp_path / "plain"
    plain.mkdir()
    repository = make_repository({f"m{number}.py": SAMPLE for number in range(3)})
    missing = str(tmp_path / "missing")
    assert "is not a folder or file" in refused(run("tune", missing, "--name", "x", home=hone_home))
    assert "only one of" in refused(
        run("tune", str(plain), "--name", "x", "--steps", "1", "--minutes", "1", home=hone_home)
    )
    assert "name of a base model" in refused(run("tune", str(repository), "--name", "smollm2-135m", home=hone_home))
    assert "cannot be an adapter's name" in refused(run("tune", str(repository), "--name", "a/b", home=hone_home))
    assert "smollm2-135m" in refused(run("tune", str(repository), "--name", "x", "--base", "smollm2", home=hone_home))


@pytest.mark.model
def test_what_cannot_be_a_corpus_is_one_line(embedded_home: Path, make_repository, tmp_path: Path):
    plain = tmp_path / "plain"
    plain.mkdir()
    assert "not in a git repository" in refused(run("tune", str(plain), "--name", "x", home=embedded_home))
    empty = make_repository({}, "empty")
    assert "no tracked files" in refused(run("tune", str(empty), "--name", "x", home=embedded_home))


def test_one_name_is_tuned_by_one_run_at_a_time(hone_home: Path, make_repository):
    from filelock import FileLock

    repository = make_repository({"a.py": SAMPLE})
    (hone_home / "adapters").mkdir()
    with FileLock(hone_home / "adapters" / ".busy.lock"):
        assert "another `hone tune --name busy` is running" in refused(
            run("tune", str(repository), "--name", "busy", home=hone_home)
        )
