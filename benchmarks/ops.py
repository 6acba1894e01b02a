"""What the ops themselves cost: jobs, their supervisor, the registry, and the log of metrics.

`python -m benchmarks.ops [--rounds 5] [--jobs 1000] [--events 10000] [--metrics 1000] [--seconds 60] [--mlflow PYTHON]
[--no-first-step]`

- list: `hone jobs --json` with that many ended jobs on disk, as a whole process, next to `hone --version` (what Python
  and the command line take), and what the listing itself takes in a process that is there.
- registry: each question that a command asks, with that many events, a third of them registrations with the figures of
  a real run, the others promotions with evidence of 2 kB.
- supervisor: processor time and memory of a job's supervisor over so many seconds while its step runs. The memory is
  what it holds resident, and what of that it shares with nobody.
- submit: from the start of `hone tune ... --detach` with the embedded model until it returns, until the step's process
  is started, and until the first optimizer step is done; the corpus, the pre-flight's probe and the validation of the
  base lie before that one. One run: a second one would find the corpus read.
- metrics: so many lines as a training run writes them, next to MLflow's tracking in SQLite, in the environment of the
  interpreter that --mlflow names (`pip install mlflow-skinny sqlalchemy alembic` there).

State is kept in a fresh folder; the embedded model is taken from the current HONE_HOME.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psutil

from assistant.models.registry import AdapterVersion, Registry
from benchmarks import machine
from tuning.jobs import job as jobs_of
from tuning.jobs import record, state, verbs
from tuning.jobs.job import Job
from tuning.jobs.record import Record
from tuning.jobs.spec import Spec, Step
from tuning.trackers import MetricsFile

HONE = [sys.executable, "-P", "-m", "tui"]
POLL = 0.005
FIGURES = {
    **{"steps": 227, "tokens": 230_762, "seconds": 919.2, "tokens_per_second": 267.2, "validation_before": 0.659},
    **{"validation_after": 0.515, "interrupted": False, "proof_positions": 500, "proof_agreement": 0.98},
    "scales": {"0.5": 0.56, "0.75": 0.53, "1": 0.515},
}
PEER = """
import sys, time
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("speed")
with mlflow.start_run():
    mlflow.log_metric("loss", 0.0, step=0)
    began = time.perf_counter()
    for step in range(1, int(sys.argv[2]) + 1):
        mlflow.log_metric("loss", 1.0 / step, step=step)
    print(time.perf_counter() - began)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--metrics", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--mlflow", metavar="PYTHON")
    parser.add_argument("--no-first-step", action="store_true")
    options = parser.parse_args()
    print(machine.describe())
    with tempfile.TemporaryDirectory(prefix="hone-ops-") as scratch:
        home = Path(scratch) / "home"
        home.mkdir()
        models = Path(os.environ["HONE_HOME"]) / "models" if "HONE_HOME" in os.environ else None
        if models is not None and models.is_dir():
            (home / "models").symlink_to(models.resolve())
        os.environ["HONE_HOME"] = str(home)
        registry(options.events, options.rounds)
        metrics(Path(scratch), options.metrics, options.rounds, options.mlflow)
        supervisor(options.seconds)
        if not options.no_first_step:
            first_step(Path(scratch))
        listing(options.jobs, options.rounds)
    print(machine.describe())


def listing(count: int, rounds: int) -> None:
    folder = jobs_of.folder()
    before = len(jobs_of.all_jobs(folder))
    for number in range(count - before):
        job = jobs_of.create(folder, _spec(f"run {number}", Step("tune", ("/bin/true",))))
        job.note("step began", step="tune", command="/bin/true")
        job.note("step ended", step="tune", exit_code=0)
        last = ("a line of the log",) * record.LAST_LINES
        ended = Record("done", "all steps ended well", "", record.now(), "tune", 0, seconds=900.0, last_lines=last)
        state.write_record(job, ended)
    print(f"\n{len(jobs_of.all_jobs(folder)):,} jobs on disk, milliseconds")
    whole = [(_process([*HONE, "jobs", "--json"]), _process([*HONE, "--version"])) for _ in range(rounds)]
    print(f"  hone jobs --json, whole process     {machine.spread([1e3 * ours for ours, _ in whole])}")
    print(f"  hone --version, whole process       {machine.spread([1e3 * bare for _, bare in whole])}")
    print(f"  the difference                      {machine.spread([1e3 * (ours - bare) for ours, bare in whole])}")
    every = [_seconds(lambda: state.statuses(jobs_of.all_jobs(folder))) for _ in range(rounds)]
    print(f"  all of them, in a process           {machine.spread([1e3 * each for each in every])}")


def registry(events: int, rounds: int) -> None:
    ours = Registry()
    _fill(ours, events)
    newest = ours.versions()[-1]
    report = {"file": "decision.json", "report": {"explanation": "x" * 2000, "outcome": "pass"}}
    questions: dict[str, Callable[[], object]] = {
        "what is live (aliases)": ours.aliases,
        "find an alias": lambda: ours.find("champion"),
        "find NAME@DIGEST": lambda: ours.find(newest.id),
        "what a rollback goes to": lambda: ours.before("champion"),
        "all versions": ours.versions,
        "all versions, and what each is": lambda: [(one.base_name, one.folder, one.figures) for one in ours.versions()],
        "history of an alias": lambda: ours.history("canary"),
        "whole history": lambda: ours.history(brief=True),
        "whole history with all evidence": ours.history,
        "what was live at a time": lambda: ours.live_at(datetime.now(UTC)),
        "marks": ours.marks,
        "promote (a write)": lambda: ours.promote(newest.id, "canary", evidence=report),
    }
    print(f"\nregistry with {len(ours.history()):,} events, milliseconds")
    for name, ask in questions.items():
        print(f"  {name:35} {machine.spread([1e3 * _seconds(ask) for _ in range(rounds)])}")


def _fill(ours: Registry, events: int) -> None:
    """As `register` and `promote` would write it, in one transaction."""
    import sqlite3

    versions = max(1, events // 3)
    for number in range(2):
        ours.register(_version(number))
    data = {"base_name": "smollm2-135m", "base_digest": "b" * 64, "figures": FIGURES}
    evidence = json.dumps({"file": "decision.json", "report": {"explanation": "x" * 2000, "outcome": "pass"}})
    now = "2026-01-01T00:00:00.000+00:00"
    rows: list[tuple[str | None, ...]] = [
        (
            now,
            "registered",
            None,
            f"a{number % 20}",
            _digest(number),
            None,
            "me",
            json.dumps({**data, "folder": f"adapters/a{number % 20}/{_digest(number)}", "created": now}),
        )
        for number in range(2, versions)
    ]
    for number in range(events - versions):
        name, digest = f"a{number % versions % 20}", _digest(number % versions)
        alias = "champion" if number % 10 else "canary"
        rows.append((now, "promoted", alias, name, digest, f"a0@{0:012x}", "me", evidence))
    with sqlite3.connect(ours.file) as connection:
        connection.executemany(
            "INSERT INTO events (time, kind, alias, name, digest, replaced, actor, data) VALUES (?,?,?,?,?,?,?,?)", rows
        )
    connection.close()


def _digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _version(number: int) -> AdapterVersion:
    created = "2026-01-01T00:00:00+00:00"
    return AdapterVersion(f"a{number}", _digest(number), "smollm2-135m", "b" * 64, Path("x"), created, dict(FIGURES))


def supervisor(seconds: float) -> None:
    job = verbs.submit(_spec("idle", Step("sleep", ("/bin/sleep", str(seconds + 30)))))
    try:
        _until(lambda: job.identity("step") is not None)
        found = job.identity("supervisor")
        assert found is not None
        process = psutil.Process(found.pid)
        began, before = time.perf_counter(), sum(process.cpu_times()[:2])
        time.sleep(seconds)
        spent = sum(process.cpu_times()[:2]) - before
        share = spent / (time.perf_counter() - began)
        held = process.memory_full_info()
    finally:
        verbs.stop(job)
        verbs.wait(job, 30)
    print(f"\nsupervisor, over {seconds:.0f} s of a running step")
    print(f"  share of one core                   {share:.3%}")
    print(f"  memory, resident                    {held.rss / 1e6:.1f} MB, of which its own {held.uss / 1e6:.1f} MB")


def first_step(scratch: Path) -> None:
    repository = scratch / "repository"
    repository.mkdir()
    for number in range(60):
        body = "".join(f"def part_{number}_{n}(left, right):\n    return left * {n} + right\n\n\n" for n in range(12))
        (repository / f"module{number}.py").write_text(f'"""Module {number}."""\n\n\n{body}')
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "first")):
        identity = ("-c", "user.name=me", "-c", "user.email=me@example.invalid")
        subprocess.run(["git", "-C", str(repository), *identity, *words], check=True)
    # Of so many steps that no validation belongs to the first; it is stopped after that one.
    command = [*HONE, "tune", str(repository), "--name", "first", "--steps", "1000", "--detach", "--json"]
    began = time.perf_counter()
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    job = Job(Path(told["folder"]))
    reached = [("the command returns", time.perf_counter() - began)]
    try:
        for name, is_reached in (
            ("its step is started", lambda: job.identity("step") is not None),
            ("the first step is done", job.metrics.exists),
        ):
            _until(lambda is_reached=is_reached: is_reached() or not state.look(job).is_active)  # type: ignore[misc]
            if not is_reached():
                raise SystemExit(f"the job ended before: {job.log.read_text('utf-8')[-2000:]}")
            reached.append((name, time.perf_counter() - began))
    finally:
        if state.look(job).is_active:
            verbs.stop(job)
        verbs.wait(job, 120)
    print("\nfrom the start of `hone tune --detach` on, seconds")
    for name, seconds in reached:
        print(f"  {name:35} {seconds:.2f}")


def metrics(scratch: Path, count: int, rounds: int, peer: str | None) -> None:
    ours, theirs = [], []
    for number in range(rounds):
        file = MetricsFile(scratch / f"metrics{number}.jsonl", 0, print)
        ours.append(_seconds(lambda file=file: _append(file, count)))  # type: ignore[misc]
        if peer:
            database = f"sqlite:///{scratch}/mlflow{number}.db"
            environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
            done = subprocess.run(
                [peer, "-c", PEER, database, str(count)], check=True, capture_output=True, text=True, env=environment
            )
            theirs.append(float(done.stdout.split()[-1]))
    print(f"\n{count:,} metrics, milliseconds")
    print(f"  metrics.jsonl, with a sync at the end {machine.spread([1e3 * each for each in ours])}")
    if theirs:
        ratio = statistics.median(theirs) / statistics.median(ours)
        print(
            f"  MLflow, SQLite                      {machine.spread([1e3 * each for each in theirs])}: {ratio:,.0f} x"
        )


def _append(file: MetricsFile, count: int) -> None:
    for step in range(1, count + 1):
        file.append({"step": step, "loss": 1.0 / step})
    file.sync()


def _spec(name: str, step: Step) -> Spec:
    small = {"memory": 1, "cores": 1, "limit": 100, "nice": 0, "stop_seconds": 20.0}
    return Spec(name, ("tune", "src"), str(Path.cwd()), (step,), **small)  # type: ignore[arg-type]


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _process(command: list[str]) -> float:
    return _seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))


def _until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(POLL)


if __name__ == "__main__":
    main()
