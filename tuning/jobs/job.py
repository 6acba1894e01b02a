"""A job is a folder that outlives the terminal; here is what is in it, and how it is found.

`spec.json` what to do; `events.jsonl` what happened; `metrics.jsonl` what the training run measured; `log` what its
steps said; `steps/N-NAME/report.json` what each reported; `supervisor.json` and `step.json` who runs it;
`pulse.json` its last sign of life; `exit.json` how it ended, blank until then; `attempts/` how earlier attempts did.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant import atomic, paths
from assistant.errors import HoneError
from tuning.jobs import files, record, spec
from tuning.jobs.identity import Identity
from tuning.jobs.spec import Spec, Step

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_EPOCH = 1_735_689_600  # 2025-01-01, in seconds
_PULSE_BYTES = 1024
_IDENTITY_BYTES = 512


class NoSuchJob(HoneError):
    """No job, or more than one, is meant by what was given."""


@dataclass(frozen=True)
class Job:
    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def home(self) -> Path:
        """The state folder it belongs to."""
        return self.folder.parent.parent

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def pulse(self) -> Path:
        return self.folder / "pulse.json"

    @property
    def exit(self) -> Path:
        return self.folder / "exit.json"

    def spec(self) -> Spec:
        """
        Raises:
            spec.BadSpec: it is gone or damaged.
        """
        return spec.read(self.folder / spec.FILE_NAME)

    def step_folder(self, step: Step) -> Path:
        names = [each.name for each in self.spec().steps]
        return self.folder / "steps" / f"{names.index(step.name) + 1}-{step.name}"

    def report(self, step: Step) -> dict[str, Any]:
        """The object that a step printed; empty when there is none."""
        return files.read_filled(self.step_folder(step) / "report.json") or {}

    def note(self, event: str, **details: Any) -> None:
        """
        Raises:
            OSError: not writable or full.
        """
        files.append_line(self.events, {"time": record.now(), "event": event, **details})

    def put_identity(self, name: str, identity: Identity, **more: Any) -> None:
        """Says who runs the job or its step, also on a full disk.

        Raises:
            OSError: not writable.
        """
        files.fill(self.identity_file(name), {**asdict(identity), **more}, final=False)

    def identity_file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def identity(self, name: str) -> Identity | None:
        """Of `supervisor` or `step`, alive or not; None when none was started in this attempt."""
        content = files.read_filled(self.identity_file(name))
        try:
            known = content and {key: content[key] for key in ("pid", "started", "boot", "host")}
            # Those written before have no such key.
            return Identity(**known, space=str(content.get("space", ""))) if content and known else None
        except KeyError:
            return None

    def ended(self) -> record.Record | None:
        content = files.read_filled(self.exit)
        return record.from_json(content) if content else None


def folder() -> Path:
    """Where jobs are; created when missing."""
    made = paths.home() / "jobs"
    (made / ".active").mkdir(mode=0o700, parents=True, exist_ok=True)
    return made


@contextmanager
def changing(jobs: Path) -> Iterator[None]:
    """One process at a time decides which jobs there are, which run and which ended."""
    with files.locked(jobs / ".lock"):
        yield


def create(jobs: Path, wanted: Spec) -> Job:
    """A job's folder, whole or not at all; the caller holds `changing`.

    Raises:
        HoneError: the disk refuses.
    """
    spec.check(wanted)
    try:
        job = Job(jobs / _new_id(jobs))
        mark_active(job)
        with atomic.new_folder(job.folder) as staging:
            staging.chmod(0o700)
            atomic.write_json(staging / spec.FILE_NAME, spec.to_json(wanted), mode=0o600)
            made = Job(staging)
            make_room(made)
            made.log.touch(mode=0o600)
            made.note("submitted", command=list(wanted.command))
    except OSError as error:
        raise HoneError(f"cannot keep a job in {jobs}: {error.strerror or error}") from error
    return job


def make_room(job: Job) -> None:
    """Reserves what a full disk must not keep from being written: who runs it, its pulse, and the record of its end.

    Raises:
        OSError: not writable or full.
    """
    for file, size in _rooms(job).items():
        files.reserve(file, size)


def begin_again(job: Job, attempt: int) -> None:
    """Keeps how the attempt ended, and makes room for the next one. A disk that refuses leaves all as it was.

    Args:
        attempt: the number of the one that has ended.

    Raises:
        OSError: not writable or full.
    """
    before = job.folder / "attempts"
    rooms = {file: file.with_name(f".{file.name}.next") for file in _rooms(job)}
    try:
        before.mkdir(mode=0o700, exist_ok=True)
        for file, size in _rooms(job).items():
            files.reserve(rooms[file], size)
        job.note("resumed")
        while (before / f"{attempt}.json").exists():
            attempt += 1
        job.exit.rename(before / f"{attempt}.json")
    except OSError:
        for room in rooms.values():
            room.unlink(missing_ok=True)
        raise
    for file, room in rooms.items():
        room.rename(file)


def _rooms(job: Job) -> dict[Path, int]:
    """What is reserved, in bytes."""
    identities = {job.identity_file(name): _IDENTITY_BYTES for name in ("supervisor", "step")}
    return {**identities, job.exit: record.RESERVED, job.pulse: _PULSE_BYTES}


def forget_supervisor(job: Job) -> None:
    """Who runs it and its last sign of life: blank until the next one writes there.

    Raises:
        OSError: not writable or full; they are blank all the same.
    """
    for file, size in ((job.identity_file("supervisor"), _IDENTITY_BYTES), (job.pulse, _PULSE_BYTES)):
        files.reserve(file, size)


def mark_active(job: Job) -> None:
    (job.folder.parent / ".active" / job.id).touch(mode=0o600)


def unmark(job: Job) -> None:
    (job.folder.parent / ".active" / job.id).unlink(missing_ok=True)


def active(jobs: Path) -> list[Job]:
    """Jobs that have not ended, as far as is known; in order of submission."""
    return [Job(jobs / mark.name) for mark in sorted((jobs / ".active").iterdir())]


def all_jobs(jobs: Path) -> list[Job]:
    """In order of submission."""
    return [Job(each) for each in sorted(jobs.iterdir()) if each.name[0] != "." and each.is_dir()]


def find(jobs: Path, wanted: str) -> Job:
    """The job with this id, the only one whose id begins so, or the newest one of this name.

    Raises:
        NoSuchJob: none, or several.
    """
    known = all_jobs(jobs)
    if not known:
        raise NoSuchJob("there is no job yet; start one by `hone tune ... --detach`")
    exact = [job for job in known if job.id == wanted]
    begun = [job for job in known if wanted and job.id.startswith(wanted)]
    found = exact or begun or [job for job in known if _name(job) == wanted][-1:]
    if len(found) > 1:
        raise NoSuchJob(f"{wanted} could be {', '.join(job.id for job in found[-3:])}; give more of the id")
    if not found:
        raise NoSuchJob(f"there is no job {wanted}; the newest is {known[-1].id} (see `hone jobs`)")
    return found[0]


def filled_step(job: Job, step: Step, argv: tuple[str, ...]) -> list[str]:
    """
    Raises:
        HoneError: an earlier step has not reported what this one needs.
    """
    reports: Mapping[str, Mapping[str, Any]] = {
        each.name: job.report(each) for each in job.spec().steps if each.name != step.name
    }
    return spec.filled(argv, job.folder, reports)


def _name(job: Job) -> str | None:
    try:
        return job.spec().name
    except spec.BadSpec:
        return None


def _new_id(jobs: Path) -> str:
    """Eight digits of milliseconds since 2025 (until 2059); later jobs have later ids, however the clock is set."""
    newest = max((each.name for each in jobs.iterdir() if each.name[0] != "."), default="")
    after = 0
    for digit in newest:
        after = after * 32 + _DIGITS.index(digit) if digit in _DIGITS else after
    number = max(int(time.time() * 1000) - _EPOCH * 1000, after + 1)
    return "".join(_DIGITS[(number >> shift) & 31] for shift in range(35, -1, -5))
