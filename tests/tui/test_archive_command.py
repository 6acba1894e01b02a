"""`hone models export --to archive` and `hone models import`, as a user gives them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from assistant import paths
from assistant.models import store
from assistant.models.identity import adapter_digest, base_identity
from assistant.models.registry import AdapterVersion, Registry
from tests.small_models import write_adapter, write_folder
from tui import cli
from tuning.manifest import identified


@pytest.fixture
def hone(hone_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs `hone` in this process; returns (exit code, standard output, standard error)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hone", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def version(hone_home: Path, tmp_path: Path) -> AdapterVersion:
    base = store.fetch(str(write_folder(tmp_path / "base")))
    identity = base_identity(base)
    folder = write_adapter(paths.adapters_dir() / "mine" / "first", peft_type="LORA")
    digest = adapter_digest(folder, identity.digest)
    created = "2026-01-01T00:00:00+00:00"
    content = {"corpus": {"sources": [], "files": [], "dropped": [], "redactions": {}}, "configuration": {"rank": 2}}
    told = identified(content, "mine", digest, created, base.name, identity)
    (folder / "manifest.json").write_text(json.dumps(told))
    made = AdapterVersion("mine", digest, base.name, identity.digest, folder, created, {"steps": 7, "strange": "text"})
    Registry().register(made)
    return made


def test_one_file_goes_to_another_machine(
    hone: Any, version: AdapterVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Registry().promote(version.id, evidence={"report": {"outcome": "pass"}})
    file = str(tmp_path / "mine.tar")
    code, out, err = hone("models", "export", "champion", "--to", "archive", "--out", file)
    assert (code, err) == (0, "")
    assert f"{version.id}; pieces of evidence: 1; " in out
    second = json.loads(hone("models", "export", "mine", "--to", "archive", "--out", f"{file}2", "--json")[1])
    assert (second["adapter"], second["evidence"], second["schema_version"]) == (version.id, 1, 1)
    bare = ("models", "export", "mine", "--to", "archive", "--counts-only", "--out", f"{file}3", "--json")
    assert json.loads(hone(*bare)[1])["evidence"] == 0
    other = tmp_path / "other-home"
    other.mkdir()
    monkeypatch.setenv("HONE_HOME", str(other))
    base = version.base_name
    assert "base, which is not on this disk" in hone("models", "import", file)[2]
    code, out, _ = hone("models", "import", file, "--base", base)
    assert code == 0
    assert out.startswith(f"{version.id} of base {base}; pieces of evidence: 1\n")
    (taken,) = Registry().versions()
    assert (taken.digest, taken.figures) == (version.digest, {"steps": 7})
    again = json.loads(hone("models", "import", file, "--base", base, "--json")[1])
    assert (again["adapter"], again["is_new"]) == (version.id, False)
    assert "is here already" in hone("models", "import", file, "--base", base)[1]
    shown = json.loads(hone("models", "show", "mine", "--json")[1])
    assert shown["state"] == "whole, and fits its base"


def test_bad_requests_are_one_line(hone: Any, version: AdapterVersion, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive" * 100)
    out = str(tmp_path / "out")
    for arguments, status, said in (
        (("export", "mine", "--to", "archive"), 2, "name a new file"),
        (("export", "mine", "--to", "archive", "--to", "peft", "--out", out), 2, "an archive is one file"),
        (("export", "mine", "--to", "peft", "--counts-only", "--out", out), 2, "--counts-only is for --to archive"),
        (("export", "nobody", "--to", "archive", "--out", out), 2, "nobody is no adapter"),
        (("import", str(tmp_path / "text")), 1, "is not an adapter's archive"),
        (("import", str(tmp_path / "nothing")), 1, "is not a file"),
    ):
        code, told, err = hone("models", *arguments)
        assert (code, told) == (status, ""), err
        assert err.startswith("hone: ")
        assert said in err
        assert err.count("\n") == 1
