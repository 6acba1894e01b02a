"""`hone models gc`: deletes what nothing needs, and nothing else."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from assistant import paths
from assistant.errors import HoneError
from assistant.models import convert, serving_form, store
from assistant.models.registry import Registry
from tests.tui.models_here import base, version
from tests.tui.test_models_command import hone, report
from tui.models import garbage


def written(path: Path, days: float, data: bytes = b"x" * 1000) -> Path:
    """A folder with a file in it that were last written so long ago."""
    path.mkdir(parents=True)
    (path / "file").write_bytes(data)
    return aged(path, days)


def aged(path: Path, days: float) -> Path:
    then = time.time() - days * 86_400
    for each in (*path.rglob("*"), path):
        os.utime(each, (then, then))
    return path


def marked(home: Path, job: str, days: float) -> Path:
    """A job's mark of being active."""
    mark = home / "jobs" / ".active" / job
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    return aged(mark, days)


def found(**options: Any) -> dict[str, set[str]]:
    """Names by kind."""
    listed: dict[str, set[str]] = {}
    for each in garbage.find(**options):
        listed.setdefault(each.kind, set()).add(each.spec or each.path.name)
    return listed


def test_only_what_nobody_needs_is_found_and_only_on_request_deleted(hone_home: Path) -> None:
    on = base()
    kept = aged(version("mine", 1, on).folder, 30)
    assert on.gguf is not None
    forms = [written(form.cached_folder(on.gguf), 30) for form in (convert, serving_form)]
    adapters, models = paths.adapters_dir(), paths.models_dir()
    gone = [
        written(adapters / ".mine.abc.part", 2),
        written(adapters / "mine" / "0123456789ab", 2),
        written(models / ".acme--coder.xyz.part", 2),
        written(models / ".org--name.download", 8),
        written(models / "tuning" / ("f" * 24), 8),
        written(models / "serving" / ("f" * 24), 8),
        written(hone_home / "jobs" / ".0abc.removed", 2),
        written(hone_home / "jobs" / ".0abd.xyz.part", 2),
        # As `assistant.atomic` leaves it: with texts, where it is feedback.
        written(hone_home / ".feedback.jsonl.xyz.part", 2),
        marked(hone_home, "0abe", 2),
    ]
    stays = [
        written(adapters / ".other.abc.part", 0.5),
        written(adapters / "mine" / "ba9876543210", 0.5),
        written(models / ".org--other.download", 6),
        written(models / "tuning" / ("e" * 24), 6),
        written(models / "serving" / ("e" * 24), 6),
        written(paths.unfinished_dir() / "given-up", 90),
        written(hone_home / "jobs" / ".0abf.xyz.part", 0.5),
        marked(hone_home, "0abg", 0.5),
        written(hone_home / "jobs" / "0abh", 30),
        marked(hone_home, "0abh", 30),
        kept,
        *forms,
    ]
    listed = report("models", "gc")
    assert (listed["deleted"], listed["freed_bytes"]) == (False, 0)
    assert {each["path"] for each in listed["garbage"]} == {str(path) for path in gone}
    assert all(path.exists() for path in gone)
    deleted = report("models", "gc", "--delete")
    assert deleted["freed_bytes"] == 9000
    assert all(each["deleted"] and each["error"] is None for each in deleted["garbage"])
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in stays)
    assert report("models", "gc", "--delete")["garbage"] == []
    assert store.find(on.name) is not None
    assert [each.folder for each in Registry().versions()] == [kept]


def test_versions_that_were_never_live_go_beyond_the_newest(hone_home: Path) -> None:
    on = base()
    made = [version("mine", seed, on, day=2 + seed) for seed in range(4)]
    other = version("other", 9, on)
    registry = Registry()
    registry.promote(made[0].id)
    registry.promote(made[3].id)
    assert found() == {}
    assert found(keep=1) == {"version": {made[1].id, made[2].id}}
    assert found(keep=2) == {"version": {made[1].id}}
    for each in garbage.find(keep=1):
        assert garbage.delete(each) == each.bytes > 0
    assert [each.id for each in registry.versions()] == [made[0].id, made[3].id, other.id]
    # What was live stays, so that rolling back works.
    assert registry.rollback().target == made[0].id


def test_what_came_into_use_since_it_was_found_is_not_deleted(hone_home: Path) -> None:
    on = base()
    first = version("mine", 1, on)
    version("mine", 2, on, day=3)
    (doomed,) = garbage.find(keep=1)
    Registry().promote(first.id)
    with pytest.raises(HoneError, match="live as champion"):
        garbage.delete(doomed)
    assert first.folder.exists()


def test_what_cannot_be_deleted_keeps_nothing_else(hone_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on = base()
    first = version("mine", 1, on)
    version("mine", 2, on, day=3)
    gone = [written(place / ".x.part", 2) for place in (paths.adapters_dir(), hone_home / "jobs")]
    listing = garbage.find(keep=1)
    # It comes into use while the first are deleted.
    Registry().promote(first.id)
    monkeypatch.setattr(garbage, "find", lambda *_: [listing[0], *listing[::-1]])
    done = hone("models", "gc", "--delete", "--keep", "1")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "not deleted" in done.stderr
    assert "live as champion" in done.stderr
    assert "0.0 MB freed" in done.stdout
    assert not any(path.exists() for path in gone)
    told = report("models", "gc", "--delete", "--keep", "1", status=1)["garbage"]
    assert {each["adapter"]: each["deleted"] for each in told} == {first.id: False, None: True}
    assert first.folder.exists()


def test_unfinished_runs_are_given_up_when_nobody_works_on_them(hone_home: Path) -> None:
    for name, days in (("old", 40.0), ("held", 40.0), ("young", 10.0)):
        written(paths.unfinished_dir() / name, days)
    with FileLock(paths.adapters_dir() / ".held.lock"):
        assert found(unfinished_days=30) == {"unfinished run": {"old"}}
    assert found(unfinished_days=30) == {"unfinished run": {"old", "held"}}
    assert found() == {}


def test_no_garbage_is_one_line(hone_home: Path) -> None:
    assert hone("models", "gc").stdout == "nothing lies here that nothing needs\n"
    assert json.loads(hone("models", "gc", "--json").stdout)["garbage"] == []
