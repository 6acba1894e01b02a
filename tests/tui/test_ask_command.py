"""`hone ask` and what `hone chat` shows to the model, as processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import git
from tests.tui.test_chat_command import one_line

HONE = str(Path(sys.executable).with_name("hone"))
CODE = "def area(width, height):\n    return width * height\n"


@pytest.fixture
def root(make_repository) -> Path:
    made: Path = make_repository({"area.py": CODE, ".env": "KEY=1\n"})
    return made


def hone(home: Path, root: Path, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[bytes]":
    # A short context: what does not fit is found as well, and a prompt is read in a moment.
    environment = {**os.environ, "HONE_HOME": str(home), "HONE_CONTEXT_LENGTH": "512"}
    return subprocess.run(
        [HONE, *arguments],
        input=stdin.encode(),
        capture_output=True,
        env=environment,
        cwd=root,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "stdin", "line"),
    [
        (("ask", "explian", "area.py"), "", "there is no skill 'explian'; did you mean 'explain'?"),
        (("ask", "explain"), "", "explain needs a target"),
        (("ask", "explain", "aera.py"), "", "did you mean @area.py?"),
        (
            ("ask", "explain", "area.py", "--patch"),
            "",
            "explain answers in words; --patch is for test, docstring, refactor and fix",
        ),
        (("ask", "fix"), "", "fix needs the error"),
        (("ask", "fix"), "it does not work", "the error names no file of this folder"),
        (("ask", "test", ".env"), "", "hold keys and passwords"),
        (("chat", "explain @aera.py"), "", "did you mean @area.py?"),
        (("chat", "hi", "--compare", "x", "--session", "new"), "", "leave --session out"),
    ],
)
def test_mistakes_are_told_before_a_model_is_loaded(
    hone_home: Path, root: Path, arguments: tuple[str, ...], stdin: str, line: str
):
    assert line in one_line(hone(hone_home, root, *arguments, stdin=stdin))
    assert not (hone_home / "models").exists() or not list((hone_home / "models").iterdir())


@pytest.mark.model
def test_an_answer_in_words_about_lines_of_a_file(session_home: Path, root: Path):
    done = hone(session_home, root, "ask", "explain", "area.py:1-2", "--max-tokens", "24", "--json")
    report = json.loads(done.stdout)
    assert (report["skill"], report["patch"]) == ("explain", None)
    assert report["materials"][0]["title"] == "area.py, lines 1-2"
    assert report["text"]


@pytest.mark.model
def test_a_patch_applies_or_one_line_says_that_there_is_none(session_home: Path, root: Path):
    done = hone(session_home, root, "ask", "docstring", "area", "--patch", "--max-tokens", "80")
    if done.returncode == 0:
        (root.parent / "p.diff").write_bytes(done.stdout)
        git(root, "apply", "--check", str(root.parent / "p.diff"))
    else:
        assert "no patch" in one_line(done)


@pytest.mark.model
def test_a_prompt_shows_what_it_mentions_and_says_what_was_cut(session_home: Path, root: Path):
    (root / "long.py").write_text("value = 'some line of code'\n" * 200)
    done = hone(session_home, root, "chat", "What is @long.py?", "--json", "--max-tokens", "8")
    report = json.loads(done.stdout)
    assert report["materials"][0]["path"] == "long.py"
    assert report["left_out"] == [f"long.py: {report['materials'][0]['note']}"]
    assert "left out for lack of room" in done.stderr.decode()
    assert 300 < report["prompt_tokens"] <= 504


@pytest.mark.model
def test_two_models_one_below_the_other_in_a_pipe(session_home: Path, root: Path):
    arguments = ("chat", "Say hello.", "--compare", "smollm2-135m", "--max-tokens", "8", "--temperature", "0")
    both = json.loads(hone(session_home, root, *arguments, "--json").stdout)["answers"]
    assert both[0]["text"] == both[1]["text"]
    text = hone(session_home, root, *arguments).stdout.decode()
    assert text.count("── smollm2-135m · ") == 2
    assert "tok/s" in text
