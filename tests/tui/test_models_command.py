"""`hone models` and `hone doctor`, as a user gives them."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest

from assistant import paths
from assistant.models import store
from assistant.models.identity import adapter_digest, base_identity
from assistant.models.registry import AdapterVersion, Registry
from evals.report import runs
from evals.report.schema import Decision, to_json
from tests.evals import report_fixtures
from tests.small_models import folder_files, write_adapter, write_folder
from tui import cli
from tui.chat.ops import known

LISTENER = """
import socket, sys
listener = socket.create_server(("0.0.0.0", 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.readline()
"""


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`hone` as a user runs it."""
    command = [sys.executable, "-c", "from tui.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


def hone(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in this process: a start takes a second."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["hone", *arguments])
        patch.setattr(sys, "unraisablehook", sys.unraisablehook)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), out.getvalue(), err.getvalue())


def report(*arguments: str, status: int = 0) -> dict[str, Any]:
    done = hone(*arguments, "--json")
    assert (done.returncode, done.stderr) == (status, ""), done
    loaded = json.loads(done.stdout)
    assert loaded["schema_version"] == 1
    return dict(loaded)


def refused(*arguments: str, status: int = 1) -> str:
    """The one line a refused command leaves."""
    done = hone(*arguments)
    assert (done.returncode, done.stdout) == (status, ""), done
    assert done.stderr.startswith("hone: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.fixture
def versions(hone_home: Path, tmp_path: Path) -> list[AdapterVersion]:
    """Two versions of the adapter `mine` on a local base."""
    base = write_folder(tmp_path / "base")
    base_digest = base_identity(store.fetch(str(base))).digest
    made = []
    for seed in range(2):
        staged = write_adapter(tmp_path / "staged" / str(seed), seed)
        digest = adapter_digest(staged, base_digest)
        folder = paths.adapters_dir() / "mine" / digest[:12]
        folder.parent.mkdir(exist_ok=True)
        staged.rename(folder)
        made.append(AdapterVersion("mine", digest, str(base), base_digest, folder, "2026-01-01T00:00:00+00:00"))
        Registry().register(made[-1])
    return made


def test_lists_what_there_is(versions: list[AdapterVersion]) -> None:
    Registry().promote(versions[0].id)
    listed = report("models")
    assert [base["name"] for base in listed["bases"]][:2] == ["smollm2-135m", "qwen2.5-coder-0.5b"]
    assert not any(base["cached"] for base in listed["bases"])
    assert [adapter["id"] for adapter in listed["adapters"]] == [version.id for version in versions]
    assert listed["aliases"] == {"champion": versions[0].id}
    done = process("models", "list")
    assert (done.returncode, done.stderr) == (0, "")
    table = done.stdout
    for expected in ("smollm2-135m", "apache-2.0", versions[0].id, versions[1].id, "champion"):
        assert expected in table


def test_promotes_rolls_back_and_tells_the_history(versions: list[AdapterVersion], tmp_path: Path) -> None:
    old, new = versions
    assert hone("models", "promote", old.id, "--force").stdout == f"champion -> {old.id}\n"
    decision = {"outcome": "pass", "candidate": new.id, "against": old.id}
    promoted = report("models", "promote", "mine", "--evidence", str(written(tmp_path / "decision.json", decision)))
    assert (promoted["target"], promoted["replaced"]) == (new.id, old.id)
    assert promoted["data"]["report"] == decision
    assert "forced" not in promoted["data"]
    assert hone("models", "rollback").stdout == f"champion -> {old.id} (was {new.id})\n"
    assert "nothing to roll back to" in refused("models", "rollback")
    events = report("models", "history", "champion")["events"]
    assert [event["kind"] for event in events] == ["promoted", "promoted", "rolled back"]
    assert "rolled back" in hone("models", "history").stdout
    (live,) = report("models", "live")["live"]
    assert (live["alias"], live["target"], live["kind"]) == ("champion", old.id, "rolled back")
    assert report("models", "live", "--at", "2020-01-01")["live"] == []
    assert old.id in hone("models", "live", "--at", "2999-01-01T00:00").stdout
    assert "write a time as" in refused("models", "live", "--at", "yesterday", status=2)


def written(file: Path, content: object) -> Path:
    file.write_text(json.dumps(content))
    return file


def test_only_what_a_gate_let_pass_goes_live_or_the_registry_says_so(
    versions: list[AdapterVersion], tmp_path: Path
) -> None:
    old, new = versions
    passed, other, failed, figures = (
        str(written(tmp_path / f"{number}.json", content))
        for number, content in enumerate(
            (
                {"outcome": "pass", "candidate": new.id},
                {"outcome": "pass", "candidate": old.id},
                {"outcome": "regression", "candidate": new.id},
                {"bits_per_byte": 0.8},
            )
        )
    )
    assert f"no gate has decided about {new.id}, so it is not promoted" in refused("models", "promote", "mine")
    assert f"`hone gate {new.id} --against M` decides" in refused("models", "promote", "mine")
    assert f"is about {old.id} and not about" in refused("models", "promote", "mine", "--evidence", other)
    assert "did not let" in refused("models", "promote", "mine", "--evidence", failed)
    assert "is no decision of a gate" in refused("models", "promote", "mine", "--evidence", figures)
    assert Registry().aliases() == {}
    forced = report("models", "promote", "mine", "--evidence", failed, "--force")
    assert forced["data"]["forced"] == f"the gate did not let {new.id} pass: regression"
    assert "forced" not in report("models", "promote", "mine", "--evidence", passed, "--force")["data"]


def test_a_decision_about_what_is_live_no_more_promotes_nothing(
    versions: list[AdapterVersion], tmp_path: Path, hone_home: Path
) -> None:
    old, new = versions
    base = old.base_name
    against = {
        name: str(written(tmp_path / f"{name}.json", {"outcome": "pass", "candidate": new.id, "against": other}))
        for name, other in (("base", base), ("old", old.id), ("gone", "mine@0123456789ab"))
    }
    # Nothing is live, so nothing that was not compared is replaced.
    assert report("models", "promote", new.id, "--evidence", against["base"], "--as", "first")["data"]["report"]
    Registry().promote(old.id)
    for name, other in (("base", base), ("gone", "mine@0123456789ab")):
        said = refused("models", "promote", new.id, "--evidence", against[name])
        assert f"the gate compared with {other}, but champion points to {old.id} now" in said
        assert f"`hone gate {new.id} --against {old.id}` decides" in said
    assert Registry().find("champion") == old
    forced = report("models", "promote", new.id, "--evidence", against["base"], "--force")
    assert forced["data"]["forced"].startswith("the gate compared with")
    # It replaces itself.
    assert "forced" not in report("models", "promote", new.id, "--evidence", against["base"])["data"]
    Registry().rollback()
    assert "forced" not in report("models", "promote", new.id, "--evidence", against["old"])["data"]


def test_what_is_live_on_another_base_needs_no_comparison(versions: list[AdapterVersion], tmp_path: Path) -> None:
    new = versions[1]
    other = AdapterVersion("theirs", "c" * 64, "else", "d" * 64, tmp_path, "2026-01-01T00:00:00+00:00")
    Registry().register(other)
    Registry().promote("theirs")
    decision = {"outcome": "pass", "candidate": new.id, "against": new.base_name}
    file = str(written(tmp_path / "decision.json", decision))
    assert "forced" not in report("models", "promote", new.id, "--evidence", file)["data"]


def test_the_newest_decision_of_a_gate_here_is_the_evidence(versions: list[AdapterVersion], hone_home: Path) -> None:
    new = versions[1]
    outcomes: tuple[Literal["regression", "pass"], ...] = ("regression", "pass")
    for number, outcome in enumerate(outcomes):
        folder = hone_home / "evals" / "reports" / str(number) / "gate"
        folder.mkdir(parents=True)
        found = report_fixtures.report(report_fixtures.task({new.id: report_fixtures.greedy(new.id, [True])}))
        told = Decision(outcome, new.id, "old", 0.05, (), "Because.")
        made = replace(found, created=f"2026-01-0{number + 1}T00:00:00+00:00", gate=told)
        written(folder / "report.json", to_json(made))
        written(folder / "decision.json", asdict(told))
        runs.record(made, folder)
        assert known.read().passed == ({new.id: str(folder / "decision.json")} if outcome == "pass" else {})
    promoted = report("models", "promote", "mine")
    assert promoted["data"]["report"]["outcome"] == "pass"
    assert promoted["data"]["file"] == str(folder / "decision.json")


def test_an_adapter_that_cannot_be_served_cannot_go_live(versions: list[AdapterVersion]) -> None:
    base = Path(versions[0].base_name)
    (base / "model.safetensors").write_bytes(folder_files(seed=9)["model.safetensors"])
    assert versions[1].base_digest[:12] in refused("models", "promote", "mine")
    assert Registry().aliases() == {}
    assert "was trained on base" in report("models", "show", "mine")["state"]


def test_shows_an_adapter_and_a_base(versions: list[AdapterVersion]) -> None:
    shown = report("models", "show", "mine")
    assert (shown["id"], shown["state"]) == (versions[1].id, "whole, and fits its base")
    base = report("models", "show", versions[0].base_name)
    assert base["digest"] == versions[0].base_digest
    assert report("models", "show", "smollm2-135m")["cached"] is False
    assert "did you mean mine" in refused("models", "show", "mines")


def test_removes_only_what_was_named_and_is_not_live(versions: list[AdapterVersion]) -> None:
    old, new = versions
    Registry().promote(new.id)
    assert "has 2 versions; name one" in refused("models", "rm", "mine", status=2)
    assert "is an alias" in refused("models", "rm", "champion", status=2)
    assert "live as champion" in refused("models", "rm", new.id)
    assert new.folder.exists()
    removed = report("models", "rm", old.id)
    assert removed["removed"] == old.id
    assert removed["freed_bytes"] > 0
    assert not old.folder.exists()
    assert "not among the fetched models" in refused("models", "rm", "smollm2-135m")


def test_removing_leaves_files_outside_the_state_folder(hone_home: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "elsewhere")
    version = AdapterVersion("theirs", "a" * 64, "base", "b" * 64, folder, "2026-01-01T00:00:00+00:00")
    Registry().register(version)
    assert report("models", "rm", "theirs")["freed_bytes"] == 0
    assert folder.exists()


def test_bad_evidence_is_refused_before_anything_is_live(versions: list[AdapterVersion], tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("not json")
    for file in ("bad.json", "missing.json"):
        assert "not a readable JSON report" in refused("models", "promote", "mine", "--evidence", str(tmp_path / file))
    assert Registry().aliases() == {}


def test_doctor_says_what_is_there(versions: list[AdapterVersion], hone_home: Path) -> None:
    hone_home.chmod(0o700)
    found = report("doctor")
    assert found["state"]["folder"] == str(hone_home)
    assert found["models"]["adapters"] == [version.id for version in versions]
    assert found["gateway"] == {"running": False}
    assert found["problems"] == []
    assert found["versions"]["hone-assistant"]
    assert "physical cores" in hone("doctor").stdout


def test_doctor_finds_what_is_wrong(versions: list[AdapterVersion], hone_home: Path) -> None:
    hone_home.chmod(0o777)
    (versions[0].folder / "adapter_model.safetensors").unlink()
    problems = report("doctor", status=1)["problems"]
    assert len(problems) == 2
    assert "can be written by other users" in problems[0]
    assert f"the files of {versions[0].id} are gone" in problems[1]


def test_doctor_sees_a_gateway_that_other_machines_can_reach(hone_home: Path) -> None:
    hone_home.chmod(0o700)
    gateway = subprocess.Popen(
        [sys.executable, "-c", LISTENER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert gateway.stdout
        port = int(gateway.stdout.readline())
        key = paths.run_dir() / "gateway.key"
        key.write_text("secret")
        key.chmod(0o644)
        record = {
            "pid": gateway.pid,
            "started": psutil.Process(gateway.pid).create_time(),
            # What the record claims does not count, what the process does does.
            "url": f"http://127.0.0.1:{port}",
            "uds": None,
            "key_file": str(key),
            "model": "smollm2-135m",
        }
        (paths.run_dir() / "gateway.json").write_text(json.dumps({"schema_version": 1, "gateway": record}))
        found = report("doctor", status=1)
        assert found["gateway"]["listens_on"] == [f"0.0.0.0:{port}"]
        assert found["gateway"]["exposed_beyond_this_machine"] is True
        assert f"reached from other machines at 0.0.0.0:{port}" in found["problems"][0]
        assert "other users can read the gateway's key" in found["problems"][1]
    finally:
        gateway.communicate("end\n", timeout=60)
    assert report("doctor")["gateway"] == {"running": False}
