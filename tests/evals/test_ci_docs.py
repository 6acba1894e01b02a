"""The examples of docs/ci.md are run: the shell as it stands, with real reports and the real gate; those of
docs/evals.md are read as `hone` reads them."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml

from evals.report import json as json_report
from tests.conftest import ROOT
from tests.evals.report_fixtures import pair, report
from tui.cli import app
from tui.commands import eval_options
from tui.commands.detached import given_flags

TEXT = (ROOT / "docs" / "ci.md").read_text("utf-8")
MEASURING = (ROOT / "docs" / "evals.md").read_text("utf-8")
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.S)]
GITHUB, REVIEW, _, GITLAB = EXAMPLES


def steps() -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in GITHUB["jobs"]["gate"]["steps"] if "name" in step}


def command_lines() -> list[list[str]]:
    shell = [step["run"] for step in steps().values() if "run" in step] + GITLAB["gate"]["script"]
    shell += [step["run"] for step in REVIEW["jobs"]["review"]["steps"] if "run" in step]
    shell += re.findall(r"```\n(hone .*?)```", TEXT + MEASURING, re.S)
    found = [match for text in shell for match in re.findall(r"(?:^|\s)hone ([^|;\n]+)", text)]
    return [shlex.split(line) for line in found]


@pytest.mark.parametrize("arguments", command_lines(), ids=" ".join)
def test_every_command_is_one_that_hone_takes(arguments: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    rest = arguments
    while isinstance(command, click.Group):
        name, *rest = rest
        command = command.commands[name]
    context = command.make_context("hone", list(rest))
    if arguments[0] == "eval":
        eval_options.check(context.params["tasks"], given_flags(context))


def test_every_option_that_the_page_on_measuring_names_is_one() -> None:
    group: Any = typer.main.get_command(app)
    known = {flag for name in ("eval", "gate") for each in group.commands[name].params for flag in each.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", MEASURING))
    assert len(named) > 15
    assert named <= known


@pytest.mark.parametrize(
    ("outcomes", "code", "promoted"),
    [((90, 0, 12, 60), 0, True), ((90, 30, 0, 60), 1, False), ((8, 1, 1, 8), 0, False)],
)
def test_the_gate_step_promotes_fails_or_warns(
    tmp_path: Path, outcomes: tuple[int, int, int, int], code: int, promoted: bool
) -> None:
    measured = pair(*outcomes)
    names = {"old": "smollm2-135m", "new": "ci"}
    for task in ("repo", "humaneval"):
        renamed = re.sub(
            r'"(old|new)"', lambda match: f'"{names[match[1]]}"', (_write(tmp_path, task, measured)).read_text("utf-8")
        )
        (tmp_path / "out" / task / "report.json").write_text(renamed.replace('"humaneval"', f'"{task}"'), "utf-8")
    # The gate is the real one; what else the step calls is written down.
    fake = tmp_path / "bin" / "hone"
    fake.parent.mkdir()
    fake.write_text(
        "#!/bin/bash\n"
        f'if [ "$1" = gate ]; then PYTHONPATH={ROOT} exec {sys.executable} -m tui "$@" --no-run; fi\n'
        'echo "$@" >> called\n'
    )
    fake.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{fake.parent}:{os.environ['PATH']}",
        "HONE_HOME": str(tmp_path / "home"),
        "BASELINE": GITHUB["env"]["BASELINE"],
    }
    environment.pop("GITHUB_STEP_SUMMARY", None)
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", steps()["Gate"]["run"]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    called = tmp_path / "called"
    expected = "models promote ci --evidence out/gate/decision.json\n"
    assert (called.read_text() if called.exists() else None) == (expected if promoted else None)
    assert ("::warning::" in done.stdout) == (not promoted and code == 0)
    assert (tmp_path / "out" / "gate" / "decision.json").is_file()


def _write(folder: Path, task: str, measured: Any) -> Path:
    file = folder / "out" / task / "report.json"
    json_report.write(report(measured), file)
    return file


def test_every_file_that_the_page_names_is_written(tmp_path: Path) -> None:
    from evals.report.write import write
    from tests.evals.report_fixtures import hostile_report

    named = set(re.findall(r"^\| `([a-z.]+)` \|", TEXT, re.M))
    written = {file.name for file in write(hostile_report(), tmp_path)}
    assert named == written | {"decision.json"}
