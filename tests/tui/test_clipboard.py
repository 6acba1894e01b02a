"""Copying with tools that work, fail or lie."""

import stat
from pathlib import Path

from tui.chat.clipboard import MAX_OSC52, Tool, copy, tools


def script(folder: Path, name: str, body: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_tool_is_believed_when_the_text_can_be_read_back(tmp_path: Path):
    kept = tmp_path / "kept"
    write = script(tmp_path, "write", f"cat > {kept}")
    good = Tool((write,), (script(tmp_path, "read", f"cat {kept}"),))
    lying = Tool((write,), (script(tmp_path, "other", "echo something else"),))
    missing = Tool((str(tmp_path / "none"),), ())
    assert copy("a\nü\n", [missing, lying, good]) == "checked"
    assert kept.read_text() == "a\nü\n"
    assert copy("a", [missing, lying]) == "sent"


def test_without_a_tool_the_terminals_limit_decides():
    assert copy("x" * MAX_OSC52, []) == "sent"
    assert copy("x" * (MAX_OSC52 + 1), []) == "too long"


def test_tools_are_those_of_the_session_that_are_installed(tmp_path: Path):
    for name in ("xclip", "tmux"):
        script(tmp_path, name, "")
    environment = {"PATH": str(tmp_path), "DISPLAY": ":0", "WAYLAND_DISPLAY": "w", "TMUX": "x"}
    assert [tool.write[0] for tool in tools(environment, "linux")] == ["xclip", "tmux"]
    assert tools({"PATH": str(tmp_path)}, "linux") == []
