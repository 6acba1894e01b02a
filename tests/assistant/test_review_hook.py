"""`hone review` where others start it: as a hook by the real pre-commit, and as a check of a pull request."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, git

GOOD = "def area(w, h):\n    return w * h\n"
BAD = "def area(w, h):\n    return w * missing\n"
Make = Callable[..., Path]


@pytest.fixture
def environment(hone_home: Path, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PRE_COMMIT_HOME": str(tmp_path / "pre-commit"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "tester"),
        **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "tester@example.invalid"),
    }


def run(folder: Path, environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_pre_commit_stops_a_bad_commit_and_lets_a_good_one_pass(
    make_repository: Make, environment: dict[str, str]
) -> None:
    hook = make_repository({".pre-commit-hooks.yaml": (ROOT / ".pre-commit-hooks.yaml").read_text("utf-8")}, "hone")
    wanted = {"id": "hone-review", "args": ["--fail-on", "warning"]}
    config = {"repos": [{"repo": str(hook), "rev": git(hook, "rev-parse", "HEAD").strip(), "hooks": [wanted]}]}
    root = make_repository({"x.py": GOOD, ".pre-commit-config.yaml": yaml.safe_dump(config)})
    installed = run(root, environment, sys.executable, "-m", "pre_commit", "install")
    assert installed.returncode == 0, installed.stdout + installed.stderr

    (root / "x.py").write_text(BAD)
    git(root, "add", "x.py")
    refused = run(root, environment, "git", "commit", "-m", "bad")
    assert refused.returncode == 1
    assert "x.py:2 error ruff/F821" in refused.stdout + refused.stderr
    assert git(root, "log", "--format=%s").split() == ["first"]

    # What is staged counts, whatever the working tree holds.
    (root / "x.py").write_text(GOOD.replace("w * h", "h * w"))
    git(root, "add", "x.py")
    (root / "x.py").write_text(BAD)
    passed = run(root, environment, "git", "commit", "-m", "good")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert git(root, "log", "--format=%s").split() == ["good", "first"]
    assert (root / "x.py").read_text() == BAD


def test_the_check_of_a_pull_request_annotates_its_changed_lines(
    make_repository: Make, environment: dict[str, str], tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "ci.md").read_text("utf-8")
    workflows = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.S)]
    (steps,) = [flow["jobs"]["review"]["steps"] for flow in workflows if "review" in flow.get("jobs", {})]
    (shell,) = [step["run"] for step in steps if step.get("name") == "Review"]
    make_repository({"x.py": GOOD, "y.py": BAD}, "upstream")
    git(tmp_path, "clone", "-q", str(tmp_path / "upstream"), "fork")
    fork = tmp_path / "fork"
    git(fork, "checkout", "-q", "-b", "topic")
    (fork / "x.py").write_text(BAD)
    git(fork, "commit", "-q", "-a", "-m", "bad")
    done = run(fork, {**environment, "GITHUB_BASE_REF": "main"}, "bash", "-e", "-o", "pipefail", "-c", shell)
    assert (done.returncode, done.stdout) == (
        1,
        "::error file=x.py,line=2,title=ruff/F821 (95%25)::Undefined name `missing`\n",
    )
