"""What a job is kept in: its spec, lines, reserved room, figures, log; and the words of a death."""

import errno
import fcntl
import json
import multiprocessing
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from tuning.jobs import files, metrics, record, settings
from tuning.jobs import spec as spec_of
from tuning.jobs.command import HONE, shown
from tuning.jobs.metrics import Metrics
from tuning.jobs.record import Checkpointed, Record
from tuning.jobs.spec import BadSpec, Spec, Step
from tuning.jobs.tail import Tail

WORDS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
SPECS = st.builds(
    Spec,
    name=WORDS,
    command=st.lists(WORDS, max_size=4).map(tuple),
    folder=st.just("/somewhere"),
    steps=st.lists(
        st.builds(Step, NAMES, st.lists(WORDS, min_size=1, max_size=3).map(tuple), st.lists(WORDS).map(tuple), WORDS),
        min_size=1,
        max_size=4,
        unique_by=lambda step: step.name,
    ).map(tuple),
    after=st.lists(WORDS, max_size=2).map(tuple),
    priority=st.integers(-100, 100),
    memory=st.integers(0, 10**12),
    threads=st.none() | st.integers(1, 64),
    stop_seconds=st.floats(0, 1e6),
    environment=st.dictionaries(WORDS, WORDS, max_size=2),
)


@given(SPECS)
def test_a_spec_is_read_as_it_was_written(spec: Spec):
    assert spec_of.from_json(json.loads(json.dumps(spec_of.to_json(spec)))) == spec


def good() -> dict[str, Any]:
    return json.loads(json.dumps(spec_of.to_json(Spec("x", ("tune",), "/", (Step("a", ("true",)),)))))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "schema_version is 2"),
        ({"nicer": 3}, "unknown key 'nicer'"),
        ({"nice": "3"}, "nice must be of type int, not '3'"),
        ({"nice": True}, "nice must be of type int, not True"),
        ({"limit": None}, "limit must be of type int, not None"),
        ({"steps": []}, "steps of different names"),
        ({"steps": {}}, "steps must be a list"),
        ({"steps": [{"name": "a", "argv": [], "resume": [], "run": ""}]}, "a step needs a name"),
        ({"steps": [{"name": "a", "argv": ["x"], "resume": []}]}, "run is missing"),
        ({"steps": [{"name": "A/b", "argv": ["x"], "resume": [], "run": ""}]}, "a step needs a name of small letters"),
        ({"command": ["a", 3]}, "must be of type str, not 3"),
        ({"environment": {"A": 1}}, "environment must be an object of texts"),
        ({"folder": "here"}, "folder must be absolute"),
    ],
)
def test_a_spec_is_read_strictly(tmp_path: Path, change: dict[str, Any], words: str):
    (tmp_path / "spec.json").write_text(json.dumps(good() | change))
    with pytest.raises(BadSpec) as refused:
        spec_of.read(tmp_path / "spec.json")
    assert words in str(refused.value)
    assert str(tmp_path / "spec.json") in str(refused.value)


def test_a_key_that_is_missing_and_a_file_that_is_none(tmp_path: Path):
    content = good()
    del content["steps"]
    with pytest.raises(BadSpec, match="steps is missing"):
        spec_of.from_json(content)
    with pytest.raises(BadSpec, match="is no job"):
        spec_of.read(tmp_path / "none")


def test_a_line_is_whole_or_not_there(tmp_path: Path):
    file = tmp_path / "events.jsonl"
    files.append_line(file, {"a": 1})
    with file.open("ab") as opened:
        opened.write(b'{"torn": ')
    files.append_line(file, {"b": "ü\n"})
    assert files.read_lines(file) == [{"a": 1}, {"b": "ü\n"}]
    assert files.read_lines(tmp_path / "none") == []


def _append(file: Path, worker: int) -> None:
    for number in range(200):
        files.append_line(file, {"worker": worker, "number": number, "pad": "x" * random.randrange(300)})


def test_lines_of_several_processes_do_not_mix(tmp_path: Path):
    file = tmp_path / "events.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append, args=(file, worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    lines = files.read_lines(file)
    assert len(lines) == 800
    for worker in range(4):
        assert [line["number"] for line in lines if line["worker"] == worker] == list(range(200))


def test_a_reserved_place_is_blank_until_it_is_filled(tmp_path: Path):
    file = tmp_path / "exit.json"
    files.reserve(file, 1000)
    assert files.read_filled(file) is None
    files.fill(file, {"a": "long " * 20}, final=False)
    files.fill(file, {"a": "b"}, final=False)
    assert files.read_filled(file) == {"a": "b"}
    assert file.stat().st_size == 1000
    files.fill(file, {"a": "end"}, final=True)
    assert file.read_text() == '{"a": "end"}\n'
    assert files.read_filled(tmp_path / "none") is None


def made(**changes: Any) -> Record:
    whole = Record("died", "why", "what", "2026-01-01T00:00:00+00:00", "tune", None, "SIGKILL", ("log",), 10**9, 3.5)
    return replace(whole, **{"checkpoint": Checkpointed(4, 0.5), "last_lines": ("a", "b"), **changes})


def test_a_disk_without_locks_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def none(*_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    said = r"is on a disk without file locks \(No locks.*set HONE_HOME to"
    with pytest.raises(HoneError, match=said), files.locked(tmp_path / ".lock"):
        pytest.fail("not locked")


def test_a_record_fits_into_its_room_and_is_read_again():
    assert record.from_json(json.loads(json.dumps(record.to_json(made())))) == made()
    long = made(last_lines=tuple(f"{number} " + "\x00\N{PILE OF POO}" * 400 for number in range(50)))
    content = record.to_json(long)
    assert len(json.dumps(content, ensure_ascii=False).encode()) < record.RESERVED
    read = record.from_json(content)
    assert read is not None
    assert read.last_lines == long.last_lines[-len(read.last_lines) :] != ()
    assert record.from_json({"ending": "died"}) is None
    assert record.from_json(record.to_json(made()) | {"ending": "gone"}) is None


@pytest.mark.parametrize(
    ("code", "lines", "evidence", "reason", "advice"),
    [
        (-9, [], [], "tune was killed by SIGKILL; the system's records", "`hone jobs resume j`"),
        (-9, [], ["oom_kill 0 -> 1"], "because memory ran out (oom_kill 0 -> 1)", "free memory"),
        (-11, ["x"], [], "tune was killed by SIGSEGV", "`hone jobs resume j`"),
        (1, ["torch.OutOfMemoryError: CUDA out of memory."], [], "got no more memory", "free memory"),
        (1, ["OSError: [Errno 28] No space left on device"], [], "found the disk full", "free disk space"),
        (1, ["hone: the loss became nan", "  more"], [], "exit code 1: the loss became nan", "see `hone jobs logs j`"),
        (2, ["hone: no such flag"], [], "exit code 2: no such flag", "another command line"),
        (3, [], [], "tune ended with exit code 3", "see `hone jobs logs j`"),
    ],
)
def test_the_words_of_a_death(code: int, lines: list[str], evidence: list[str], reason: str, advice: str):
    assert reason in record.reason_of("tune", code, lines, evidence, None)
    told = record.advice_of("j", code, lines, evidence, None, True)
    assert advice in told
    assert "goes on from the checkpoint" in told


def test_a_decision_is_no_mistake_in_the_command_line():
    told = record.advice_of("j", 2, ["report: x"], [], "INCONCLUSIVE: measure more", False)
    assert told == "see `hone jobs logs j`; `hone jobs resume j` does the step again"


def test_what_a_step_complained_of_stands_above_what_its_other_processes_say(tmp_path: Path):
    log = tmp_path / "log"
    begun = "$ hone tune\nhone: of the step before\n$ hone tune\n"
    log.write_text(begun + "hone: the corpus is gone\n" + "[rank1]: Traceback\n" * 500 + "=======\n")
    assert record.complaint(log) == "the corpus is gone"
    log.write_text(begun + "[rank1]: Traceback\n")
    assert record.complaint(log) is None


def test_last_lines_of_a_log(tmp_path: Path):
    log = tmp_path / "log"
    log.write_bytes(b"old\n" * 100_000 + b"bar 1%\rbar 99%\r\n\n\xff end\n")
    lines = record.last_lines(log, 3)
    assert lines == ("old", "bar 99%", "\N{REPLACEMENT CHARACTER} end")
    assert record.last_lines(tmp_path / "none") == ()


def line(step: int, **changes: Any) -> dict[str, Any]:
    whole = {"step": step, "share": 0.1, "loss": 2.0, "learning_rate": 1e-3, "tokens": 9, "seconds": 1.0}
    return {**whole, "tokens_per_second": 9.0, "memory": 5, "eta_seconds": None, "validation": None, **changes}


def test_figures_are_read_on_and_begin_anew_where_the_run_does(tmp_path: Path):
    file = tmp_path / "metrics.jsonl"
    read = Metrics(file)
    assert not read.read_on()
    for step in (1, 2, 3):
        files.append_line(file, line(step, loss=float(step)))
    assert read.read_on()
    assert [one.step for one in read.points] == [1, 2, 3]
    with file.open("ab") as opened:
        opened.write(json.dumps(line(4)).encode())
    assert not read.read_on()
    assert metrics.last(file) == read.points[-1]
    with file.open("ab") as opened:
        opened.write(b'\nno json\n{"step": 5}\n[]\n')
    files.append_line(file, line(3, loss=9.0, validation=1.5))
    read.read_on()
    assert [(one.step, one.loss, one.validation) for one in read.points] == [(1, 1, None), (2, 2, None), (3, 9, 1.5)]
    file.write_text("")
    read.read_on()
    assert read.points == []


def test_a_job_records_the_figures_of_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from tuning.train import Progress

    told: list[Progress] = []
    monkeypatch.delenv(metrics.VARIABLE, raising=False)
    assert metrics.recorded(told.append) == told.append
    monkeypatch.setenv(metrics.VARIABLE, str(tmp_path))
    progress = Progress(1, 0, 0.5, 2.5, 1e-3, 100, 2.0, 50.0, 2.0, 1.25, 10**9)
    metrics.recorded(told.append)(progress)
    assert told == [progress]
    point = metrics.last(tmp_path / "metrics.jsonl")
    assert point is not None
    assert (point.step, point.loss, point.validation, point.eta_seconds) == (1, 2.5, 1.25, 2.0)
    monkeypatch.setenv(metrics.VARIABLE, str(tmp_path / "gone"))
    metrics.recorded(told.append)(progress)
    assert len(told) == 2


@given(st.lists(st.text("ab\r", max_size=5), max_size=30), st.integers(1, 10), st.integers(0, 30))
def test_a_tail_begins_near_the_end_and_reads_on(tmp_path_factory: pytest.TempPathFactory, lines, before, cut):
    file = tmp_path_factory.mktemp("tail") / "log"
    file.write_text("".join(f"{one}\n" for one in lines[:cut]))
    tail = Tail(file, before)
    shown_lines = [one.rstrip("\r").rpartition("\r")[2] for one in lines]
    assert tail.read_on() == shown_lines[:cut][-before:]
    with file.open("a", newline="") as opened:
        opened.write("".join(f"{one}\n" for one in lines[cut:]) + "no end")
    assert tail.read_on() == shown_lines[cut:]
    assert tail.read_on(whole=False) == ["no end"]
    assert tail.read_on() == []


def test_a_tail_of_a_large_file(tmp_path: Path):
    file = tmp_path / "log"
    file.write_text("".join(f"line {number}\n" for number in range(50_000)))
    assert Tail(file, 3).read_on() == [f"line {number}" for number in range(49_997, 50_000)]
    assert len(Tail(file, 20_000).read_on()) == 20_000


def test_commands_are_shown_as_they_are_typed():
    assert shown((*HONE, "tune", "my code", "--name", "x")) == "hone tune 'my code' --name x"
    assert shown(("/bin/sh", "-c", "a b")) == "/bin/sh -c 'a b'"


def test_places_of_a_command_line(tmp_path: Path):
    argv = ("gate", "{tune.adapter}", "{job}/reports", "{not a place}")
    filled = spec_of.filled(argv, tmp_path, {"tune": {"adapter": "x@12"}})
    assert filled == ["gate", "x@12", f"{tmp_path}/reports", "{not a place}"]
    # As a user's folder may be called.
    braces = ("tune", "{{cookiecutter.project_slug}}", "src/{job}", "{tune.adapter}")
    assert spec_of.filled(braces, tmp_path, {}) == list(braces)
    with pytest.raises(HoneError, match="step tune has not reported adapter"):
        spec_of.filled(argv, tmp_path, {"tune": {"adapter": None}})


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config" / "hone").mkdir(parents=True)
    return tmp_path / "config" / "hone" / "config.toml"


def test_the_settings_of_jobs(user_file: Path, tmp_path: Path):
    assert settings.load() == settings.JobSettings()
    user_file.write_text("[jobs]\nlimit = 3\nnice = 19\nthreads = 2\nmemory_gb = 1.5\n")
    assert settings.load() == settings.JobSettings(3, 19, 2, 1.5)
    for text, words in (
        ("limit = 0", "jobs.limit = 0 is not possible"),
        ("nice = 20", "jobs.nice = 20 is not possible"),
        ("threads = 1.5", "must be a whole number"),
        ("memory = 3", "the nearest known one is 'memory_gb'"),
        ("limit = true", "must be a whole number"),
    ):
        user_file.write_text(f"[jobs]\n{text}\n")
        with pytest.raises(HoneError, match="jobs") as refused:
            settings.load()
        assert words in str(refused.value)
    user_file.unlink()
    (tmp_path / "hone.toml").write_text("[jobs]\nlimit = 9\n")
    with pytest.raises(HoneError, match="cannot be set by a repository"):
        settings.load()
