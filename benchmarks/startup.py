"""How long until Hone answers: whole-process wall time of each `--help`, and time to the first frame of the app.

    python benchmarks/startup.py [--runs N] [--json]

The first frame is the first visible character on a pseudo-terminal of 80x24, measured from the start of the process.
The app runs with a fresh state folder, so no model is loaded: the first frame comes before that in any case.
"""

import argparse
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

HONE = Path(sys.executable).with_name("hone")
COMMANDS = ("", "chat", "complete", "tune", "eval", "models", "serve", "doctor")
# CSI, OSC and DCS sequences and other escapes: what is left over is on the screen.
ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|P[^\x1b]*\x1b\\|[ -/]*[0-~])")
LIMIT_SECONDS = 60.0


def help_seconds(command: str) -> float:
    began = time.perf_counter()
    subprocess.run([str(HONE), *command.split(), "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def first_frame_seconds() -> float:
    home = tempfile.mkdtemp(prefix="hone-startup-")
    try:
        return seconds_until(rb"[\x21-\x7e]", home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def seconds_until(wanted: bytes, home: str, *arguments: str) -> float:
    """From the start of the app with a state folder until text that fits a regular expression is on its screen."""
    environment = {**os.environ, "HONE_HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    began = time.perf_counter()
    child = subprocess.Popen(
        [str(HONE), *arguments], stdin=side, stdout=side, stderr=side, env=environment, start_new_session=True
    )
    os.close(side)
    try:
        return wait_for_text(main, began, wanted)
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        os.close(main)


def wait_for_text(terminal: int, began: float, wanted: bytes) -> float:
    output = b""
    while time.perf_counter() - began < LIMIT_SECONDS:
        if not select.select([terminal], [], [], 0.5)[0]:
            continue
        output += os.read(terminal, 65536)
        if re.search(wanted, ESCAPES.sub(b"", output)):
            return time.perf_counter() - began
    raise SystemExit("the app showed nothing")


def measure(runs: int) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {}
    for _ in range(runs):
        for command in COMMANDS:
            figures.setdefault(f"hone {command} --help".replace("  ", " "), []).append(help_seconds(command))
        figures.setdefault("first frame of the app", []).append(first_frame_seconds())
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not HONE.exists():
        raise SystemExit(f"{HONE} is missing; install Hone into this Python's environment first")
    before = os.getloadavg()[0]
    figures = measure(options.runs)
    rows = {
        name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
        for name, values in figures.items()
    }
    load = {"before": before, "after": os.getloadavg()[0], "cores": os.cpu_count()}
    if options.json:
        print(json.dumps({"schema_version": 1, "runs": options.runs, "load": load, "seconds": rows}))
        return
    print(f"{options.runs} runs, {load['cores']} cores, load {load['before']:.2f} before and {load['after']:.2f} after")
    for name, row in rows.items():
        print(f"{name:<24} median {row['median']:.3f} s   min {row['min']:.3f}   max {row['max']:.3f}")


if __name__ == "__main__":
    main()
