"""Fetching from a hub: a real HTTP server on loopback, real processes, real interruptions."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.errors import HoneError, UnknownModel
from assistant.models import store
from tests.fake_hub import FakeHub
from tests.small_models import folder_files, write_gguf

LARGE = 6_000_000
"""Numbers of 4 bytes: the hub's client writes to disk in steps of 10 MiB, and half of it must be more than one."""
PULL = [sys.executable, "-c", "from tui.cli import main; main()", "models", "pull", "acme/coder", "--json"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, hone_home: Path) -> Iterator[FakeHub]:
    with FakeHub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", "")
        yield running


def left_behind(home: Path) -> list[str]:
    """Everything in the store but lock files."""
    models = home / "models"
    return sorted(str(path.relative_to(models)) for path in models.rglob("*") if not path.name.endswith(".lock"))


def test_takes_weights_tokenizer_and_configuration_only(hub: FakeHub) -> None:
    files = folder_files()
    extra = {"pytorch_model.bin": b"pickle", "training_args.bin": b"pickle", "modeling.py": b"code", "README.md": b"#"}
    hub.repositories["acme/coder"] = {**files, **extra, "onnx/model.safetensors": b"elsewhere"}
    seen: list[tuple[str, int, int | None]] = []
    base = store.fetch("acme/coder", lambda *step: seen.append(step))
    assert base.folder
    assert {path.name for path in base.folder.iterdir()} == {*files, "model.json"}
    assert all((base.folder / name).read_bytes() == data for name, data in files.items())
    assert {request.file for request in hub.downloads()} == set(files)
    assert (base.name, base.gguf, base.licence, base.context_length) == ("acme/coder", None, "apache-2.0", 1024)
    size = len(files["model.safetensors"])
    assert ("downloading model.safetensors", size, size) in seen


def test_works_without_the_hub_once_cached(hub: FakeHub) -> None:
    hub.repositories["acme/coder"] = folder_files()
    fetched = store.fetch("acme/coder")
    asked = len(hub.requests)
    hub.__exit__(None, None, None)
    assert store.fetch("acme/coder") == store.find("acme/coder") == fetched
    assert len(hub.requests) == asked
    hub.__enter__()


def test_goes_on_after_a_dropped_connection(hub: FakeHub) -> None:
    files = hub.repositories["acme/coder"] = folder_files(weights=LARGE)
    hub.drops = 1
    base = store.fetch("acme/coder")
    assert base.folder
    assert (base.folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    ranges = [request.range for request in hub.downloads() if request.file == "model.safetensors"]
    assert ranges[0] is None
    assert ranges[1] is not None
    assert int(ranges[1].removeprefix("bytes=").rstrip("-")) > 0


def test_a_killed_download_is_taken_up_by_the_next(hub: FakeHub, hone_home: Path) -> None:
    files = hub.repositories["acme/coder"] = folder_files(weights=LARGE)
    hub.seconds_per_piece = 0.05
    child = subprocess.Popen(PULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: any(part.stat().st_size > 0 for part in hone_home.glob("models/.*/model.safetensors*.part")))
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert store.find("acme/coder") is None
    hub.seconds_per_piece = 0.0
    base = store.fetch("acme/coder")
    assert base.folder
    assert (base.folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    last = [request for request in hub.downloads() if request.file == "model.safetensors"][-1]
    assert last.range is not None
    assert sum(request.file == "config.json" for request in hub.downloads()) == 1
    assert left_behind(hone_home) == sorted(
        ["acme--coder", *(f"acme--coder/{name}" for name in [*files, "model.json"])]
    )


def test_two_processes_at_once_download_once(hub: FakeHub) -> None:
    files = hub.repositories["acme/coder"] = folder_files(weights=LARGE)
    hub.seconds_per_piece = 0.01
    children = [subprocess.Popen(PULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0], answers
    assert len({json.loads(output)["digest"] for output, _ in answers}) == 1
    assert sorted(request.file for request in hub.downloads()) == sorted(files)
    assert any("waiting for another process" in errors for _, errors in answers)


def test_pickled_weights_are_refused(hub: FakeHub, hone_home: Path) -> None:
    files = folder_files()
    del files["model.safetensors"]
    hub.repositories["acme/coder"] = {**files, "pytorch_model.bin": b"\x80\x02}q\x00."}
    with pytest.raises(HoneError, match=r"only pickled weights \(pytorch_model\.bin\)"):
        store.fetch("acme/coder")
    assert hub.downloads() == []
    assert left_behind(hone_home) == []


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_in_a_model_is_refused_before_its_weights(hub: FakeHub, hone_home: Path, file: str) -> None:
    files = folder_files()
    files[file] = json.dumps({"auto_map": {"AutoModelForCausalLM": "modeling.Evil"}}).encode()
    hub.repositories["acme/coder"] = files
    with pytest.raises(HoneError, match=f"auto_map in {file}|auto_map"):
        store.fetch("acme/coder")
    assert "model.safetensors" not in {request.file for request in hub.downloads()}
    assert left_behind(hone_home) == []


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_refused(hub: FakeHub, hone_home: Path, file: str) -> None:
    hub.repositories["acme/coder"] = folder_files()
    hub.damaged.add(file)
    with pytest.raises(HoneError, match=f"{file} of acme/coder has the wrong checksum"):
        store.fetch("acme/coder")
    assert left_behind(hone_home) == []
    hub.damaged.clear()
    assert store.fetch("acme/coder").folder


def test_a_hub_without_digests_is_refused(hub: FakeHub, hone_home: Path) -> None:
    hub.repositories["acme/coder"] = folder_files()
    hub.without_digests = True
    with pytest.raises(HoneError, match="gives no digest"):
        store.fetch("acme/coder")
    assert left_behind(hone_home) == []


def test_weights_that_the_hub_itself_cut_short_are_refused(hub: FakeHub, hone_home: Path) -> None:
    files = folder_files()
    files["model.safetensors"] = files["model.safetensors"][:-100]
    hub.repositories["acme/coder"] = files
    with pytest.raises(HoneError, match="cut short"):
        store.fetch("acme/coder")
    assert left_behind(hone_home) == []


def test_an_unknown_repository_is_named(hub: FakeHub, hone_home: Path) -> None:
    with pytest.raises(UnknownModel, match="the hub has no model acme/nothing"):
        store.fetch("acme/nothing")
    assert left_behind(hone_home) == []


def test_no_network_is_one_line(hone_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = subprocess.run(PULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("hone: cannot reach the hub for acme/coder")
    assert done.stderr.count("\n") == 1
    assert left_behind(hone_home) == []


def test_picks_the_gguf_asked_for(hub: FakeHub, tmp_path: Path) -> None:
    gguf = write_gguf(tmp_path / "x.gguf").read_bytes()
    names = (
        "coder-q4_k_m.gguf",
        "coder-q4_k.gguf",
        "coder-q8_0.gguf",
        "mmproj-q8_0.gguf",
        "coder-f16-00001-of-00002.gguf",
    )
    hub.repositories["acme/coder-GGUF"] = dict.fromkeys(names, gguf)
    chosen = {spec: store.fetch(f"acme/coder-GGUF{spec}").gguf for spec in ("", ":Q8_0", ":Q4_K")}
    assert {spec: path.name for spec, path in chosen.items() if path} == {
        "": "coder-q4_k_m.gguf",
        ":Q8_0": "coder-q8_0.gguf",
        ":Q4_K": "coder-q4_k.gguf",
    }
    with pytest.raises(
        HoneError, match=r"no GGUF of quantization F16; there are: coder-q4_k\.gguf, coder-q4_k_m\.gguf"
    ):
        store.fetch("acme/coder-GGUF:F16")


def test_a_removed_model_is_gone_and_comes_back(hub: FakeHub, hone_home: Path) -> None:
    hub.repositories["acme/coder"] = folder_files()
    store.fetch("acme/coder")
    assert store.cached_names() == ["acme/coder"]
    assert store.remove("acme/coder") > 0
    assert left_behind(hone_home) == []
    assert store.find("acme/coder") is None
    with pytest.raises(UnknownModel):
        store.remove("acme/coder")
    assert store.fetch("acme/coder").folder


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a tmpfs")
@pytest.mark.parametrize("told", [True, False], ids=["size known before", "fills up while downloading"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    hub.repositories["acme/coder"] = folder_files(weights=400_000)
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this system does not let us mount a tmpfs")
    try:
        monkeypatch.setenv("HONE_HOME", str(disk / "home"))
        if not told:
            monkeypatch.setattr("assistant.models.hub.require_space", lambda *_: None)
        with pytest.raises(HoneError, match="not enough disk space" if told else "is full") as raised:
            store.fetch("acme/coder")
        assert "\n" not in str(raised.value)
        assert left_behind(disk / "home") == []
    finally:
        subprocess.run(["umount", disk], check=True)


def wait_until(reached: object, seconds: float = 30) -> None:
    assert callable(reached)
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
