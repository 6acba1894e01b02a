import random
from pathlib import Path

import pytest

from assistant.errors import HoneError
from tests.conftest import git
from tuning.examples.fixes import Fix, fixes, no_history, reviews

GOOD = """\
def read(path, limit):
    if path is None:
        return []
    lines = open(path).read().split("\\n")
    return lines[:limit]


def area(width, height):
    return width * height
"""
UNGUARDED = GOOD.replace("    if path is None:\n        return []\n", "")
ADDED = GOOD.replace("width * height", "width + height")


def commit(folder: Path, message: str, files: dict[str, str]) -> str:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD").strip()


@pytest.fixture
def repository(make_repository) -> Path:
    return make_repository({"store.py": ADDED, "notes.txt": "a"})


def subjects(folder: Path, **options) -> list[str]:
    return [fix.subject for fix in fixes(folder, **options)]


def test_small_fixes_of_source_files_are_found_newest_first(repository: Path):
    first = commit(repository, "Fix the area of a rectangle", {"store.py": GOOD})
    commit(repository, "Add a guardless reader", {"store.py": UNGUARDED})
    last = commit(repository, "fix(store): crash with no path (#12)", {"store.py": GOOD, "tests/test_a.py": "x"})
    found = list(fixes(repository))
    assert [fix.commit for fix in found] == [last, first]
    assert found[0].path == "store.py"
    assert (found[0].fixed, found[0].buggy) == (GOOD, UNGUARDED)
    assert (found[1].fixed, found[1].buggy) == (GOOD, ADDED)


@pytest.mark.parametrize(
    "message",
    [
        "Fix typo", "Fix docs", "fix formatting", "Fix lint errors", "Fix changelog", "Fix version", "Improve the area",
        "Fix docstring of area", "Prefix all names", "style: fix quotes", "Fix ruff", 'Revert "Fix the area"',
        "debug output",
    ],
)  # fmt: skip
def test_messages_that_name_no_bug(repository: Path, message: str):
    commit(repository, message, {"store.py": GOOD})
    assert subjects(repository) == []


@pytest.mark.parametrize("message", ["Fix area", "Fixed #3: area", "Fixes area", "Area bugfix", "Regression in area"])
def test_messages_that_name_one(repository: Path, message: str):
    commit(repository, message, {"store.py": GOOD})
    assert subjects(repository) == [message]


def test_large_commits_and_files_that_are_no_source_give_none(repository: Path):
    commit(repository, "Fix area in text", {"notes.txt": "b"})
    commit(repository, "Fix area in a test", {"tests/test_area.py": "x = 1\n", "store_test.py": "x = 1\n"})
    commit(repository, "Fix area in tests", {"tests/test_area.py": "x = 2\n", "store_test.py": "x = 2\n"})
    commit(repository, "Fix by adding a file", {"other.py": GOOD})
    commit(repository, "Fix very many lines", {"store.py": "".join(f"x{n} = {n}\n" for n in range(40))})
    three = {f"m{n}.py": f"x = {n}\n" for n in range(3)}
    commit(repository, "Add modules", three)
    commit(repository, "Fix three files", {path: text.replace("x", "y") for path, text in three.items()})
    assert subjects(repository) == []
    assert len(subjects(repository, max_files=3)) == 3
    assert "Fix very many lines" in subjects(repository, max_lines=200)


def test_later_commits_and_merges_are_not_read(repository: Path):
    old = commit(repository, "Fix the area", {"store.py": GOOD})
    commit(repository, "Change", {"store.py": UNGUARDED})
    commit(repository, "Fix the guard", {"store.py": GOOD})
    assert subjects(repository, revision=old) == ["Fix the area"]
    git(repository, "checkout", "-q", "-b", "side", old)
    commit(repository, "Side", {"side.py": "x = 1\n"})
    git(repository, "merge", "-q", "--no-ff", "-m", "Fix: merge main", "main")
    assert subjects(repository) == ["Fix the guard", "Fix the area"]


def test_held_out_files_are_left_out_under_earlier_names_too(repository: Path):
    commit(repository, "Fix the area", {"store.py": GOOD})
    git(repository, "mv", "store.py", "shop.py")
    git(repository, "commit", "-q", "-m", "Rename")
    commit(repository, "Change", {"shop.py": UNGUARDED})
    commit(repository, "Fix the guard", {"shop.py": GOOD})
    assert subjects(repository) == ["Fix the guard", "Fix the area"]
    assert subjects(repository, excluded={"shop.py"}) == []
    assert subjects(repository, excluded={"another.py"}) == ["Fix the guard", "Fix the area"]


def test_long_files_are_compared_quickly(repository: Path):
    lines = [f"x{number} = {number}\n" for number in range(15_000)]
    commit(repository, "Add", {"long.py": "".join(lines), "other.py": "".join(lines)})
    lines[7_000] = "x7000 = 7\n"
    one = "".join(lines)
    far = "".join(["y = 1\n", *lines[:3_000], *reversed(lines[3_000:14_000]), "z = 2\n"])
    commit(repository, "Fix one line", {"long.py": one})
    commit(repository, "Fix all of it", {"other.py": far})
    assert subjects(repository) == ["Fix one line"]


def test_binary_and_large_files_are_passed_over(repository: Path):
    (repository / "bytes.py").write_bytes(b"x = '\xff'\n")
    commit(repository, "Add", {})
    (repository / "bytes.py").write_bytes(b"y = '\xff'\n")
    commit(repository, "Fix bytes", {})
    assert subjects(repository) == []


def test_reasons_for_having_no_history(repository: Path, tmp_path: Path):
    commit(repository, "Fix the area", {"store.py": GOOD})
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", str(shallow))
    assert "shallow" in no_history(shallow)
    assert list(fixes(shallow)) == []
    plain = tmp_path / "plain"
    plain.mkdir()
    assert no_history(plain) == "not a git repository"
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    assert no_history(empty) == "no commit yet"
    assert list(fixes(empty)) == []
    commit(empty, "Fix all", {"a.py": GOOD})
    assert no_history(empty) == "only one commit"
    assert no_history(repository) == ""


def test_an_unknown_revision_is_an_error(repository: Path):
    commit(repository, "Fix the area", {"store.py": GOOD})
    for revision in ("no-such", "--all"):
        with pytest.raises(HoneError, match="has no revision"):
            list(fixes(repository, revision=revision))


def test_a_caller_may_stop_early(repository: Path):
    for number in range(6):
        commit(repository, f"Fix {number}", {"store.py": GOOD if number % 2 else UNGUARDED})
    assert next(iter(fixes(repository))).subject == "Fix 5"


def made(fix: Fix, clean_share: float) -> list:
    return [review for seed in range(20) for review in reviews(fix, random.Random(seed), clean_share)]


def test_the_lines_that_a_fix_changed_are_the_wrong_ones():
    fix = Fix("0" * 40, 0, "fix(store): wrong area (#7).", "store.py", GOOD, ADDED)
    found = made(fix, clean_share=0)
    assert len(found) == 20
    assert {any(line.marker == "-" for line in review.hunk.lines) for review in found} == {True, False}
    for review in found:
        (index,) = review.wrong
        assert review.hunk.lines[index].text == "    return width + height"
        assert review.hunk.lines[index].marker == "+"
        (finding,) = review.findings
        assert (finding.line, finding.last, finding.reason) == (9, 9, "wrong area")
        assert finding.fix == ("    return width * height",)
    for review in made(fix, clean_share=1):
        assert review.is_clean
        assert review.wrong == ()
        assert "    return width * height" in [line.text for line in review.hunk.lines if line.marker == "+"]


def test_a_fix_that_only_adds_lines_makes_their_removal_wrong():
    fix = Fix("0" * 40, 0, "Fix a crash", "store.py", GOOD, UNGUARDED)
    for review in made(fix, clean_share=0):
        assert [review.hunk.lines[index].marker for index in review.wrong] == ["-", "-"]
        (finding,) = review.findings
        assert finding.line == 2
        assert finding.fix == ("    if path is None:", "        return []")


def test_changes_of_comments_and_blanks_are_no_bugs():
    commented = GOOD.replace("width * height", "width * height  # squared")
    assert made(Fix("0" * 40, 0, "Fix it", "store.py", GOOD, commented), clean_share=0) == []


def test_distant_changes_are_asked_about_one_by_one():
    far = "".join(f"x{number} = {number}\n" for number in range(60))
    buggy = far.replace("x3 = 3\n", "x3 = 4\n").replace("x50 = 50\n", "x50 = 51\n")
    found = list(reviews(Fix("0" * 40, 0, "Fix it", "a.py", far, buggy), random.Random(0), clean_share=0))
    assert [review.findings[0].line for review in found] == [4, 51]
