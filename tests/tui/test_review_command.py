"""`hone review`, as a process where its output and exit code count together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, git
from tui.cli import main

OLD = "def area(w, h):\n    return w * h\n"
NEW = "def area(w, h):\n    return w * missing\n"


@pytest.fixture
def root(make_repository, hone_home: Path) -> Path:
    folder = make_repository({"x.py": OLD})
    (folder / "x.py").write_text(NEW)
    return folder


def hone(root: Path, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tui", "review", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "XDG_CONFIG_HOME": str(root / ".git")},
        input=given,
        capture_output=True,
        check=False,
    )
    output, error = (text.decode("utf-8") for text in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, output, error)


def test_findings_are_shown_with_their_code_and_stop_a_script(root: Path):
    done = hone(root)
    assert done.returncode == 1
    assert done.stdout == (
        "x.py:2 error ruff/F821 (95%)\n"
        "  Undefined name `missing`\n"
        "  2 |     return w * missing\n"
        "\n"
        "1 finding (1 error) in 1 changed line of 1 file.\n"
    )
    assert done.stderr.startswith("note: no model looked at this")
    assert hone(root, "--fail-on", "never", "--analyzers-only").returncode == 0


def test_nothing_found_is_one_line(root: Path):
    (root / "x.py").write_text(OLD.replace("w * h", "h * w"))
    done = hone(root, "--analyzers-only")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Nothing found in 1 changed line of 1 file.\n"
    git(root, "checkout", "-q", "x.py")
    done = hone(root)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "There is nothing to review: no source file has changed.\n"


def test_json_is_one_object_alone(root: Path):
    done = hone(root, "--json")
    found = json.loads(done.stdout)
    assert found["schema_version"] == 1
    assert [one["rule"] for one in found["findings"]] == ["ruff/F821"]
    assert found["counts"] == {"error": 1, "warning": 0, "note": 0}
    assert found["notes"]
    assert done.stderr == ""
    assert done.returncode == 1


def test_other_formats_and_inputs(root: Path):
    git(root, "add", "x.py")
    sarif = hone(root, "--staged", "--format", "sarif", "--analyzers-only")
    assert json.loads(sarif.stdout)["runs"][0]["results"][0]["ruleId"] == "ruff/F821"
    diff = git(root, "diff", "--cached")
    git(root, "commit", "-q", "-m", "bad")
    github = hone(root, "--commit", "HEAD", "--format", "github", "--analyzers-only")
    assert github.stdout == "::error file=x.py,line=2,title=ruff/F821 (95%25)::Undefined name `missing`\n"
    given = hone(root, "--diff", "-", "--analyzers-only", given=diff.encode())
    assert "x.py:2 error" in given.stdout


def test_a_baseline_is_written_and_honoured(root: Path):
    done = hone(root, "--baseline", "accepted.json", "--write-baseline", "--analyzers-only")
    assert (done.returncode, done.stdout) == (0, "accepted.json: 1 finding accepted\n")
    done = hone(root, "--baseline", "accepted.json", "--analyzers-only")
    assert done.returncode == 0
    assert done.stdout == "Nothing found in 1 changed line of 1 file (1 accepted by the baseline).\n"


def test_text_of_a_file_cannot_colour_or_move_anything(root: Path):
    (root / "x.py").write_text("value = missing  # \x1b[31m[bold]\u202e\r\n")
    done = hone(root, "--analyzers-only")
    assert "^[[31m[bold]<U+202E>" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--staged", "--base", "main"], "--staged and --base contradict"),
        (["--json", "--format", "sarif"], "contradict"),
        (["--write-baseline"], "needs --baseline"),
        (["--base", "nowhere"], "names no commit"),
        (["--baseline", "none.json"], "there is no baseline"),
        (["--model", "no-such-model"], "no model is called"),
        (["--diff", "none.diff"], "cannot read none.diff"),
        (["no-such-file.py"], "check the spelling"),
        (["--whole"], "name the files"),
        (["--samples", "0"], "--samples"),
    ],
)
def test_what_is_no_review_exits_with_2(
    root: Path,
    arguments: list[str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["hone", "review", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    told = capsys.readouterr()
    assert caught.value.code == 2
    assert reason in told.err
    assert told.out == ""
