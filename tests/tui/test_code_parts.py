"""Search, indentation, ghost text and the list of files, without a screen."""

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from assistant.skills.ghost import Shown
from tui.code import external, files, find, indent
from tui.code.find import Search
from tui.code.ghost import GhostText, How


def shown(text: str) -> Shown:
    return Shown("1", text, "smollm2-135m", None, "", 0.12, from_cache=False, language="python")


def test_search_finds_text_words_and_expressions():
    lines = ["Cart cart", "carts (a.b)", "aab"]

    def places(search: Search) -> list[find.Place]:
        pattern = search.pattern()
        return list(find.matches(lines, pattern)) if pattern else []

    assert places(Search("cart")) == [(0, 0, 4), (0, 5, 9), (1, 0, 4)]
    assert places(Search("cart", case=True, word=True)) == [(0, 5, 9)]
    assert places(Search("a.b")) == [(1, 7, 10)]
    assert places(Search("a.b", regex=True)) == [(1, 7, 10), (2, 0, 3)]
    assert places(Search("x*", regex=True)) == []
    with pytest.raises(HoneError, match="no regular expression"):
        Search("(", regex=True).pattern()


def test_the_next_match_goes_round():
    places = [(0, 2, 3), (4, 0, 1)]
    assert [find.following(places, *at) for at in ((0, 0), (0, 3), (4, 1))] == [0, 1, 0]
    assert [find.following(places, *at, backwards=True) for at in ((4, 0), (0, 2), (9, 0))] == [0, 1, 1]
    assert find.following([], 0, 0) is None


def test_replacing_counts_and_takes_groups_only_for_expressions():
    assert find.replaced(["a.b ab", "x"], re.compile("a(.)b"), r"\1", regex=True) == ([". ab", "x"], 1)
    assert find.replaced(["ab"], re.compile("ab"), r"\1", regex=False) == ([r"\1"], 1)
    with pytest.raises(HoneError, match="cannot replace"):
        find.replaced(["ab"], re.compile("ab"), r"\9", regex=True)


@pytest.mark.parametrize(
    ("text", "unit"), [("if a:\n  b\n  c\nd\n", "  "), ("a {\n\tb\n}\n", "\t"), ("a\nb\n", " " * 4), ("", " " * 4)]
)
def test_the_unit_of_indentation_is_read_from_the_file(text: str, unit: str):
    assert indent.unit_of(text.split("\n")) == unit


def test_a_new_line_is_indented_like_the_one_above_and_more_below_a_head():
    assert indent.next_line("    return 1", "    ") == "    "
    assert indent.next_line("  if a:  # why", "  ") == "    "
    assert indent.next_line("\tf(", "\t") == "\t\t"
    assert [indent.dedented(line, "    ") for line in ("      a", "  a", "\ta", "a")] == ["  a", "a", "a", "a"]


def test_ghost_text_is_taken_by_word_line_or_whole_and_shrinks_as_it_is_typed():
    ghost = GhostText(shown(" total(\n    items,\n)"), " total(\n    items,\n)", 3, 5)
    assert [ghost.part(how) for how in ("word", "line", "whole")] == [" total", " total(", ghost.text]
    rest = ghost.behind(" total(", 3, 12)
    assert rest is not None
    assert (rest.text, rest.row, rest.column) == ("\n    items,\n)", 3, 12)
    assert [rest.part(how) for how in ("word", "line")] == ["\n    items", "\n    items,"]
    assert ghost.behind(" x", 3, 7) is None
    assert ghost.behind(ghost.text, 5, 1) is None


@given(st.text("ab (\n\t)_é", min_size=1, max_size=40), st.sampled_from(["line", "word"]))
def test_pieces_taken_one_after_the_other_join_to_the_suggestion(text: str, how: How):
    rest: GhostText | None = GhostText(shown(text), text, 0, 0)
    pieces = []
    while rest is not None:
        pieces.append(rest.part(how))
        assert pieces[-1]
        rest = rest.behind(pieces[-1], 0, 0)
    assert "".join(pieces) == text


def test_files_are_those_git_would_take_with_what_it_says_of_them(tmp_path: Path):
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "src").mkdir()
    for name in ("src/a.py", "src/gone.py", "old.py", ".gitignore"):
        (tmp_path / name).write_text("*.log\n" if name == ".gitignore" else f"{name}\n" * 3)
    git("add", "-A")
    git("commit", "-qm", "first")
    (tmp_path / "src/a.py").write_text("changed\n")
    (tmp_path / "src/gone.py").unlink()
    (tmp_path / "src/neu é.py").write_text("new\n")
    (tmp_path / "noise.log").write_text("x\n")
    git("mv", "old.py", "renamed.py")
    found = files.listed(tmp_path, in_repository=True)
    assert found.paths == (".gitignore", "renamed.py", "src/a.py", "src/neu é.py")
    assert found.status == {"src/a.py": "M", "src/gone.py": "D", "src/neu é.py": "U", "renamed.py": "R"}
    assert found.changed_folders == {"src"}
    assert found.folders[""] == files.Folder(("src",), (".gitignore", "renamed.py"))


def test_outside_of_a_repository_files_are_those_not_hidden(tmp_path: Path):
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/a").write_text("")
    (tmp_path / "b/c").mkdir(parents=True)
    (tmp_path / "b/c/d.py").write_text("")
    found = files.listed(tmp_path, in_repository=False)
    assert found.paths == ("b/c/d.py",)
    assert set(found.folders) == {"", "b", "b/c"}


@pytest.mark.parametrize(
    ("editor", "wanted"),
    [
        ("vi", ["vi", "+12", "/a b.py"]),
        ("/usr/bin/vim.basic -R", ["/usr/bin/vim.basic", "-R", "+12", "/a b.py"]),
        ("emacs -nw", ["emacs", "-nw", "+12", "/a b.py"]),
        ("code --wait", ["code", "--wait", "-g", "/a b.py:12"]),
        ("code-insiders", ["code-insiders", "-g", "/a b.py:12"]),
        ("subl -w", ["subl", "-w", "/a b.py"]),
        ("'my editor' -x", ["my editor", "-x", "/a b.py"]),
    ],
)
def test_the_users_editor_gets_the_line_only_where_it_takes_one(editor: str, wanted: list[str]):
    assert external.command(editor, Path("/a b.py"), 12) == wanted
