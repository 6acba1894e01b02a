"""Mentions in prompts: what they show, and what they must not."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from assistant.skills import mentions
from assistant.skills.mentions import Place, expand, find
from tests.conftest import git

CART = '''"""A shop."""


class Cart:
    def total(self):
        return sum(self.prices)


def discount(price, share):
    return price * (1 - share)
'''
FILES: dict[str, str | bytes] = {
    "src/cart.py": CART,
    "src/util.js": "export function slug(text) {\n  return text.toLowerCase();\n}\n",
    "notes with blanks.txt": "one\ntwo\n",
    "data.bin": b"\0\1",
    ".env": "TOKEN=1\n",
    ".env.example": "TOKEN=\n",
    "deploy/server.pem": "-----BEGIN CERTIFICATE-----\n",
    "old.txt": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n",
}


@pytest.fixture
def place(make_repository) -> Place:
    root = make_repository(FILES)
    return Place(root, root)


def shown(prompt: str, place: Place) -> list[tuple[str, str]]:
    return [(one.title, one.text) for one in expand(prompt, place).materials]


def refused(prompt: str, place: Place) -> str:
    with pytest.raises(HoneError) as caught:
        expand(prompt, place)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "written"),
    [
        ("explain @src/cart.py.", ["src/cart.py"]),
        ("(see @a.py:3-9, @b/) and @diff:staged?", ["a.py:3-9", "b/", "diff:staged"]),
        ('look at @"my file.py":2-3 now', ["my file.py:2-3"]),
        ("mail me@example.com or \\@nobody", []),
        ("the `@cached` one", []),
        ("```python\n@property\n```", []),
        ("~~~\n@in_a_fence", []),
        ("what does this do?\n@dataclass(frozen=True)\nclass A: pass", []),
        ("  @app.get('/')\n  @cached\n  async def f(): ...", []),
        ("@first line\n@second", ["first", "second"]),
        ("@Cart.total", ["Cart.total"]),
    ],
)
def test_which_words_are_mentions(prompt: str, written: list[str]):
    assert [one.written for one in find(prompt)] == written


@given(st.text(alphabet='@`~\n ab./:-1"\\', max_size=60))
def test_a_mention_is_where_it_says(prompt: str):
    for one in find(prompt):
        assert prompt[one.start] == "@"
        assert one.written.split(":")[0] in prompt[one.start : one.end]


def test_a_file_some_lines_of_it_and_a_name_with_blanks(place: Place):
    assert shown("@src/cart.py", place) == [("src/cart.py", CART)]
    assert shown("@src/cart.py:9-10", place) == [
        ("src/cart.py, lines 9-10", "def discount(price, share):\n    return price * (1 - share)\n")
    ]
    assert shown("@src/cart.py:9", place) == [("src/cart.py, line 9", "def discount(price, share):\n")]
    assert shown('@"notes with blanks.txt":2-99', place) == [("notes with blanks.txt, line 2", "two\n")]


def test_of_a_file_too_large_to_be_shown_some_lines_can_be(place: Place):
    big = place.root / "big.log"
    big.write_text("line of a log\n" * 300_000)
    assert refused("@big.log", place) == "@big.log has 4.2 MB; name some lines of it: @big.log:1-200"
    assert shown("@big.log:299999-300000", place) == [("big.log, lines 299999-300000", "line of a log\n" * 2)]
    assert refused("@big.log:1-299999", place) == "@big.log:1-299999 has 4.2 MB; name fewer lines"
    os.truncate(big, 300_000_000)
    assert "has 300.0 MB; copy the part that matters" in refused("@big.log:1", place)


def test_a_path_is_read_from_the_current_folder_then_from_the_root(place: Place):
    inner = Place(place.root / "src", place.root)
    assert shown("@cart.py:1", inner)[0][0] == "src/cart.py, line 1"
    assert shown("@src/cart.py:1", inner)[0][0] == "src/cart.py, line 1"
    assert shown("@../src/util.js:1", inner)[0][0] == "src/util.js, line 1"


def test_a_definition_is_found_in_any_tracked_file(place: Place):
    [(title, text)] = shown("why is @Cart.total slow", place)
    assert title == "Cart.total in src/cart.py, lines 5-6"
    assert text == "    def total(self):\n        return sum(self.prices)\n"
    assert shown("@total", place)[0][1] == text
    assert shown("@slug", place)[0][0] == "slug in src/util.js, lines 1-3"


def test_a_folder_is_a_listing_and_then_its_files(place: Place):
    found = expand("@src", place).materials
    assert [one.title for one in found] == ["Files in src", "src/cart.py", "src/util.js"]
    assert found[0].text == "cart.py\nutil.js\n"


def test_a_folder_shows_no_secrets_and_says_that_some_are_left_out(place: Place):
    found = expand("@.", place).materials
    texts = "".join(one.text for one in found[1:])
    assert "TOKEN=1" not in texts
    assert "PRIVATE KEY" not in texts
    assert "TOKEN=\n" in texts
    assert found[0].note.startswith("4 files are listed only")


def test_diffs_staged_and_not(place: Place):
    (place.root / "src/cart.py").write_text(CART + "\nx = 1\n")
    (place.root / ".env").write_text("TOKEN=2\n")
    [one] = expand("review @diff", place).materials
    assert "+x = 1" in one.text
    assert "TOKEN" not in one.text
    assert one.note == "not shown, since they may hold secrets: .env"
    assert refused("@diff:staged", place) == "@diff:staged: there are no staged changes; @diff shows the others"
    git(place.root, "add", "-A")
    assert "+x = 1" in expand("@diff:staged", place).materials[0].text


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        (".env", "-- old\nTOKEN=1\n", "TOKEN=1\n"),
        (".env", "TOKEN=1\n", "++ b/harmless.py\nTOKEN=1\n"),
        ("clé.pem", "TOKEN=1\n", "TOKEN=2\n"),
        ('a "b".pem', "TOKEN=1\n", "TOKEN=2\n"),
    ],
)
def test_a_secret_file_is_known_whatever_is_in_it_and_however_git_writes_its_name(
    name: str, before: str, after: str, make_repository
):
    root = make_repository({name: before, "a.py": "x = 1\n"}, "secrets")
    (root / name).write_text(after)
    (root / "a.py").write_text("x = 2\n")
    [one] = expand("@diff", Place(root, root)).materials
    assert "TOKEN" not in one.text
    assert "+x = 2" in one.text
    assert one.note == f"not shown, since they may hold secrets: {name}"


def test_a_secret_file_that_was_renamed_is_not_shown(make_repository):
    token = "TOKEN=1\n" + "filler\n" * 20
    root = make_repository({".env": token}, "secrets")
    git(root, "mv", ".env", "settings.txt")
    (root / "settings.txt").write_text(token.replace("1", "2"))
    git(root, "add", "-A")
    [one] = expand("@diff:staged", Place(root, root)).materials
    assert (one.text, one.note) == ("", "not shown, since they may hold secrets: settings.txt")


def test_conflicts_are_changes_too_and_their_secrets_are_hidden(place: Place):
    for branch, value in (("topic", "1"), ("main", "2")):
        git(place.root, "checkout", "-q", *(["-b"] if branch == "topic" else []), branch)
        for path in ("a.py", ".env", "photo.key"):
            (place.root / path).write_bytes(b"\0" * (path == "photo.key") + f"VALUE = {value}\n".encode())
        (place.root / ".editorconfig").write_text("root = true\n")
        git(place.root, "add", "-A")
        git(place.root, "commit", "-q", "-m", branch)
    with pytest.raises(Exception, match="non-zero"):
        git(place.root, "merge", "topic")
    (place.root / ".editorconfig").write_text("root = false\n")
    [one] = expand("@diff", place).materials
    assert [line for line in one.text.splitlines() if line.startswith("diff ")] == [
        "diff --cc a.py",
        "diff --git a/.editorconfig b/.editorconfig",
    ]
    assert one.text.count("VALUE = 1") == one.text.count("++<<<<<<< HEAD") == 1
    assert one.note == "not shown, since they may hold secrets: .env, photo.key"


def test_a_diff_is_read_whatever_the_user_configured(place: Place):
    git(place.root, "config", "color.ui", "always")
    git(place.root, "config", "diff.noprefix", "true")
    (place.root / "src/cart.py").write_text("x = 1\n")
    assert expand("@diff", place).materials[0].text.startswith("diff --git a/src/cart.py b/src/cart.py\n")


def test_a_thing_mentioned_twice_is_shown_once(place: Place):
    assert len(expand("@src/cart.py and @src/cart.py again", place).materials) == 1


@pytest.mark.parametrize(
    ("prompt", "line"),
    [
        ("@src/crat.py", "@src/crat.py names no file, folder or definition here; did you mean @src/cart.py?"),
        ("@utl.js", "did you mean @src/util.js?"),
        ("@discuont", "did you mean @discount?"),
        ("@dif", "did you mean @diff?"),
        ("@zzzzqq", "a plain @ is written \\@"),
        ("@diff:all", "@diff:all is unknown"),
        ("@src/cart.py:9-2", "lines count from 1"),
        ("@src/cart.py:99", "src/cart.py has 10 lines"),
        ("@src/:3", "src/ is a folder, which has no lines"),
        ("@data.bin", "@data.bin is a binary file"),
        ("@.env", "@.env is not shown to the model: files of this name hold keys and passwords"),
        ("@deploy/server.pem", "files of this name hold keys and passwords"),
        ("@old.txt", "it holds a private key"),
        ("@.git/config", "files in .git may hold keys"),
        ("@../outside.txt", "outside of"),
        (f"@{'x' * 300}", "names no file, folder or definition here"),
        (f"@{'x' * 300}:3", "names no file, folder or definition here"),
        (f"@../../{'x' * 300}", "outside of"),
    ],
)
def test_what_cannot_be_shown_is_one_line(place: Place, prompt: str, line: str):
    assert line in refused(prompt, place)


def test_links_lead_nowhere_that_a_path_may_not(place: Place, tmp_path: Path):
    outside = tmp_path / "outside.txt"
    outside.write_text("private")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/inner.txt").write_text("private")
    (place.root / "link.txt").symlink_to(outside)
    (place.root / "linked").symlink_to(tmp_path / "folder")
    (place.root / "harmless.txt").symlink_to(place.root / ".env")
    for prompt in ("@link.txt", "@linked", "@linked/inner.txt", "@src/../../outside.txt"):
        assert "outside of" in refused(prompt, place)
    assert "hold keys and passwords" in refused("@harmless.txt", place)
    git(place.root, "add", "-A")
    assert "private" not in "".join(one.text for one in expand("@.", place).materials)


def test_an_absolute_path_is_meant(place: Place, tmp_path: Path):
    outside = tmp_path / "outside.txt"
    outside.write_text("public\n")
    assert shown(f"@{outside}", place) == [(str(outside), "public\n")]
    (tmp_path / ".netrc").write_text("password")
    assert "hold keys" in refused(f"@{tmp_path}/.netrc", place)


def test_a_fifo_is_not_waited_for(place: Place):
    os.mkfifo(place.root / "pipe")
    assert refused("@pipe", place) == "@pipe is no ordinary file"


def test_outside_of_git_files_and_folders_work(tmp_path: Path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / ".hidden").write_text("no")
    place = Place(tmp_path, tmp_path, in_git=False)
    assert shown("@a.py", place) == [("a.py", "x = 1\n")]
    assert [one.title for one in expand("@.", place).materials] == ["Files in .", "a.py"]
    assert "is no git repository" in refused("@diff", place)
    assert "did you mean @a.py?" in refused("@b.py", place)


def test_an_escaped_at_is_an_at(place: Place):
    assert expand("what is \\@property?", place).text == "what is @property?"


def test_what_can_be_mentioned_holds_no_secrets(place: Place):
    found = mentions.candidates(place)
    assert {"src/", "src/cart.py", ".env.example"} <= set(found)
    assert not {".env", "deploy/server.pem"} & set(found)
