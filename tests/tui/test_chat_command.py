"""`hone chat` as a process, with the embedded model."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HONE = str(Path(sys.executable).with_name("hone"))


def hone(home: Path, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, "HONE_HOME": str(home)}
    return subprocess.run(
        [HONE, *arguments], input=stdin, capture_output=True, env=environment, timeout=240, check=False
    )


def one_line(done: "subprocess.CompletedProcess[bytes]") -> str:
    """The error line of a command that failed as it should."""
    lines = done.stderr.decode().splitlines()
    assert done.returncode != 0
    assert done.stdout == b""
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "stdin", "line"),
    [
        ((), b"", "nothing to answer: give a prompt"),
        (("hi", "--model", "smolm2-135m"), b"", "no model is called smolm2-135m; did you mean smollm2-135m?"),
        (("hi", "--max-tokens", "0"), b"", "--max-tokens must be at least 1"),
        (("hi", "--temperature", "9"), b"", "--temperature must be between 0 and 2"),
        (("hi", "--session", "zzzzzz"), b"", "no session 'zzzzzz'"),
        (("hi",), b"\x80\x00binary", "standard input is not UTF-8 text (byte 0)"),
        (("hi",), b"x" * (4 * 1024 * 1024 + 1), "standard input is over 4 MiB"),
    ],
    ids=("nothing", "model", "length", "temperature", "session", "binary", "size"),
)
def test_bad_input_is_one_line(hone_home: Path, arguments: tuple[str, ...], stdin: bytes, line: str):
    assert line in one_line(hone(hone_home, "chat", *arguments, stdin=stdin))


def test_listing_sessions_without_any(hone_home: Path):
    done = hone(hone_home, "chat", "--sessions", "--json")
    assert json.loads(done.stdout) == {"schema_version": 1, "sessions": []}


@pytest.mark.model
def test_an_answer_streams_to_a_pipe_with_nothing_else_in_it(session_home: Path):
    done = hone(session_home, "chat", "Say hello.", "--max-tokens", "12", "--temperature", "0")
    assert done.returncode == 0
    assert done.stdout.endswith(b"\n")
    assert done.stdout.strip()
    assert b"\x1b" not in done.stdout + done.stderr


@pytest.mark.model
def test_json_is_one_object_that_a_seed_repeats(session_home: Path):
    arguments = ("chat", "What does this do?", "--json", "--max-tokens", "16", "--seed", "7", "--temperature", "1")
    first, second = (hone(session_home, *arguments, stdin=b"def f(x):\n    return x + 1\n") for _ in range(2))
    report = json.loads(first.stdout)
    assert set(report) == {
        "schema_version",
        "text",
        "finish_reason",
        "prompt_tokens",
        "completion_tokens",
        "tokens_per_second",
        "model",
        "adapter",
        "materials",
        "left_out",
    }
    assert report["materials"] == [{"kind": "input", "title": "Standard input", "path": None, "note": None}]
    assert report["schema_version"] == 1
    assert report["text"]
    assert report["model"] == "smollm2-135m"
    assert report["adapter"] is None
    assert report["finish_reason"] in ("stop", "length")
    assert 0 < report["completion_tokens"] <= 16
    assert report["prompt_tokens"] > 40  # the code from standard input is in it
    assert json.loads(second.stdout)["text"] == report["text"]


@pytest.mark.model
def test_why_names_what_was_shown_and_what_was_doubtful(session_home: Path):
    arguments = ("chat", "What does this do?", "--why", "--max-tokens", "24", "--temperature", "0")
    given = b"def f(x):\n    return x + 1\n"
    report = json.loads(hone(session_home, *arguments, "--json", stdin=given).stdout)
    told = report["why"]
    assert told["shown"] == ["Standard input"]
    assert told["tokens"] == report["completion_tokens"]
    assert 0 < told["typical_probability"] <= 1
    assert all(one["probability"] < told["unsure_below"] and one["text"] in report["text"] for one in told["unsure"])


@pytest.mark.model
def test_a_session_goes_on_and_ctrl_c_keeps_what_came(session_home: Path):
    first = hone(session_home, "chat", "My name is Ada.", "--session", "new", "--json", "--max-tokens", "8")
    session = json.loads(first.stdout)["session"]
    child = subprocess.Popen(
        [
            HONE,
            "chat",
            "Describe the history of programming languages at length.",
            "--session",
            session,
            "--temperature",
            "0",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "HONE_HOME": str(session_home)},
        start_new_session=True,
        bufsize=0,
    )
    assert child.stdout is not None
    came = child.stdout.read(8)
    os.killpg(child.pid, signal.SIGINT)
    rest, errors = child.communicate(timeout=120)
    assert child.returncode == 130
    assert b"Traceback" not in errors
    listed = json.loads(hone(session_home, "chat", "--sessions", "--json").stdout)["sessions"]
    assert [one["title"] for one in listed if one["id"] == session] == ["My name is Ada."]
    events = [json.loads(line) for line in (session_home / "sessions" / f"{session}.jsonl").read_text().splitlines()]
    answers = [event for event in events if event["type"] == "answer"]
    assert answers[-1]["finish"] == "cancelled"
    assert answers[-1]["text"].startswith((came + rest).decode().rstrip("\n"))


@pytest.mark.model
def test_on_a_terminal_the_loading_line_is_cleared(session_home: Path):
    main, side = pty.openpty()
    child = subprocess.Popen(
        [HONE, "chat", "Hi", "--max-tokens", "4"],
        stdin=side,
        stdout=side,
        stderr=side,
        env={**os.environ, "HONE_HOME": str(session_home), "TERM": "xterm"},
    )
    os.close(side)
    output = b""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            data = os.read(main, 4096)
        except OSError:
            break
        if not data:
            break
        output += data
    os.close(main)
    assert child.wait(120) == 0
    assert b"loading smollm2-135m" in output
    assert output.index(b"loading") < output.rindex(b"\r\x1b[K")
