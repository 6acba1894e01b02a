"""The registry: promotion, rollback, history, and several processes writing at once."""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant import network_disks
from assistant.errors import HoneError, UnknownModel, UsageError
from assistant.models.registry import AdapterVersion, Registry

WRITER = """
import sys
from pathlib import Path
from assistant import network_disks
from assistant.models.registry import AdapterVersion, Registry

network_disks.MOUNTS = Path(sys.argv[3])
registry, who = Registry(Path(sys.argv[1])), sys.argv[2]
sys.stdin.readline()
for number in range(25):
    version = AdapterVersion(who, f"{number:064x}", "base", "b" * 64, Path("/x"), "2026-01-01T00:00:00+00:00")
    registry.register(version)
    registry.promote(f"{who}@{version.digest}", "live", actor=who)
"""


def version(name: str = "mine", number: int = 0, folder: Path = Path("/adapters/x")) -> AdapterVersion:
    return AdapterVersion(
        name, f"{number:06x}{'0' * 58}", "base", "b" * 64, folder, "2026-01-01T00:00:00+00:00", {"loss": 1.5}
    )


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry.sqlite")


def test_versions_come_back_as_registered(registry: Registry) -> None:
    added = [version("mine", 1), version("other", 1), version("mine", 2)]
    for each in [*added, added[0]]:
        registry.register(each)
    assert registry.versions() == added
    assert registry.versions("mine") == [added[0], added[2]]
    assert len(registry.history()) == 3, "registering the same version again is no event"


def test_finds_by_name_digest_and_alias(registry: Registry) -> None:
    old, new = version("mine", 0xABCDEF), version("mine", 0xABCDE0)
    registry.register(old)
    registry.register(new)
    registry.promote(old.id, "stable")
    assert registry.find("mine") == new
    assert registry.find("mine@abcdef") == registry.find("mine@ABCDEF") == registry.find(old.id) == old
    assert registry.find("stable") == old
    assert registry.find("nobody") is registry.find("nobody@abcdef") is registry.find("mine@123456") is None


def test_a_digest_must_be_long_enough_and_fit_one_version(registry: Registry) -> None:
    twins = [AdapterVersion("mine", "abcdef" + last * 58, "base", "b", Path("/x"), "") for last in "12"]
    for each in twins:
        registry.register(each)
    with pytest.raises(HoneError, match="fits 2 versions"):
        registry.find("mine@abcdef")
    assert registry.find("mine@abcdef1") == twins[0]
    for short in ("mine@abcde", "mine@", "mine@nothex"):
        with pytest.raises(UsageError, match="at least 6 hexadecimal digits"):
            registry.find(short)


def test_promotion_says_who_why_and_what_it_replaced(registry: Registry) -> None:
    first, second = version(number=1), version(number=2)
    registry.register(first)
    registry.register(second)
    registry.promote(first.id, actor="ada")
    event = registry.promote(second.id, actor="bob", evidence={"bits": 0.8})
    assert (event.kind, event.alias, event.target, event.replaced, event.actor) == (
        "promoted",
        "champion",
        second.id,
        first.id,
        "bob",
    )
    assert event.data == {"bits": 0.8}
    assert registry.history("champion")[-1] == event
    assert registry.aliases() == {"champion": second}


def test_a_brief_history_is_the_history_without_its_data(registry: Registry) -> None:
    registry.register(version("mine", 1))
    registry.promote("mine", "stable", actor="me", evidence={"report": "r"})
    registry.promote("mine", "canary")
    for alias in (None, "stable"):
        brief = registry.history(alias, brief=True)
        assert brief == [event._replace(text=None) for event in registry.history(alias)] != []
        with pytest.raises(LookupError, match="what it did"):
            _ = brief[0].data


def test_rolling_back_twice_goes_two_back(registry: Registry) -> None:
    versions = [version(number=number) for number in range(3)]
    for each in versions:
        registry.register(each)
        registry.promote(each.id)
    assert registry.rollback().target == versions[1].id
    event = registry.rollback(actor="ada")
    assert (event.target, event.replaced, event.actor) == (versions[0].id, versions[1].id, "ada")
    with pytest.raises(HoneError, match="nothing to roll back to"):
        registry.rollback()
    kinds = [event.kind for event in registry.history("champion")]
    assert kinds == ["promoted"] * 3 + ["rolled back"] * 2


def test_rollback_passes_over_what_was_removed(registry: Registry) -> None:
    versions = [version(number=number) for number in range(3)]
    for each in versions:
        registry.register(each)
        registry.promote(each.id)
    registry.remove(versions[1].id)
    assert registry.rollback().target == versions[0].id


def test_what_is_live_cannot_be_removed(registry: Registry) -> None:
    registry.register(version())
    registry.promote("mine")
    with pytest.raises(HoneError, match="live as champion"):
        registry.remove("mine")
    assert registry.versions() == [version()]


def test_a_removed_version_can_come_back(registry: Registry) -> None:
    registry.register(version())
    assert registry.remove("mine") == version()
    assert registry.find("mine") is None
    with pytest.raises(UnknownModel):
        registry.remove("mine")
    registry.register(version())
    assert registry.find("mine") == version()
    assert [event.kind for event in registry.history()] == ["registered", "removed", "registered"]


def test_unknown_versions_and_aliases_are_named(registry: Registry) -> None:
    registry.register(version())
    with pytest.raises(UnknownModel, match=f"there are: {version().id}"):
        registry.promote("nobody")
    with pytest.raises(UnknownModel, match="no alias is called nobody"):
        registry.rollback("nobody")


def test_one_name_means_one_thing(registry: Registry) -> None:
    registry.register(version("mine"))
    registry.promote("mine", "live")
    with pytest.raises(UsageError, match="name of an alias"):
        registry.register(version("live", 2))
    with pytest.raises(UsageError, match="name of a base model"):
        registry.register(version("smollm2-135m"))
    for alias in ("mine", "smollm2-135m"):
        with pytest.raises(UsageError, match="name of a model"):
            registry.promote("mine", alias)
    for bad in ("", "a/b", "a@b", "../x", ".x", "x" * 65, "a b", "-x"):
        with pytest.raises(UsageError, match="cannot be"):
            registry.register(version(bad))
        with pytest.raises(UsageError, match="cannot be"):
            registry.promote("mine", bad)


def test_events_cannot_be_changed(registry: Registry) -> None:
    registry.register(version())
    with sqlite3.connect(registry.file) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        for statement in ("UPDATE events SET actor = 'eve'", "DELETE FROM events"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)
    connection.close()


def test_the_state_folder_can_be_moved(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    Registry(old / "registry.sqlite").register(version(folder=old / "adapters" / "mine"))
    shutil.move(old, new)
    (found,) = Registry(new / "registry.sqlite").versions()
    assert found.folder == new / "adapters" / "mine"


def test_a_registry_of_the_first_schema_answers_all_questions(registry: Registry) -> None:
    one, two = version(number=1), version(number=2)
    for each in (one, two):
        registry.register(each)
        registry.promote(each.id, evidence={"number": each.id})
    registry.mark(one.id, {"reason": "withdrawn"})
    asked = (
        registry.versions,
        registry.aliases,
        registry.history,
        lambda: registry.history("champion"),
        lambda: registry.live_at(datetime.now(UTC)),
        registry.marks,
    )
    told = [ask() for ask in asked]
    with sqlite3.connect(registry.file) as connection:
        connection.execute("DROP INDEX brief")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    assert [ask() for ask in asked] == told
    assert registry.live_at(datetime.now(UTC))["champion"].data == {"number": two.id}


def test_a_damaged_or_newer_registry_is_one_line(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"this is no database, and long enough not to look like an empty one" * 20)
    with pytest.raises(HoneError, match=r"cannot use the registry .*damaged\.sqlite"):
        Registry(damaged).versions()
    newer = Registry(tmp_path / "newer.sqlite")
    newer.register(version())
    with sqlite3.connect(newer.file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(HoneError, match="written by a newer Hone"):
        newer.versions()


def mounted(tmp_path: Path, kind: str) -> Path:
    """What the kernel would say if `tmp_path` were a disk of that kind."""
    file = tmp_path / "mountinfo"
    file.write_text(
        "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        f"99 21 0:50 / {tmp_path} rw shared:2 master:1 - {kind} server:/export rw\n"
    )
    return file


def journal(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


@pytest.mark.parametrize(("kind", "mode"), [("nfs4", "delete"), ("xfs", "wal")])
def test_a_journal_that_several_machines_can_read_is_used_on_a_network_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, mode: str
) -> None:
    monkeypatch.setattr(network_disks, "MOUNTS", mounted(tmp_path, kind))
    registry = Registry(tmp_path / "registry.sqlite")
    registry.register(version())
    assert journal(registry.file) == mode


def test_a_registry_that_is_found_on_a_network_disk_is_switched_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path / "registry.sqlite")
    registry.register(version())
    assert journal(registry.file) == "wal"
    monkeypatch.setattr(network_disks, "MOUNTS", mounted(tmp_path, "lustre"))
    with closing(sqlite3.connect(registry.file, check_same_thread=False)) as other:
        other.execute("SELECT count(*) FROM events").fetchall()
        # It waits for whoever has the file open.
        timer = Timer(0.3, other.close)
        timer.start()
        assert registry.versions() == [version()]
        timer.join()
    assert journal(registry.file) == "delete"
    assert not registry.file.with_name("registry.sqlite-wal").exists()
    registry.register(version(number=2))
    assert len(registry.versions()) == 2


@pytest.mark.parametrize("kind", ["ext4", "nfs"])
def test_processes_writing_at_once_lose_nothing(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "registry.sqlite"
    command = [sys.executable, "-c", WRITER, str(file)]
    mounts = str(mounted(tmp_path, kind))
    writers = [
        subprocess.Popen([*command, who, mounts], stdin=subprocess.PIPE, text=True) for who in ("ada", "bob", "eve")
    ]
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    for writer in writers:
        assert writer.stdin
        writer.stdin.close()
    registry = Registry(file)
    assert len(registry.versions()) == 75
    assert journal(file) == ("wal" if kind == "ext4" else "delete")
    promotions = registry.history("live")
    assert len(promotions) == 75
    # Each promotion saw the one before it: no two writers decided on the same state.
    assert [event.replaced for event in promotions] == [None, *(event.target for event in promotions[:-1])]
    assert [event.number for event in registry.history()] == list(range(1, 151))


_Steps = st.lists(st.one_of(st.integers(0, 3), st.just("rollback")), max_size=12)


@settings(max_examples=20, deadline=None)
@given(_Steps)
def test_rollback_is_the_stack_of_promotions(steps: list[int | str]) -> None:
    with TemporaryDirectory() as folder:
        registry = Registry(Path(folder) / "registry.sqlite")
        for number in range(4):
            registry.register(version(number=number))
        stack: list[int] = []
        for step in steps:
            if isinstance(step, int):
                registry.promote(version(number=step).id)
                stack = stack if stack[-1:] == [step] else [*stack, step]
            elif any(number != stack[-1] for number in stack):
                registry.rollback()
                stack.pop()
            else:
                with pytest.raises(HoneError):
                    registry.rollback()
        expected = {"champion": version(number=stack[-1])} if stack else {}
        assert registry.aliases() == expected


def test_figures_must_be_plain_json(registry: Registry) -> None:
    registry.register(version())
    assert registry.versions()[0].figures == {"loss": 1.5}
    row = sqlite3.connect(registry.file).execute("SELECT data FROM events").fetchone()
    assert json.loads(row[0])["figures"] == {"loss": 1.5}


def test_what_was_live_at_a_time_is_what_the_events_before_it_say(registry: Registry) -> None:
    old, new = version("mine", 1), version("mine", 2)
    for each in (old, new):
        registry.register(each)
    made = [registry.promote(old.id, "live"), registry.promote(new.id, "live"), registry.promote(new.id, "other")]
    made.append(registry.rollback("live", actor="ada"))
    times = [datetime.fromisoformat(event.time) for event in made]
    assert registry.live_at(times[0] - timedelta(seconds=1)) == {}
    late = registry.live_at(times[-1].astimezone(timezone(timedelta(hours=5))))
    assert {alias: event.target for alias, event in late.items()} == {"live": old.id, "other": new.id}
    assert late["live"].actor == "ada"
    for time in times:
        # Events of one millisecond count as one time.
        last = max(at for at, each in enumerate(times) if each <= time and made[at].alias == "live")
        assert registry.live_at(time)["live"].target == made[last].target
