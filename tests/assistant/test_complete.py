"""Completion at a point of real files and repositories, with a scripted model."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from assistant import prompts
from assistant.errors import HoneError
from assistant.skills import context
from assistant.skills.complete import complete
from assistant.skills.point import Point
from tests.assistant.completion_fakes import FakeClient

Make = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("hone_home")


def test_the_file_and_excluded_files_are_never_shown(make_repository: Make) -> None:
    code = "def compute_total(rows):\n    return sum(rows)\n"
    root = make_repository({"a.py": code, "b.py": code + "# b\n", "pkg/c.py": code + "# c\n", "notes.txt": code})
    client = FakeClient("sum(rows)\n")
    done = complete(client, Point(root / "a.py", 2, 12), "fake", exclude=frozenset({"b.py"}))
    assert [snippet.path for snippet in done.snippets] == ["pkg/c.py"]
    assert client.prompts[0] == prompts.completion("a.py", "def compute_total(rows):\n    return", done.snippets)
    assert done.note is None


def test_files_git_does_not_track_are_not_shown(make_repository: Make) -> None:
    root = make_repository({"a.py": "secret_name = 1\n"})
    (root / "untracked.py").write_text("secret_name = 2\n")
    done = complete(FakeClient("1\n"), Point(root / "a.py", 1, 1), "fake")
    assert done.snippets == ()
    assert done.note is not None
    assert "no other source files" in done.note


def test_without_retrieval_nothing_is_shown(make_repository: Make) -> None:
    root = make_repository({"a.py": "name = 1\n", "b.py": "name = 2\n"})
    assert complete(FakeClient("1\n"), Point(root / "a.py", 1), "fake", retrieval=False).snippets == ()
    assert len(complete(FakeClient("1\n"), Point(root / "a.py", 1), "fake").snippets) == 1


def test_a_file_outside_any_repository_is_completed_from_itself_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = \n")
    client = FakeClient("1\ny = 2\n")
    done = complete(client, Point(file, 1), "fake")
    assert (done.text, done.finish_reason) == ("1", "line")
    assert client.prompts == ["# a.py\nx ="]
    assert done.note is not None
    assert "no git repository" in done.note


def test_an_empty_repository_and_an_empty_file_are_no_obstacle(make_repository: Make) -> None:
    root = make_repository({})
    (root / "new.py").write_text("")
    done = complete(FakeClient("import os\n"), Point(root / "new.py", 1, 1), "fake")
    assert done.text == "import os"


def test_crlf_files_get_crlf_completions(make_repository: Make) -> None:
    root = make_repository({"a.py": b"def f(x):\r\n    y = 1\r\n\r\nz = 1\r\n"})
    for answer in ("\n    return 1\n    # end\ng()\n", "\r\n    return 1\r\n    # end\r\ng()\r\n"):
        done = complete(FakeClient(answer), Point(root / "a.py", 1), "fake")
        assert done.text == "\r\n    return 1\r\n    # end"


def test_the_space_before_the_cursor_is_left_to_the_model(make_repository: Make) -> None:
    root = make_repository({"a.py": "def f():\n    \n"})
    for answer in (" return 1\n", "return 1\n"):
        client = FakeClient(answer)
        done = complete(client, Point(root / "a.py", 2), "fake")
        assert client.prompts == ["# a.py\ndef f():\n   "]
        assert done.text == "return 1"


def test_the_stream_is_closed_as_soon_as_a_filter_ends_the_completion(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = \n")
    client = FakeClient("1\n" + "junk " * 100)
    complete(client, Point(file, 1), "fake")
    assert client.produced == 2
    assert client.closed == 1


def test_the_token_limit_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = \n")
    done = complete(FakeClient("one two three four"), Point(file, 1), "fake", max_tokens=3)
    assert (done.text, done.finish_reason) == ("one two", "length")


def test_big_files_are_asked_about_the_cursor_only(make_repository: Make) -> None:
    line = "value = compute(1)\n"
    root = make_repository(
        {"big.py": line * (5 * 2**20 // len(line)), "small.py": line, "wide.py": "x = 1\n" + "y" * 100_000}
    )
    client = FakeClient("2\n")
    for point in (Point(root / "big.py", 200_000, 9), Point(root / "wide.py", 2)):
        complete(client, point, "fake")
    assert max(map(len, client.prompts)) < 8192
    assert "y" * 100 in client.prompts[1]


def test_special_tokens_are_read_only_where_the_format_has_them(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = \n")
    plain = FakeClient("1\n")
    fim = FakeClient("1\n", fim_tokens={"prefix": "<P>", "suffix": "<S>", "middle": "<M>"})
    assert complete(plain, Point(file, 1), "fake").mode == "prefix"
    assert complete(fim, Point(file, 1), "fake").mode == "fim"
    assert (plain.special, fim.special) == ([False], [True])


def test_a_file_outside_the_given_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "a.py").write_text("x\n")
    with pytest.raises(HoneError, match="is not inside"):
        complete(FakeClient(), Point(tmp_path / "a.py", 1), "fake", root=tmp_path / "root")


def test_retrieval_finds_what_shares_rare_words_and_is_deterministic(make_repository: Make) -> None:
    files: dict[str, str | bytes] = {
        f"m{number}.py": f"def common(x):\n    return x + {number}\n" for number in range(30)
    }
    files["rare.py"] = "def parseInvoiceHeader(stream):\n    return stream.read_header()\n"
    files["bad.py"] = b"parse invoice header \xff\n"
    files["data.py"] = "parse_invoice_header = '" + "x" * 5000 + "'\n"
    root = make_repository(files)
    first, second = context.index(root), context.index(root)
    assert first.files == 31
    for query in ("invoice = parse_invoice_header(stream)", "common(x)"):
        assert first.retrieve(query, 5) == second.retrieve(query, 5)
    assert first.retrieve("parse_invoice_header", 1)[0].path == "rare.py"
    assert first.retrieve("word_that_nobody_wrote", 5) == []
    assert first.retrieve("", 5) == []
    assert first.retrieve("parse_invoice_header", 1, exclude={"rare.py"}) == []


def test_copies_of_one_text_are_shown_once(make_repository: Make) -> None:
    root = make_repository({"a.py": "licence_text = 1\n", "b.py": "licence_text = 1\n"})
    assert [snippet.path for snippet in context.index(root).retrieve("licence_text", 5)] == ["a.py"]


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("none.py:1", "there is no file none.py"),
        ("a.py:9", "a.py has 2 lines, so there is no line 9"),
        ("a.py:1:9", "line 1 of a.py has 5 characters, so COL goes up to 6 (got 9)"),
        ("a.py", "write FILE:LINE or FILE:LINE:COL"),
        ("latin.py:1", "latin.py is not UTF-8"),
    ],
)
def test_the_command_says_what_is_wrong_before_it_loads_a_model(
    hone_home: Path, tmp_path: Path, place: str, complaint: str
) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "latin.py").write_bytes(b"x = '\xe9'\n")
    hone = Path(sys.executable).with_name("hone")
    done = subprocess.run([hone, "complete", place], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.startswith("hone: ")
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_empty_suggestion_is_said_where_people_read(capsys: pytest.CaptureFixture[str]):
    from types import SimpleNamespace

    from tui.commands import complete

    for text, said in (("", "nothing to suggest here\n"), ("return 1", "")):
        complete._print(None, SimpleNamespace(text=text), as_json=False, verbose=False)
        out, errors = capsys.readouterr()
        assert (out, errors) == (f"{text}\n", said)
