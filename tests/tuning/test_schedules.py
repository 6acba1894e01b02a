"""Schedules: what is written for cron and systemd runs the command that was meant; installed, listed, removed."""

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from assistant.errors import HoneError, UsageError
from assistant.models.registry import AdapterVersion, Registry
from tests.conftest import git
from tests.tuning import schedulers
from tests.tuning.jobs_here import ended, shell, submit
from tuning.schedules import cron, news, systemd, verbs
from tuning.schedules.schedule import EVERY, Installed, Schedule

WORDS = ("it's", 'a "b" c', "100%", "$HOME `id` \\", "*.py", "", "ünï", "--set", "a=b;c")


def schedule(folder: Path, *argv: str, name: str = "shop", every: Any = "week", **environment: str) -> Schedule:
    return Schedule(name, every, str(folder), argv, environment)


def as_cron_would(line: str) -> str:
    """The command of a line, as cron gives it to the shell: a bare % ends it."""
    command = line.split(" ", 5)[5]
    assert not re.search(r"(?<!\\)%", command)
    return command.replace("\\%", "%")


def test_a_crontab_line_runs_the_command_where_it_was_meant_with_nothing_but_crons_environment(tmp_path: Path) -> None:
    folder = tmp_path / '100% of it\'s "code"'
    folder.mkdir()
    log = tmp_path / "a log"
    script = 'pwd; printf "<%s>\\n" "$HONE_HOME" "$@"; echo broken >&2'
    wanted = schedule(folder, "/bin/sh", "-c", script, "sh", *WORDS, HONE_HOME="/tmp/the home")
    line = cron.line(wanted, log)
    assert line.startswith("0 3 * * 1 ")
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(["/bin/sh", "-c", as_cron_would(line)], capture_output=True, text=True, env=bare, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    expected = [str(folder), *(f"<{word}>" for word in ("/tmp/the home", *WORDS)), "broken"]
    assert log.read_text("utf-8").splitlines() == expected


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "), max_size=20), max_size=8
    )
)
def test_the_words_of_a_line_are_the_words_of_the_command(words: list[str]) -> None:
    assume(not any("\\%" in word for word in words))
    line = cron.line(schedule(Path("/src"), "hone", *words), Path("/log"))
    whole = shlex.split(as_cron_would(line))
    assert whole[: 6 + len(words)] == ["{", "cd", "/src", "&&", "hone", *words, ";"]


def test_a_folder_that_was_moved_is_told_in_the_log(tmp_path: Path) -> None:
    line = cron.line(schedule(tmp_path / "moved", "true"), tmp_path / "log")
    done = subprocess.run(["/bin/sh", "-c", as_cron_would(line)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")
    assert "moved" in (tmp_path / "log").read_text("utf-8")


def test_what_no_schedule_can_hold_is_refused() -> None:
    with pytest.raises(HoneError, match="line break"):
        schedule(Path("/src"), "hone", "a\nb")
    with pytest.raises(HoneError, match="backslash before a %"):
        cron.line(schedule(Path("/src"), "hone", "a\\%b"), Path("/log"))
    with pytest.raises(HoneError, match=r"990.*--config, or use --install systemd"):
        cron.line(schedule(Path("/src"), "hone", "x" * 2000), Path("/log"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_reads_the_units_as_they_were_meant(tmp_path: Path) -> None:
    folder = tmp_path / "my code"
    folder.mkdir()
    for every in EVERY:
        wanted = schedule(folder, "/bin/sh", "-c", *WORDS, every=every, HONE_HOME='/tmp/the "home" 5%')
        for file, text in systemd.units(wanted).items():
            (tmp_path / file).write_text(text, "utf-8")
        units = [str(tmp_path / file) for file in systemd.units(wanted)]
        command = ["systemd-analyze", "--user", "verify", *units]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        about_ours = [line for line in done.stderr.splitlines() if "hone-tune-shop" in line]
        assert about_ours == [], done.stderr
    service = systemd.units(wanted)["hone-tune-shop.service"]
    words = '"it\'s" "a \\"b\\" c" 100%% "$$HOME `id` \\\\" "*.py" "" "ünï" --set "a=b;c"'
    assert f"ExecStart=/bin/sh -c {words}\n" in service
    assert "KillMode=process" in service


def test_a_crontab_keeps_what_others_wrote(tmp_path: Path, hone_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = schedulers.put(tmp_path / "bin", monkeypatch, "crontab")
    theirs = "MAILTO=me\n# hone schedule shop\n5 4 * * * true # hone schedules\n"
    (programs / "table").write_text(theirs)
    assert verbs.installed() == []
    assert verbs.install(schedule(tmp_path, "hone", "tune", "50%"), "cron") == []
    (found,) = verbs.installed()
    assert (found.name, found.every, found.by) == ("shop", "week", "cron")
    assert found.command.startswith(f"{{ cd {tmp_path} && hone tune 50% ; }} >>{hone_home}/schedules/shop.log")
    (replaced,) = verbs.install(schedule(tmp_path, "hone", "again", every="day"), "cron")
    assert replaced == found
    verbs.install(schedule(tmp_path, "hone", name="other"), "cron")
    assert [(one.name, one.every) for one in verbs.installed()] == [("other", "week"), ("shop", "day")]
    verbs.remove("shop")
    verbs.remove("other")
    assert (programs / "table").read_text() == theirs
    with pytest.raises(HoneError, match="shop is not scheduled here; scheduled: nothing is"):
        verbs.remove("shop")


def test_what_came_of_the_last_run_is_the_job_or_the_line_that_says_why_there_is_none(hone_home: Path) -> None:
    shop = Installed("shop", "cron", "week", "hone tune", "crontab -l")
    assert verbs.outcome(shop) == ""
    job = submit(shell("a", "exit 1"), name="shop")
    record = ended(job).ended
    assert record is not None
    said = f"failed {record.ended[:10]} (job {job.id})"
    assert verbs.outcome(replace(shop, by="systemd")) == said
    verbs.log_of("shop").write_text(f"hone: news\n  hone jobs stop {job.id}\n")
    assert verbs.outcome(shop) == said
    with verbs.log_of("shop").open("a") as log:
        log.write("hone: job x is tuning shop already\n")
    assert verbs.outcome(shop) == "job x is tuning shop already"


def test_a_line_that_cron_refuses_is_not_there(
    tmp_path: Path, hone_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = schedulers.put(tmp_path / "bin", monkeypatch, "crontab")
    (programs / "refuse").touch()
    with pytest.raises(HoneError, match="bad minute"):
        verbs.install(schedule(tmp_path, "hone"), "cron")
    assert verbs.installed() == []


def test_units_are_installed_started_and_removed(
    tmp_path: Path, hone_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = schedulers.put(tmp_path / "bin", monkeypatch, "crontab", "systemctl")
    verbs.install(schedule(tmp_path, "hone", "old"), "cron")
    (replaced,) = verbs.install(schedule(tmp_path, "hone", "a b", every="month"), "systemd")
    assert replaced.by == "cron"
    (found,) = verbs.installed()
    assert (found.name, found.by, found.every, found.command) == ("shop", "systemd", "month", 'hone "a b"')
    assert "--user --no-ask-password enable --now hone-tune-shop.timer" in (programs / "asked").read_text()
    verbs.remove("shop")
    assert "disable --now hone-tune-shop.timer" in (programs / "asked").read_text()
    assert not list(systemd.folder().iterdir())
    (programs / "refuse").touch()
    with pytest.raises(HoneError, match="nothing is installed: Failed to enable"):
        verbs.install(schedule(tmp_path, "hone"), "systemd")
    assert verbs.installed() == []


def test_a_machine_without_a_scheduler_is_told_so(
    tmp_path: Path, hone_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedulers.put(tmp_path / "bin", monkeypatch)
    for by in ("cron", "systemd"):
        with pytest.raises(HoneError, match="neither crontab nor a systemd"):
            verbs.install(schedule(tmp_path, "hone"), by)
    with pytest.raises(UsageError, match="there are cron and systemd"):
        verbs.install(schedule(tmp_path, "hone"), "at")
    assert verbs.installed() == []


def tuned(folder: Path, root: Path, path: Path) -> AdapterVersion:
    """A version whose manifest says that it saw `path` as it stands now."""
    import json

    folder.mkdir()
    commit = git(root, "rev-parse", "HEAD").strip()
    source = {"kind": "git", "path": str(path), "root": str(root), "commit": commit}
    (folder / "manifest.json").write_text(json.dumps({"corpus": {"sources": [source]}}))
    version = AdapterVersion("shop", os.urandom(32).hex(), "base", "0" * 64, folder, "2026-01-01T00:00:00+00:00")
    Registry().register(version)
    return version


def commit(root: Path, path: str) -> None:
    (root / path).write_text("changed = True\n")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "more")


def test_news_are_commits_that_the_newest_version_has_not_seen(
    hone_home: Path, make_repository: Any, tmp_path: Path
) -> None:
    root = make_repository({"src/a.py": "a = 1\n", "docs/b.py": "b = 1\n"})
    sources = [str(root / "src")]
    assert news.since_newest("shop", sources) == news.News(True, "there is no version of shop yet")
    version = tuned(tmp_path / "one", root, root / "src")
    assert not news.since_newest("shop", sources).is_new
    # Not in the folder that is learnt from; not committed.
    commit(root, "docs/c.py")
    (root / "src" / "d.py").write_text("d = 1\n")
    unchanged = news.since_newest("shop", sources)
    assert not unchanged.is_new
    assert unchanged.text.startswith(f"nothing was committed since {version.id}: src is at ")
    commit(root, "src/a.py")
    assert news.since_newest("shop", sources).text == f"src has 1 new commit since {version.id}"
    assert news.since_newest("shop", [str(root)]).text.startswith("repository is new among the sources")
    assert not news.since_newest("shop", [f"{root / 'src'}@HEAD~1"]).is_new
    newer = tuned(tmp_path / "two", root, root / "src")
    assert not news.since_newest("shop", sources).is_new
    git(root, "commit", "-q", "--amend", "-m", "another")
    git(root, "reflog", "expire", "--expire=now", "--all")
    git(root, "gc", "-q", "--prune=now")
    assert news.since_newest("shop", sources).text.startswith("src does not have the commit ")
    (newer.folder / "manifest.json").unlink()
    assert news.since_newest("shop", sources).is_new


def test_news_need_a_repository(hone_home: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(UsageError, match="a git repository"):
        news.since_newest("shop", [str(tmp_path / "plain")])
