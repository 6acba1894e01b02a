"""`hone feedback`: whose texts are kept, what is shown, exported, imported and forgotten."""

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assistant import atomic, feedback_consent, paths
from assistant.feedback import COPIES, ROWS, Feedback
from assistant.feedback_events import Kind
from assistant.models.registry import AdapterVersion, Registry
from tests.tuning.feedback_here import opted_in, shown
from tui import cli
from tui.models import verbs

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hone(
    hone_home: Path, make_repository: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs `hone feedback` in this process, inside of a repository."""
    (folder := make_repository({"src/a.py": "x = 1\n"}) / "src").is_dir()
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hone", "feedback", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def report(hone: Run, *arguments: str) -> dict[str, Any]:
    code, out, err = hone(*arguments, "--json")
    assert (code, err) == (0, "")
    return dict(json.loads(out))


def test_a_repository_opts_in_and_out(hone: Run, tmp_path: Path) -> None:
    assert "no texts are kept" in hone()[1]
    told = report(hone, "on")
    assert told["texts_kept_of"] == [str(tmp_path / "repository")]
    assert (told["texts_kept_elsewhere"], told["retention_days"]) == (False, 180)
    assert report(hone, "on", "--elsewhere")["texts_kept_elsewhere"] is True
    assert report(hone, "show")["texts_kept_of"] == [str(tmp_path / "repository")]
    assert report(hone, "off", str(tmp_path / "repository"))["texts_kept_of"] == []
    assert report(hone, "off", "--elsewhere")["texts_kept_elsewhere"] is False


def test_what_was_taken_is_shown_by_model(hone: Run) -> None:
    assert "nothing is known yet" in hone("show")[1]
    kept = opted_in()
    shown(kept, 1, "accepted", model="mine@0123456789ab")
    shown(kept, 2, "rejected", model="mine@0123456789ab")
    table = hone()[1]
    assert "mine@0123456789ab" in table
    assert "50%" in table
    told = report(hone)
    assert (told["events"], told["with_texts"], told["groups"][0]["acceptance"]) == (4, 3, 0.5)


def test_acceptance_is_told_by_language_and_adapter(hone: Run) -> None:
    tuned = "mine@0123456789ab"
    outcomes: list[tuple[str, str, Kind]] = [
        ("python", tuned, "accepted"),
        ("python", tuned, "rejected"),
        ("go", tuned, "partly"),
        ("python", "base", "rejected"),
    ]
    for number, (language, model, kind) in enumerate(outcomes):
        facts = {"id": f"s{number}", "model": model, "adapter": model if "@" in model else None, "language": language}
        Feedback().record("shown", **facts)  # type: ignore[arg-type]
        Feedback().record(kind, **facts)  # type: ignore[arg-type]
    Feedback().record("edited", id="s0", model=tuned, adapter=tuned, language="python", survival=0.5, seconds=31.0)
    told = {
        (group["language"], group["adapter"]): (group["shown"], group["acceptance"], group["survival"])
        for group in report(hone)["groups"]
    }
    assert told == {
        ("python", tuned): (2, 0.5, 0.5),
        ("go", tuned): (1, 1.0, None),
        ("python", None): (1, 0.0, None),
    }
    table = [line.split() for line in hone()[1].splitlines()]
    assert ["python", tuned, "2", "1", "0", "1", "50%", "50%"] in table
    assert [row[:6] for row in table if row[:1] == ["go"]] == [["go", tuned, "1", "0", "1", "0"]]
    assert [row[:2] for row in table if "base" in row] == [["python", "base"]]


def test_outside_of_a_repository_one_must_be_named(hone: Run, tmp_path: Path) -> None:
    code, out, err = hone("on", str(tmp_path))
    assert (code, out) == (1, "")
    assert "in no git repository; name one, or say --elsewhere" in err
    assert feedback_consent.read() == feedback_consent.Consent()


def test_a_shorter_retention_removes_what_is_older_now(hone: Run) -> None:
    shown(opted_in(), 1)
    line = Feedback().file.read_text()
    Feedback().file.write_text(line.replace('"time": "20', '"time": "19') + line)
    told = report(hone, "retention", "30")
    assert (told["forgotten"], told["retention_days"]) == (1, 30)
    assert len(Feedback().read().events) == 1
    assert hone("retention", "0")[0] == 2


def test_a_clock_in_doubt_is_told_until_somebody_says_that_it_is_right(hone: Run) -> None:
    shown(opted_in(), 1)
    file = Feedback().file
    file.write_text(file.read_text().replace('"time": "20', '"time": "19'))
    os.utime(file.with_name(file.name + ".expired"), (0, 0))
    shown(opted_in(), 2)
    assert len(Feedback().read().events) == 2
    assert "`hone feedback retention 180` removes it now" in hone()[2]
    assert report(hone)["removal_put_off_until"] is not None
    assert report(hone, "retention", "180")["forgotten"] == 1
    assert hone()[2] == ""


def test_each_form_is_exported_for_its_owner_alone(hone: Run, tmp_path: Path) -> None:
    kept = opted_in()
    shown(kept, 1, "accepted")
    shown(kept, 2, "rejected")
    shown(kept, 3, "accepted", text="return 3\n", edited="return three\n")
    out = tmp_path / "out.jsonl"
    counts = {}
    for form in ("labels", "pairs", "completions", "tabby", "continue"):
        counts[form] = report(hone, "export", str(out), "--form", form)["examples"]
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        assert len(out.read_text().splitlines()) == counts[form]
        if form == "pairs":
            (pair,) = map(json.loads, out.read_text().splitlines())
            assert (pair["chosen"], pair["rejected"]) == ("return three\n", "return 3\n")
    assert counts == {"labels": 3, "pairs": 1, "completions": 1, "tabby": 9, "continue": 3}
    code, _, err = hone("export", str(out), "--form", "csv")
    assert (code, err.count("\n")) == (2, 1)


def test_without_texts_there_is_nothing_to_export(hone: Run, tmp_path: Path) -> None:
    shown(Feedback(), 1, "accepted")
    code, out, err = hone("export", str(tmp_path / "out.jsonl"))
    assert (code, out) == (1, "")
    assert "hone feedback on" in err


def test_another_programs_record_is_taken_over_once(hone: Run, tmp_path: Path) -> None:
    shown(opted_in(), 1, "accepted")
    file = tmp_path / "tabby.jsonl"
    report(hone, "export", str(file), "--form", "tabby")
    first, again = (report(hone, "import", str(file), "--form", "tabby") for _ in range(2))
    assert (first["imported"], first["known_before"]) == (2, 0)
    assert (again["imported"], again["known_before"]) == (0, 2)
    events = [event for event in Feedback().read().events if event.id == "tabby:s1"]
    assert [(event.kind, event.model, event.completion) for event in events] == [
        ("shown", "Tabby", "return sum(items) + 1\n"),
        ("accepted", "Tabby", "return sum(items) + 1\n"),
    ]
    file.write_text("{}\n")
    code, _, err = hone("import", str(file), "--form", "tabby")
    assert (code, err.count("\n")) == (1, 1)
    assert "line 1 is no event of Tabby's form" in err


def test_what_became_of_a_suggestion_is_taken_over_from_a_later_file(hone: Run, tmp_path: Path) -> None:
    shown(opted_in(), 1, "accepted")
    whole, daily = tmp_path / "tabby.jsonl", tmp_path / "daily.jsonl"
    report(hone, "export", str(whole), "--form", "tabby")
    lines = whole.read_text().splitlines(keepends=True)
    for part, told in ((lines[:2], (1, 0)), (lines[2:], (1, 0)), (lines, (0, 2))):
        daily.write_text("".join(part))
        found = report(hone, "import", str(daily), "--form", "tabby")
        assert (found["imported"], found["known_before"]) == told
    assert [event.kind for event in Feedback().read().events if event.id == "tabby:s1"] == ["shown", "accepted"]


def adapter(name: str, **manifest: object) -> AdapterVersion:
    folder = paths.adapters_dir() / name
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    version = AdapterVersion(name, name[0] * 64, "base", "b" * 64, folder, "2026-01-01T00:00:00+00:00")
    Registry().register(version)
    return version


def test_forgetting_names_and_marks_the_adapters_that_learnt_from_it(hone: Run) -> None:
    for number in range(3):
        shown(opted_in(), number, "accepted")
    direct = adapter("a-direct", feedback={"ids": ["s0", "s1"], "start": None})
    later = adapter("c-later", feedback={"ids": ["s2"], "start": direct.id})
    merged = adapter("d-merged", parents=[{"id": later.id}])
    adapter("e-other", feedback={"ids": ["s2"], "start": None})
    adapter("f-plain")
    told = report(hone, "forget", "s0")
    assert told["forgotten"] == 2
    assert told["adapters"] == [
        {"adapter": direct.id, "suggestions": 1, "through": []},
        {"adapter": later.id, "suggestions": 0, "through": [direct.id]},
        {"adapter": merged.id, "suggestions": 0, "through": [later.id]},
    ]
    assert {event.id for event in Feedback().read().events} == {"s1", "s2"}
    marks = Registry().marks()
    assert marks.keys() == {direct.id, later.id, merged.id}
    assert marks[direct.id][0].data["reason"] == "trained on feedback that was forgotten"
    # They are still there, and what was live is live.
    assert len(Registry().versions()) == 5


def test_only_what_runs_wrote_down_of_what_is_forgotten_goes(hone: Run) -> None:
    for number in range(3):
        shown(opted_in(), number, "accepted")
    copies = paths.cache_dir() / COPIES
    for name, ids in (("with", ["s0", "s1"]), ("without", ["s1", "s2"])):
        (copies / name).mkdir(parents=True)
        (copies / name / ROWS).write_text(json.dumps({"ids": ids}))
    (copies / ".damaged.part").mkdir()
    assert report(hone, "forget", "s9")["forgotten"] == 0
    assert {each.name for each in copies.iterdir()} == {"with", "without", ".damaged.part"}
    assert report(hone, "forget", "s0")["forgotten"] == 2
    assert {each.name for each in copies.iterdir()} == {"without"}


class KilledError(BaseException):
    pass


def killed_at(place: Path) -> Callable[..., None]:
    """In place of `atomic.write_bytes`: does not live to write there."""
    write = atomic.write_bytes

    def until(path: Path, *rest: Any, **more: Any) -> None:
        if path == place:
            raise KilledError
        write(path, *rest, **more)

    return until


def killed(*_: object, **__: object) -> None:
    raise KilledError


def test_forgetting_that_is_killed_before_the_events_go_has_marked_and_is_done_again(
    hone: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown(opted_in(), 0, "accepted")
    made = adapter("a-direct", feedback={"ids": ["s0"]})
    with monkeypatch.context() as patch:
        patch.setattr("assistant.atomic.write_bytes", killed_at(Feedback().file))
        with pytest.raises(KilledError):
            hone("forget", "--all")
    assert len(Feedback().read().events) == 2
    assert [event.data["suggestions"] for event in Registry().marks()[made.id]] == [1]
    assert [each["adapter"] for each in report(hone, "forget", "--all")["adapters"]] == [made.id]
    # The same was marked, so it is not marked again.
    assert len(Registry().marks()[made.id]) == 1


def test_an_adapter_that_was_not_marked_in_time_is_marked_by_the_next_forgetting(
    hone: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown(opted_in(), 0, "accepted")
    made = adapter("a-direct", feedback={"ids": ["s0"]})
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "mark", killed)
        with pytest.raises(KilledError):
            hone("forget", "--all")
    Feedback().file.unlink()
    assert report(hone, "forget", "--all")["forgotten"] == 0
    assert Registry().marks().keys() == {made.id}


def test_what_was_made_from_an_adapter_that_is_removed_is_still_found(hone: Run) -> None:
    for number in range(2):
        shown(opted_in(), number, "accepted")
    parent = adapter("a-parent", feedback={"ids": ["s0"], "start": None})
    between = adapter("b-between", feedback={"ids": ["s9"], "start": parent.id})
    merged = adapter("c-merged", parents=[{"id": between.id}, {"id": "x@0123456789ab"}])
    for gone in (parent, between):
        verbs.remove(gone.id)
        assert not gone.folder.exists()
    told = report(hone, "forget", "s0")
    assert told["adapters"] == [{"adapter": merged.id, "suggestions": 0, "through": [between.id]}]
    assert Registry().marks().keys() == {merged.id}
    # A digest of an id stays, and not the id.
    assert '"s0"' not in json.dumps([event.data for event in Registry().history()])


def test_a_repositorys_events_are_forgotten_also_when_it_is_gone(hone: Run, tmp_path: Path) -> None:
    shown(opted_in(tmp_path / "gone"), 1, "accepted")
    shown(opted_in(tmp_path / "other"), 2, "accepted")
    code, out, _ = hone("forget", "--repository", str(tmp_path / "gone"))
    assert (code, out) == (0, "forgot 2 events\n")
    assert {event.id for event in Feedback().read().events} == {"s2"}
    assert hone("forget")[0] == 2


def test_tuning_on_too_little_feedback_is_refused_in_one_line(
    hone_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown(opted_in(), 1, "accepted", model="smollm2-135m")
    monkeypatch.setattr(sys, "argv", ["hone", "tune", "--from-feedback", "--name", "mine"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (1, "", 1)
    assert "too little feedback to learn from (1 completions, fewer than 20" in err
