"""What is under review in real repositories, for each way to ask."""

import os
from pathlib import Path

import pytest

from assistant.errors import HoneError
from assistant.skills.review.changes import Changes
from assistant.skills.review.request import Request
from assistant.skills.review.run import read
from tests.conftest import git

FIRST = "def one():\n    return 1\n\n\ndef two():\n    return 2\n"


def changed(changes: Changes) -> dict[str, dict[int, str]]:
    """The new lines of each file."""
    return {file.path: {number: file.lines[number - 1] for number in sorted(file.added)} for file in changes.files}


def reasons(changes: Changes) -> dict[str, str]:
    return {one.path: one.reason for one in changes.skipped}


def commit(repository: Path, message: str = "next") -> str:
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", message)
    return git(repository, "rev-parse", "HEAD").strip()


def test_the_working_tree_has_staged_unstaged_and_new_files(make_repository):
    root = make_repository({"a.py": FIRST, "b.py": FIRST, "c.py": FIRST, ".gitignore": "build/\n"})
    (root / "a.py").write_text(FIRST.replace("return 1", "return 3"))
    git(root, "add", "a.py")
    (root / "b.py").write_text(FIRST.replace("return 2", "return 4"))
    (root / "new.py").write_text("x = 1\n")
    (root / "notes.txt").write_text("no source\n")
    (root / "build").mkdir()
    (root / "build" / "made.py").write_text("x = 1\n")
    found = read(Request(root))
    assert changed(found) == {"a.py": {2: "    return 3"}, "b.py": {6: "    return 4"}, "new.py": {1: "x = 1"}}
    assert found.files[0].removed == {2: ("    return 1",)}
    assert found.files[2].is_new
    assert not found.skipped


def test_staged_content_comes_from_the_index(make_repository):
    root = make_repository({"a.py": FIRST})
    (root / "a.py").write_text(FIRST.replace("return 1", "return 'staged'"))
    git(root, "add", "a.py")
    (root / "a.py").write_text("broken (\n")
    (root / "untracked.py").write_text("x = 1\n")
    found = read(Request(root, "staged"))
    assert changed(found) == {"a.py": {2: "    return 'staged'"}}
    assert found.files[0].text == FIRST.replace("return 1", "return 'staged'")


def test_a_hook_reviews_the_index_that_git_gives_it(make_repository, monkeypatch: pytest.MonkeyPatch):
    root = make_repository({"a.py": FIRST})
    (root / "a.py").write_text(FIRST.replace("return 1", "return 3"))
    own = root / ".git" / "next-index"
    own.write_bytes((root / ".git" / "index").read_bytes())
    monkeypatch.setenv("GIT_INDEX_FILE", str(own))
    git(root, "add", "a.py")
    assert changed(read(Request(root, "staged"))) == {"a.py": {2: "    return 3"}}
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    assert changed(read(Request(root, "staged"))) == {}


def test_a_base_is_where_the_branch_left_it(make_repository):
    root = make_repository({"a.py": FIRST})
    git(root, "checkout", "-q", "-b", "topic")
    (root / "a.py").write_text(FIRST.replace("return 1", "return 3"))
    commit(root)
    git(root, "checkout", "-q", "main")
    (root / "a.py").write_text(FIRST.replace("return 2", "return 4"))
    commit(root)
    git(root, "checkout", "-q", "topic")
    assert changed(read(Request(root, "base", "main"))) == {"a.py": {2: "    return 3"}}


def test_one_commit_whatever_the_working_tree_holds(make_repository):
    root = make_repository({"a.py": FIRST})
    (root / "a.py").write_text(FIRST.replace("return 1", "return 3"))
    asked = commit(root)
    (root / "a.py").write_text("later = 1\n")
    commit(root)
    found = read(Request(root, "commit", asked))
    assert changed(found) == {"a.py": {2: "    return 3"}}
    assert b"return 3" in found.files[0].data
    first = read(Request(root, "commit", "HEAD~2"))
    assert first.files[0].added == frozenset(range(1, 7))
    assert first.files[0].is_new


def test_of_a_merge_only_what_it_wrote_itself(make_repository):
    root = make_repository({"a.py": FIRST, "b.py": FIRST})
    git(root, "checkout", "-q", "-b", "topic")
    (root / "a.py").write_text(FIRST.replace("return 1", "return 3"))
    (root / "b.py").write_text(FIRST.replace("return 2", "return 9"))
    commit(root)
    git(root, "checkout", "-q", "main")
    (root / "a.py").write_text(FIRST.replace("return 2", "return 4"))
    commit(root)
    git(root, "merge", "-q", "--no-commit", "--no-ff", "topic")
    (root / "a.py").write_text((root / "a.py").read_text() + "evil = True\n")
    merge = commit(root, "merge")
    found = read(Request(root, "commit", merge))
    assert changed(found) == {"a.py": {7: "evil = True"}}
    assert "2 parents" in found.notes[0]


def test_kinds_of_files_that_are_not_reviewed(make_repository, tmp_path: Path):
    inner = make_repository({"x.py": "x = 1\n"}, "inner")
    files: dict[str, str | bytes] = {
        "gone.py": "nobody = 'misses'\nthis = 'file'\n",
        "old.py": FIRST,
        "moved.py": FIRST.replace("two", "deux"),
        "mode.py": "import os\n",
        ".gitattributes": "theirs.py linguist-vendored\nmine/vendor/x.py -linguist-vendored\n",
    }
    root = make_repository(files)
    git(root, "rm", "-q", "gone.py")
    git(root, "mv", "old.py", "renamed.py")
    (root / "renamed.py").write_text(FIRST.replace("return 2", "return 22"))
    git(root, "mv", "moved.py", "only-moved.py")
    (root / "mode.py").chmod(0o755)
    (root / "pic.py").write_bytes(b"x = 1\0\n")
    (root / "latin.py").write_bytes("é = 1\n".encode("latin-1"))
    (root / "link.py").symlink_to("mode.py")
    (root / "poetry.lock").write_text("[[package]]\n")
    (root / "vendor").mkdir()
    (root / "vendor" / "x.py").write_text("x = 1\n")
    (root / "mine" / "vendor").mkdir(parents=True)
    (root / "mine" / "vendor" / "x.py").write_text("x = 1\n")
    (root / "theirs.py").write_text("x = 1\n")
    (root / "app.min.js").write_text("x=1\n")
    (root / "made.py").write_text("# @generated by a program\nx = 1\n")
    (root / "data.js").write_text("x = [" + "1, " * 2000 + "]\n")
    (root / "README.md").write_text("words\n")
    git(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    git(root, "add", "-A")
    found = read(Request(root, "staged"))
    assert changed(found) == {"renamed.py": {6: "    return 22"}, "mine/vendor/x.py": {1: "x = 1"}}
    assert next(file for file in found.files if file.path == "renamed.py").old_path == "old.py"
    told = reasons(found)
    assert told["gone.py"] == "deleted"
    assert told["pic.py"] == "binary"
    assert told["latin.py"].startswith("not UTF-8")
    assert told["link.py"] == "a symbolic link"
    assert told["poetry.lock"] == "a lock file"
    assert told["vendor/x.py"] == "vendored, in a folder vendor/"
    assert told["theirs.py"] == "marked linguist-vendored in .gitattributes"
    assert told["app.min.js"] == "minified by its name"
    assert told["made.py"] == "it says that it is generated"
    assert told["data.js"].startswith("minified or data")
    assert told["README.md"] == "not source code"
    assert told["sub"] == "a submodule"
    assert "only-moved.py" not in told
    assert "mode.py" not in told


def test_a_conflict_is_not_reviewed(make_repository):
    root = make_repository({"a.py": FIRST, "b.py": FIRST})
    git(root, "checkout", "-q", "-b", "topic")
    (root / "a.py").write_text(FIRST.replace("return 1", "return 3"))
    commit(root)
    git(root, "checkout", "-q", "main")
    (root / "a.py").write_text(FIRST.replace("return 1", "return 4"))
    (root / "b.py").write_text(FIRST.replace("return 1", "return 5"))
    commit(root)
    with pytest.raises(Exception, match="non-zero"):
        git(root, "merge", "topic")
    (root / "b.py").write_text(FIRST.replace("return 1", "return 6"))
    found = read(Request(root))
    assert changed(found) == {"b.py": {2: "    return 6"}}
    assert reasons(found)["a.py"].startswith("in conflict")


def test_line_ends_and_a_missing_last_one(make_repository):
    root = make_repository({"crlf.py": FIRST.replace("\n", "\r\n"), "end.py": FIRST.rstrip("\n"), "feed.py": FIRST})
    (root / "crlf.py").write_bytes(FIRST.replace("return 1", "return 3").replace("\n", "\r\n").encode())
    (root / "end.py").write_bytes(FIRST.replace("return 2", "return 4").rstrip("\n").encode())
    (root / "feed.py").write_text("\f\n" + FIRST.replace("return 2", "return '\x1c\u2028'"))
    found = read(Request(root))
    assert changed(found) == {
        "crlf.py": {2: "    return 3"},
        "end.py": {6: "    return 4"},
        "feed.py": {1: "\f", 7: "    return '\x1c\u2028'"},
    }
    assert found.files[0].removed == {2: ("    return 1",)}
    assert b"\r\n" in found.files[0].data
    assert all(file.old_text == FIRST for file in found.files)


@pytest.mark.parametrize(
    "name", ["with space.py", "é.py", 'quote".py', "tab\t.py", "line\nend.py", "a b/x.py", ":(top)x.py"]
)
def test_any_file_name(make_repository, name: str):
    root = make_repository({name: FIRST})
    (root / name).write_text(FIRST.replace("return 1", "return 3"))
    assert changed(read(Request(root))) == {name: {2: "    return 3"}}
    assert changed(read(Request(root, paths=(name,)))) == {name: {2: "    return 3"}}


def test_paths_narrow_a_review_and_are_relative_to_the_current_folder(make_repository):
    root = make_repository({"a/x.py": FIRST, "b/x.py": FIRST})
    for folder in ("a", "b"):
        (root / folder / "x.py").write_text(FIRST.replace("return 1", "return 3"))
    assert set(changed(read(Request(root, paths=("a",))))) == {"a/x.py"}
    assert set(changed(read(Request(root / "b", paths=("x.py",))))) == {"b/x.py"}
    assert set(changed(read(Request(root / "b")))) == {"a/x.py", "b/x.py"}
    with pytest.raises(HoneError, match="check the spelling"):
        read(Request(root, paths=("c",)))
    with pytest.raises(HoneError, match="not in the repository"):
        read(Request(root, paths=("../elsewhere",)))


def test_whole_files(make_repository):
    root = make_repository({"a/x.py": FIRST, "a/README.md": "words\n", "b.py": FIRST})
    found = read(Request(root, "whole", paths=("a",)))
    assert found.files[0].added == frozenset(range(1, 7))
    assert len(found.files) == 1
    with pytest.raises(HoneError, match="name the files"):
        Request(root, "whole")


def test_a_repository_without_commits(make_repository, tmp_path: Path):
    root = tmp_path / "empty"
    root.mkdir()
    git(root, "init", "-q")
    (root / "a.py").write_text("x = 1\n")
    assert changed(read(Request(root))) == {"a.py": {1: "x = 1"}}
    git(root, "add", "a.py")
    assert changed(read(Request(root, "staged"))) == {"a.py": {1: "x = 1"}}


@pytest.mark.parametrize("revision", ["nowhere", "--output=stolen", "HEAD^{tree}x"])
def test_a_revision_that_names_nothing(make_repository, revision: str):
    root = make_repository({"a.py": FIRST})
    for source in ("base", "commit"):
        with pytest.raises(HoneError, match="names no commit"):
            read(Request(root, source, revision))  # type: ignore[arg-type]
    assert not (root / "stolen").exists()


def test_a_shallow_clone_says_what_it_lacks(make_repository, tmp_path: Path):
    root = make_repository({"a.py": FIRST})
    (root / "a.py").write_text(FIRST + "x = 1\n")
    commit(root)
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{root}", str(shallow))
    with pytest.raises(HoneError, match="fetch-depth: 2"):
        read(Request(shallow, "commit", "HEAD"))


def test_outside_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(HoneError, match="no git repository"):
        read(Request(tmp_path))


def test_no_program_of_a_configuration_is_run(make_repository):
    root = make_repository({"a.py": FIRST, ".gitattributes": "*.py diff=evil\n"})
    marker = root / "ran"
    script = root / "evil.sh"
    script.write_text(f'#!/bin/sh\ntouch {marker}\ncat "$1"\n')
    script.chmod(0o755)
    for key in ("diff.external", "diff.evil.command", "diff.evil.textconv"):
        git(root, "config", key, str(script))
    (root / "a.py").write_text(FIRST.replace("return 1", "return 3"))
    assert changed(read(Request(root, paths=("a.py",)))) == {"a.py": {2: "    return 3"}}
    assert not marker.exists()
    assert os.access(script, os.X_OK)
