"""The whole loop on both pinned repositories: tune for some minutes, then evaluate base and tuned on held-out files.

`python -m benchmarks.loop [--minutes 15] [--limit 200] [--only NAME]` runs the commands that a user would, prints them
and what they print, and leaves the reports in benchmarks/out/loop.
"""

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

from benchmarks import corpora, machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--only", action="append", help="a corpus of corpora.toml")
    arguments = parser.parse_args()
    hone = Path(sys.executable).with_name("hone")
    for name in arguments.only or tomllib.loads((corpora.HERE / "corpora.toml").read_text("utf-8")):
        folder = corpora.prepare(name)
        report = corpora.HERE / "out" / "loop" / name
        print(machine.describe(), flush=True)
        _run(str(hone), "tune", str(folder), "--name", name, "--minutes", f"{arguments.minutes:g}")
        models = ("--model", "smollm2-135m", "--model", name)
        _run(
            str(hone),
            "eval",
            "repo",
            "--repo",
            str(folder),
            *models,
            *("--levels", "line"),
            "--limit",
            str(arguments.limit),
            "--out",
            str(report),
        )
        print(machine.describe(), flush=True)


def _run(*command: str) -> None:
    print("\n$ hone " + " ".join(command[1:]), flush=True)
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
