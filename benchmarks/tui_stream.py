"""The app under load: a long code block that streams in, a long conversation, and keys in large files.

    python -m benchmarks.tui_stream [--lines N] [--stock-lines N] [--rate R] [--turns N] [--no-tmux] [--json]

- A fenced block of 2,000 lines at 100 tokens a second, without a terminal and in tmux. Textual's `Markdown.get_stream`
  streams the beginning of the same block in the same run: its cost grows with the square of the lines, so all of it
  would take most of an hour of processor time. Processor time is compared where it stopped.
- A conversation of 1,000 turns: processor time while nothing happens, losing and getting the focus, memory of 200 more
  turns and of the second half of them, and the time until it is on the screen.
- Keys in the middle of Python files: 5,000 lines, next to Textual's `TextArea.code_editor`, and 25,000 lines, the
  latter also in the whole Code screen.

Each is a process of its own (`benchmarks/tui_apps.py`). About eight minutes; wants a quiet machine.
"""

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, startup

LIMIT_SECONDS = 1_800
KEY_LINES, MOST_KEY_LINES = 5_000, 25_000
LAST_TURN = rb"That is all"


class Runner:
    """Runs one measurement in a process, each with a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def __call__(self, what: str, *options: object, tmux: bool = False) -> dict[str, Any]:
        self._count += 1
        out, home = self._folder / f"{self._count}.json", self.home
        home.mkdir()
        command = [sys.executable, "-m", "benchmarks.tui_apps", what, "--out", str(out), *map(str, options)]
        environment = {"HONE_HOME": str(home), "TERM": "screen-256color", "COLORTERM": "truecolor"}
        if tmux:
            self._in_tmux(command, environment, out)
        else:
            environment = {**os.environ, **environment}
            subprocess.run([*command, "--headless"], env=environment, check=True, timeout=LIMIT_SECONDS)
        return dict(json.loads(out.read_text()))

    @property
    def home(self) -> Path:
        """The state folder of the last measurement."""
        return self._folder / f"home-{self._count}"

    def _in_tmux(self, command: Sequence[str], environment: dict[str, str], out: Path) -> None:
        server = ["tmux", "-S", str(self._folder / "tmux.sock"), "-f", os.devnull]
        words = [f"{name}={value}" for name, value in environment.items()]
        log = self._folder / f"{self._count}.log"
        line = f"env -u COLUMNS -u LINES {shlex.join(words)} {shlex.join(command)} 2>{shlex.quote(str(log))}"
        subprocess.run([*server, "new-session", "-d", "-x", "120", "-y", "36", line], check=True)
        try:
            end = time.monotonic() + LIMIT_SECONDS
            while not out.exists():
                gone = subprocess.run([*server, "has-session"], capture_output=True, check=False).returncode
                if (gone and not out.exists()) or time.monotonic() > end:
                    raise SystemExit(f"{command[3]} ended without figures in tmux: {log.read_text()[-500:]}")
                time.sleep(0.5)
        finally:
            subprocess.run([*server, "kill-server"], capture_output=True, check=False)


def p95(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


def per_flush(flushes: Sequence[dict[str, float]], first: float, last: float) -> float:
    """Processor seconds of a flush between two lines; the mean, since a late frame may show several flushes."""
    used = [flush["cpu_seconds"] for flush in flushes if first <= flush["line"] <= last]
    if len(used) < 2:
        raise SystemExit("too few lines for a figure")
    return (used[-1] - used[0]) / (len(used) - 1)


def streaming(ours: dict[str, Any], stock: dict[str, Any], lines: int, stock_lines: int) -> dict[str, float]:
    flushes = ours["flushes"]
    window = max(lines // 20, 1)
    early, late = per_flush(flushes, window / 2, 1.5 * window), per_flush(flushes, lines - window, lines)
    reached = next(flush["cpu_seconds"] for flush in flushes if flush["line"] >= stock_lines)
    return {
        "flush_cpu_early": early,
        "flush_cpu_late": late,
        "growth": late / max(early, 1e-9),
        "frame_p95": p95([flush["frame_seconds"] for flush in flushes]),
        "cpu_share": ours["cpu_seconds"] / ours["wall_seconds"],
        "stock_cpu": stock["cpu_seconds"],
        "stock_frame_p95": p95([flush["frame_seconds"] for flush in stock["flushes"]]),
        "cpu_ratio": reached / stock["cpu_seconds"],
    }


def conversation(run: Runner, turns: int, more: int, seconds: float) -> dict[str, Any]:
    empty = run("session", "--turns", 0, "--more", 0, "--seconds", seconds)
    full = run("session", "--turns", turns, "--more", more, "--seconds", seconds)
    start = startup.seconds_until(LAST_TURN, str(run.home), "--session", "last")
    return {
        "start_seconds": start,
        "idle_cpu": full["idle_cpu"],
        "focus_seconds": max(full["focus_seconds"]),
        "bytes_per_loaded_turn": (full["memory"] - empty["memory"]) / max(turns, 1),
        # What the first ones load is loaded once.
        "bytes_per_new_turn": (full["memory_after_more"] - full["memory_halfway"]) / max(more - more // 2, 1),
        "bytes_of_new_turns": full["memory_after_more"] - full["memory"],
        "mounted": full["mounted"],
    }


def typing(run: Runner, lines: int, most: int) -> dict[str, float]:
    ours, stock = run("keys-ours", "--lines", lines), run("keys-stock", "--lines", lines)
    large, screen = run("keys-ours", "--lines", most), run("keys-screen", "--lines", most)
    ours_cpu, stock_cpu = statistics.median(ours["cpu_seconds"]), statistics.median(stock["cpu_seconds"])
    return {
        "cpu": ours_cpu,
        "stock_cpu": stock_cpu,
        "ratio": ours_cpu / stock_cpu,
        "p95": p95(ours["wall_seconds"]),
        "stock_p95": p95(stock["wall_seconds"]),
        "large_cpu": statistics.median(large["cpu_seconds"]),
        "large_p95": p95(large["wall_seconds"]),
        "screen_cpu": statistics.median(screen["cpu_seconds"]),
        "screen_p95": p95(screen["wall_seconds"]),
    }


def table(told: dict[str, Any], options: argparse.Namespace) -> list[str]:
    """A line for each bar."""
    rows = []
    for place, one in told["streaming"].items():
        first, last = 1e3 * one["flush_cpu_early"], 1e3 * one["flush_cpu_late"]
        frame, stock_frame = 1e3 * one["frame_p95"], 1e3 * one["stock_frame_p95"]
        rows += [
            f"{place}: processor time a flush at line {options.lines} over that at line {options.lines // 20}: "
            f"{one['growth']:.2f} (at most 1.3; {first:.1f} -> {last:.1f} ms)",
            f"{place}: p95 frame {frame:.0f} ms (under 50), stock {stock_frame:.0f} ms on its lines; "
            f"{100 * one['cpu_share']:.0f} % of a core",
            f"{place}: processor time of the first {options.stock_lines} lines, over the stock widget's: "
            f"{one['cpu_ratio']:.3f} (at most 0.1; stock {one['stock_cpu']:.1f} s)",
        ]
    one = told["conversation"]
    rows += [
        f"{options.turns} turns: on the screen after {one['start_seconds']:.2f} s (under 1)",
        f"{options.turns} turns: idle {100 * one['idle_cpu']:.2f} % of a core (under 1)",
        f"{options.turns} turns: focus {1e3 * one['focus_seconds']:.0f} ms at most (under 100)",
        f"{options.turns} turns: {one['bytes_per_loaded_turn'] / 1e3:.1f} kB of memory each, "
        f"{one['bytes_of_new_turns'] / 1e6:.1f} MB for {options.more} more, of the second half "
        f"{one['bytes_per_new_turn'] / 1e3:.1f} kB each; {one['mounted']} widgets",
    ]
    one = {name: value if name == "ratio" else 1e3 * value for name, value in told["typing"].items()}
    return [
        *rows,
        f"{options.key_lines} lines: processor time a key {one['cpu']:.1f} ms, stock {one['stock_cpu']:.1f} ms: "
        f"{one['ratio']:.2f} (at most 0.2); p95 {one['p95']:.0f} ms, stock {one['stock_p95']:.0f} ms",
        f"{options.most_key_lines} lines: key p95 {one['large_p95']:.0f} ms (under 50), "
        f"processor time {one['large_cpu']:.1f} ms",
        f"the same in the whole Code screen, with suggestions: key p95 {one['screen_p95']:.0f} ms, "
        f"processor time {one['screen_cpu']:.1f} ms",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=2_000)
    parser.add_argument("--stock-lines", type=int, default=300)
    parser.add_argument("--rate", type=float, default=100.0, help="tokens a second")
    parser.add_argument("--turns", type=int, default=1_000)
    parser.add_argument("--more", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0, help="of idleness")
    parser.add_argument("--key-lines", type=int, default=KEY_LINES)
    parser.add_argument("--most-key-lines", type=int, default=MOST_KEY_LINES)
    parser.add_argument("--no-tmux", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.no_tmux and shutil.which("tmux") is None:
        raise SystemExit("tmux is not installed; --no-tmux leaves it out")
    about = machine.describe()
    told: dict[str, Any] = {"streaming": {}}
    with tempfile.TemporaryDirectory(prefix="hone-tui-") as folder:
        run = Runner(Path(folder))
        for place in ("headless", *(() if options.no_tmux else ("tmux",))):
            given = ("--rate", options.rate)
            ours = run("stream-ours", "--lines", options.lines, *given, tmux=place == "tmux")
            stock = run("stream-stock", "--lines", options.stock_lines, *given, tmux=place == "tmux")
            told["streaming"][place] = streaming(ours, stock, options.lines, options.stock_lines)
        told["conversation"] = conversation(run, options.turns, options.more, options.seconds)
        told["typing"] = typing(run, options.key_lines, options.most_key_lines)
    if options.json:
        print(json.dumps({"schema_version": 1, "machine": about, "options": vars(options), **told}))
        return
    print("\n".join([about, machine.describe(), *table(told, options)]))


if __name__ == "__main__":
    main()
