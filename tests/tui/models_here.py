"""Models on disk for the Models screen: a fetched base, versions with manifests, events at fixed times, and reports."""

import json
import math
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from assistant import paths
from assistant.models import manifest, store
from assistant.models.identity import adapter_digest, base_identity
from assistant.models.registry import AdapterVersion, Registry
from evals.report import json as reports
from evals.report import runs
from evals.report.results import task_report
from evals.report.schema import Decision, to_json
from tests.evals.report_fixtures import greedy, report
from tests.small_models import write_adapter, write_gguf
from tests.tuning.jobs_here import spec
from tuning.jobs import files, identity, record
from tuning.jobs import job as jobs_of
from tuning.jobs import spec as spec_of
from tuning.jobs.job import Job
from tuning.jobs.record import Record
from tuning.jobs.spec import Step

BASE = "acme/coder"


def base(name: str = BASE) -> store.BaseModel:
    """A fetched base model, whole."""
    folder = paths.models_dir() / name.replace("/", "--")
    folder.mkdir()
    write_gguf(folder / "coder.gguf")
    manifest.write(folder, name, name, None, licence="apache-2.0", gguf="coder.gguf", context_length=512)
    found = store.find(name)
    assert found is not None
    return found


def version(
    name: str, seed: int, on: store.BaseModel, before: float = 0.668, after: float = 0.547, day: int = 2, **more: Any
) -> AdapterVersion:
    """A registered version that could be served: its digests are those of its files."""
    digest_of_base = base_identity(on).digest
    staged = write_adapter(paths.adapters_dir() / f".{name}{seed}", seed)
    digest = adapter_digest(staged, digest_of_base)
    folder = paths.adapters_dir() / name / digest[:12]
    folder.parent.mkdir(exist_ok=True)
    staged.rename(folder)
    (folder / "manifest.json").write_text(json.dumps(_manifest() | more))
    (folder / "card.md").write_text(
        f"---\nbase_model: {on.name}\n---\n\n# {name}\n\nA LoRA.\n\n| | |\n|---|---|\n| rank | 32 |\n"
    )
    points = []
    for step in range(1, 101):
        loss = 0.9 + 1.6 * math.exp(-step / 20) + 0.1 * math.sin(step * 2.7)
        checked = after + (before - after) * math.exp(-step / 25) if step % 10 == 0 else None
        points.append({"step": step, "loss": loss, "validation": checked})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
    figures = {
        **{"steps": 215, "tokens": 217_425, "seconds": 918.7, "tokens_per_second": 252.9},
        **{"validation_before": before, "validation_after": after},
        **{"proof_positions": 500, "proof_agreement": 0.98, "proof_base_agreement": 0.956},
    }
    created = f"2026-01-{day:02d}T03:04:05+00:00"
    made = AdapterVersion(name, digest, on.name, digest_of_base, folder, created, figures)
    Registry()
    event("registered", made, day=day, data=_registered(made))
    return made


def _manifest() -> dict[str, Any]:
    source = {"kind": "git", "path": "/nowhere/shop/src", "root": "/nowhere/shop", "commit": "dfeebd4dd73244fd2c24"}
    splits = ["train"] * 12 + ["validation"] * 2 + ["test"] * 3
    return {
        "corpus": {"sources": [source], "files": [{"path": f"{n}.py", "split": each} for n, each in enumerate(splits)]},
        "configuration": {"rank": 32, "alpha": 64, "learning_rate": 0.001, "train_tokens": 650_021},
    }


def _registered(made: AdapterVersion) -> dict[str, Any]:
    kept = made.folder.relative_to(paths.home())
    return {
        "base_name": made.base_name,
        "base_digest": made.base_digest,
        "folder": str(kept),
        "created": made.created,
        "figures": made.figures,
    }


def event(
    kind: str, of: AdapterVersion, alias: str = "", replaced: str = "", day: int = 2, data: dict[str, Any] | None = None
) -> None:
    """An event of the log at a time that never changes."""
    registry = Registry()
    registry.versions()
    row = (f"2026-01-{day:02d}T12:30:00.000+00:00", kind, alias or None, of.name, of.digest, replaced or None, "ada")
    with sqlite3.connect(registry.file) as connection:
        connection.execute(
            "INSERT INTO events (time, kind, alias, name, digest, replaced, actor, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, json.dumps(data or {})),
        )
    connection.close()


def job(identifier: str, *steps: Step, command: Sequence[str], ended: bool = True, name: str = "") -> Job:
    """As it stands on disk; one that has not ended is supervised by this process."""
    made = Job(jobs_of.folder() / identifier)
    made.folder.mkdir()
    wanted = spec(*steps, name=name or identifier)
    content = spec_of.to_json(wanted) | {"command": list(command)}
    (made.folder / "spec.json").write_text(json.dumps(content))
    files.append_line(made.events, {"time": "2026-01-02T03:04:05+00:00", "event": "submitted"})
    made.log.touch()
    made.put_identity("supervisor", identity.own())
    if ended:
        at = "2026-01-02T04:04:05+00:00"
        done = Record("done", "all steps ended well", "", at, steps[-1].name, 0, None)
        made.exit.write_text(json.dumps(record.to_json(done)))
    else:
        jobs_of.mark_active(made)
    return made


def measured(
    identifier: str, before: tuple[str, str], after: tuple[str, str], won: int = 12, lost: int = 1, name: str = ""
) -> Job:
    """A job that evaluated two models, given by name and digest, on a hundred items."""
    rows = [
        [True] * (40 + lost) + [False] * (60 - lost),
        [True] * 40 + [False] * lost + [True] * won + [False] * (60 - lost - won),
    ]
    subjects = [
        ({"asked": name, "name": name, "digest": digest, "served": "as it is"}, greedy(name, right))
        for (name, digest), right in zip((before, after), rows, strict=True)
    ]
    step = Step("eval", ("true",))
    made = job(identifier, step, command=("eval", "humaneval", "--model", before[0], "--model", after[0]), name=name)
    folder = made.step_folder(step)
    folder.mkdir(parents=True)
    whole = report(task_report("humaneval", "humaneval@1", {"temperature": 0.0}, subjects))
    (folder / "report.json").write_text(json.dumps(to_json(whole)))
    runs.record(whole, folder)
    return made


def decided(
    made: Job, candidate: str, against: str, outcome: Literal["pass", "regression", "inconclusive"] = "pass"
) -> None:
    """The gate's decision in that job, from what was measured there."""
    tasks = [task for file in sorted(made.folder.glob("steps/*eval*/report.json")) for task in reports.read(file).tasks]
    folder = made.folder / "reports" / "gate"
    folder.mkdir(parents=True)
    explanation = f"PASS: {candidate} may replace {against}."
    told = {"schema_version": 2, "candidate": candidate, "against": against, "outcome": outcome, "exit_code": 0}
    (folder / "decision.json").write_text(json.dumps(told | {"explanation": explanation}))
    whole = replace(report(*tasks), gate=Decision(outcome, candidate, against, 0.05, (), explanation))
    (folder / "report.json").write_text(json.dumps(to_json(whole)))
    runs.record(whole, folder)
