"""`hone ask` and what `hone chat` shows to the model, as processes."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import git
from tests.tui.fake_client import FakeClient, Script, loaded_client
from tests.tui.test_chat_command import one_line
from tui import cli
from tui.commands import answering

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
        (("ask", "sum this up"), "a diff", "there are explain, test, docstring, refactor, fix; `hone chat` asks"),
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


@contextmanager
def answered_by(client: FakeClient, monkeypatch: pytest.MonkeyPatch, root: Path, stdin: str) -> Iterator[None]:
    """`hone` in this process, with a model that is written in the test."""

    @contextmanager
    def connected(model: str | None) -> Iterator[answering.Connected]:
        yield answering.Connected(client, 4096, model or "fake")  # type: ignore[arg-type]

    monkeypatch.setattr(answering, "connected", connected)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: not stdin, buffer=io.BytesIO(stdin.encode())))
    monkeypatch.chdir(root)
    yield


def said(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["hone", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code


def test_a_traceback_on_standard_input_finds_the_lines_and_gives_a_patch(
    hone_home: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    wrong = CODE.replace("height\n", "heigth\n")
    (root / "area.py").write_text(f"{wrong}\n\nprint(area(2, 3))\n")
    failed = subprocess.run([sys.executable, "area.py"], cwd=root, capture_output=True, text=True, check=False)
    client = loaded_client(Script([f"A name is misspelt.\n\n```python\n{CODE}```\n"]))
    with answered_by(client, monkeypatch, root, failed.stderr):
        said(monkeypatch, "ask", "fix", "--patch")
    (_, asked) = client.asked[0]
    assert f"area.py, lines 1-2 (the error is on line 2):\n```python\n{wrong}```" in asked["content"]
    assert asked["content"].endswith(f"The error:\n```\n{failed.stderr}```")
    (root.parent / "p.diff").write_text(capsys.readouterr().out)
    git(root, "apply", str(root.parent / "p.diff"))
    assert (root / "area.py").read_text() == f"{CODE}\n\nprint(area(2, 3))\n"


def test_a_skill_answers_in_words_and_says_why(
    hone_home: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    client = loaded_client(Script(["It ", "multiplies."]))
    with answered_by(client, monkeypatch, root, ""):
        said(monkeypatch, "ask", "explain", "area", "briefly", "--why", "--max-tokens", "50")
    assert client.asked[0][-1]["content"].startswith("Explain what this code does")
    assert "briefly\n\narea in area.py, lines 1-2:\n```python\ndef area" in client.asked[0][-1]["content"]
    out, error = capsys.readouterr()
    assert out == "It multiplies.\n"
    assert error.splitlines()[0] == "hone: the model was shown area in area.py, lines 1-2"
    assert error.splitlines()[-1] == "hone:   line 1, 14 %: It «multiplies.»"


def test_two_models_get_the_same_prompt_and_are_shown_with_their_speed(
    hone_home: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    client = loaded_client(Script(["left answer"]), Script(["right answer"]))
    with answered_by(client, monkeypatch, root, ""):
        said(monkeypatch, "chat", "explain @area.py", "--model", "smollm2-135m", "--compare", "shop")
    assert client.models_asked == ["smollm2-135m", "shop"]
    assert client.asked[0] == client.asked[1]
    assert CODE in client.asked[0][-1]["content"]
    left, right = (part.partition("──")[0] for part in capsys.readouterr().out.split("── ")[1:])
    assert left.startswith("smollm2-135m · ")
    assert "117 tok/s" in left
    assert "left answer" in left
    assert right.startswith("shop · ")
    assert "right answer" in right


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
