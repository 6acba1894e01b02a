"""Whose texts are kept with feedback, for how long, and how older lines are read."""

import json
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assistant import feedback_consent, feedback_expiry
from assistant.errors import HoneError, UsageError
from assistant.feedback import Feedback, Imported
from assistant.feedback_consent import Consent
from assistant.feedback_trained import EXPIRED
from assistant.models.registry import AdapterVersion, Registry

pytestmark = pytest.mark.usefixtures("hone_home")


def record(kept: Feedback, identity: str = "one", **fields: object) -> object:
    values: dict[str, object] = {"model": "m", "prompt": "x = ", "completion": "1", "path": "a.py", **fields}
    return kept.record("shown", id=identity, **values)  # type: ignore[arg-type]


def test_texts_are_kept_only_of_repositories_that_opted_in(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    feedback_consent.write(feedback_consent.read().with_repository(mine))
    for repository in (mine, other, None):
        record(Feedback(repository=repository))
    first, second, third = Feedback().read().events
    assert (first.prompt, first.completion, first.path, first.withheld) == ("x = ", "1", "a.py", False)
    for event in (second, third):
        assert (event.prompt, event.completion, event.path, event.withheld) == (None, None, None, True)
        assert event.prompt_sha256 == first.prompt_sha256
    assert first.repository == feedback_consent.key_of(mine) != second.repository
    assert third.repository is None
    assert str(tmp_path) not in Feedback().file.read_text()


def test_what_belongs_to_no_repository_is_a_choice_of_its_own(tmp_path: Path) -> None:
    feedback_consent.write(Consent(elsewhere=True))
    record(Feedback())
    record(Feedback(repository=tmp_path))
    assert [event.withheld for event in Feedback().read().events] == [False, True]


def test_a_link_to_a_repository_is_that_repository(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    feedback_consent.write(Consent().with_repository(tmp_path / "link"))
    record(Feedback(repository=tmp_path / "mine"))
    assert not Feedback().read().events[0].withheld
    feedback_consent.write(feedback_consent.read().without_repository(tmp_path / "link"))
    assert feedback_consent.read().repositories == ()


def test_settings_that_cannot_be_read_keep_nothing(hone_home: Path) -> None:
    (hone_home / feedback_consent.FILE_NAME).write_text("{}")
    with pytest.raises(HoneError, match=r"feedback-settings\.json"):
        record(Feedback())
    assert not Feedback().file.exists()


def test_settings_are_the_users_alone_and_checked(hone_home: Path) -> None:
    feedback_consent.write(Consent())
    assert stat.S_IMODE((hone_home / feedback_consent.FILE_NAME).stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="1 to 36500 days"):
        feedback_consent.write(Consent(retention_days=0))


def test_events_are_removed_when_their_time_is_over(hone_home: Path) -> None:
    feedback_consent.write(Consent(elsewhere=True, retention_days=10))
    kept = Feedback()
    now = datetime.now(UTC)
    record(kept, "old", imported=Imported(now - timedelta(days=11), None))
    record(kept, "young", imported=Imported(now - timedelta(days=9), None))
    # Looked for once a day: the last look was a moment ago.
    assert [event.id for event in kept.read().events] == ["old", "young"]
    stamp = kept.file.with_name(kept.file.name + ".expired")
    os.utime(stamp, (0, 0))
    record(kept, "new")
    assert [event.id for event in kept.read().events] == ["young", "new"]


class Clock:
    """The time of feedback, so many days from now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        clock = self

        class Then(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return datetime.now(tz) + timedelta(days=clock.ahead)

        monkeypatch.setattr("assistant.feedback.datetime", Then)


def known() -> list[str]:
    return [event.id for event in Feedback().read().events]


def test_a_clock_that_jumps_ahead_removes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    record(Feedback(), "one")
    for clock.ahead in (1000, 1001.5, 1003):
        record(Feedback(), f"at {clock.ahead:g}".replace(" ", "-"))
    assert feedback_expiry.put_off_until(Feedback().file) is not None
    # It is set right, and everything is as before.
    clock.ahead = 2
    record(Feedback(), "two")
    assert known() == ["one", "at-1000", "at-1001.5", "at-1003", "two"]
    assert feedback_expiry.put_off_until(Feedback().file) is None


def test_a_clock_that_stays_there_is_believed_after_a_week(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    record(Feedback(), "one")
    for clock.ahead, identity in ((200, "two"), (206, "three")):
        record(Feedback(), identity)
    assert known() == ["one", "two", "three"]
    clock.ahead = 208
    record(Feedback(), "four")
    assert known() == ["two", "three", "four"]
    assert feedback_expiry.put_off_until(Feedback().file) is None


def test_a_pause_of_some_weeks_puts_nothing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    feedback_consent.write(Consent(retention_days=10))
    clock = Clock(monkeypatch)
    record(Feedback(), "one")
    clock.ahead = 29
    record(Feedback(), "two")
    assert known() == ["two"]


def test_adapters_that_learnt_from_what_is_removed_after_its_time_are_marked_once(hone_home: Path) -> None:
    feedback_consent.write(Consent(elsewhere=True, retention_days=10))
    folder = hone_home / "adapters" / "mine"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"feedback": {"ids": ["old0", "old1"]}}))
    made = AdapterVersion("mine", "1" * 64, "base", "b" * 64, folder, "2026-01-01T00:00:00+00:00")
    Registry().register(made)
    kept = Feedback()
    for number in range(2):
        record(kept, f"old{number}", imported=Imported(datetime.now(UTC) - timedelta(days=11), None))
        os.utime(kept.file.with_name(kept.file.name + ".expired"), (0, 0))
        record(kept, f"new{number}")
        marks = Registry().marks()[made.id]
        assert [mark.data["reason"] for mark in marks] == [EXPIRED]
    assert [event.id for event in kept.read().events] == ["new0", "new1"]


def test_a_damaged_manifest_keeps_nothing_beyond_its_time(hone_home: Path) -> None:
    feedback_consent.write(Consent(elsewhere=True, retention_days=10))
    (hone_home / "manifest.json").write_text("{")
    Registry().register(AdapterVersion("mine", "1" * 64, "base", "b" * 64, hone_home, "2026-01-01T00:00:00+00:00"))
    kept = Feedback()
    record(kept, "old", imported=Imported(datetime.now(UTC) - timedelta(days=11), None))
    os.utime(kept.file.with_name(kept.file.name + ".expired"), (0, 0))
    record(kept, "new")
    assert [event.id for event in kept.read().events] == ["new"]


def test_an_import_brings_its_texts_its_time_and_its_user() -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    event = Feedback().record("shown", id="one", model="m", completion="1", imported=Imported(at, "ann"))
    assert (event.completion, event.user, event.time) == ("1", "ann", "2026-03-01T12:00:00.000+00:00")


def test_lines_of_earlier_versions_are_read_and_stay() -> None:
    kept = Feedback()
    event = Feedback().record("shown", id="one", model="m")
    whole = json.loads(kept.file.read_text())
    since = ("repository", "path", "user", "rendered", "model_sha256")
    line = {name: value for name, value in whole.items() if name not in since}
    second = {name: value for name, value in whole.items() if name != "model_sha256"}
    told = [{**line, "schema_version": 1}, {**second, "schema_version": 2}, {**line, "schema_version": 2}, second]
    kept.file.write_text("".join(json.dumps(one) + "\n" for one in told))
    log = kept.read()
    # The last two say that they have all fields of their version, and lack some.
    assert (log.events, log.damaged) == ((replace(event, rendered=True), event), 2)
    kept.forget(lambda event: False)
    assert [json.loads(one)["schema_version"] for one in kept.file.read_text().splitlines()] == [1, 2]


def test_what_a_newer_version_wrote_is_neither_dropped_nor_misread() -> None:
    kept = Feedback()
    kept.file.write_text('{"schema_version": 4, "id": "one"}\n')
    for call in (kept.read, lambda: kept.forget(lambda event: True)):
        with pytest.raises(HoneError, match="newer Hone"):
            call()
    assert kept.file.read_text() == '{"schema_version": 4, "id": "one"}\n'
