"""What is kept of a run until it ends, and why one does not go on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from assistant.errors import HoneError
from tests.tuning.processes import fresh, make_rows
from tuning import checkpoint, unfinished
from tuning.corpus.sources import Source
from tuning.plan import Plan
from tuning.ready import make_ready
from tuning.train import train

FILES = {f"m{number}.py": ("train", f"{number}" * 64) for number in range(6)}


def corpus(files: dict[str, tuple[str, str]], sources: int = 1) -> Any:
    listed = [SimpleNamespace(source=0, path=path, split=side, sha256=digest) for path, (side, digest) in files.items()]
    return SimpleNamespace(sources=tuple(range(sources)), files=lambda: iter(listed))


def asked(files: dict[str, str]) -> unfinished.Asked:
    return unfinished.Asked((Source("git", "/somewhere"),), "tiny", "b" * 64, Plan(steps=3), "float32", files)


def begun(name: str, files: dict[str, str]) -> None:
    """A run with a checkpoint."""
    folder = unfinished.begin(name, asked(files))
    keeper = checkpoint.Keeper(folder, pytest.fail, every_minutes=0)
    plan = Plan(steps=1)
    train(make_ready(fresh(), plan), make_rows(files=4), plan, lambda _: None, keeper=keeper)


def test_what_was_asked_is_read_back_and_gone_after_the_run(hone_home: Path):
    begun("mine", {"train a.py": "1"})
    assert unfinished.read("mine") == asked({"train a.py": "1"})
    unfinished.discard("mine")
    with pytest.raises(HoneError, match=r"no unfinished run of mine has a checkpoint to go on from$"):
        unfinished.read("mine")


def test_only_runs_that_can_go_on_are_named(hone_home: Path):
    begun("good", {})
    begun("damaged", {})
    (unfinished.folder_of("damaged") / "step-00000001" / "position.json").write_text("{")
    unfinished.begin("no checkpoint yet", asked({}))
    with pytest.raises(HoneError, match=r"other has a checkpoint to go on from; unfinished: good$"):
        unfinished.read("other")
    with pytest.raises(HoneError, match=r"damaged.*--restart begins anew"):
        unfinished.read("damaged")


def test_what_another_version_kept_or_a_disk_damaged_is_refused(hone_home: Path):
    begun("mine", {})
    file = unfinished.folder_of("mine") / unfinished.FILE_NAME
    content = file.read_text()
    for damaged, said in (
        (content.replace('"schema_version": 2', '"schema_version": 1'), "another version of Hone"),
        (content[:-20], "cannot read"),
        (content.replace('"steps"', '"stepps"'), "cannot read .*stepps"),
    ):
        assert damaged != content
        file.write_text(damaged)
        with pytest.raises(HoneError, match=f"{said}.*--restart begins anew"):
            unfinished.read("mine")


def test_a_corpus_that_has_changed_is_refused_with_what_changed():
    then = asked(unfinished.files_of(corpus(FILES)))
    unfinished.check_corpus("mine", then, corpus(FILES))
    now = {**FILES, "new.py": ("train", "f" * 64), "m1.py": ("train", "e" * 64), "m2.py": ("test", FILES["m2.py"][1])}
    del now["m0.py"]
    with pytest.raises(HoneError) as refused:
        unfinished.check_corpus("mine", then, corpus(now))
    assert str(refused.value) == (
        "the corpus of the unfinished run of mine is not what it was (test m2.py is new, train m0.py is gone, "
        "train m1.py has changed, and 2 more); put it back, or begin anew with --restart"
    )
    # A file of one repository is not that of another.
    assert unfinished.files_of(corpus(FILES, sources=2)).keys() != then.files.keys()
