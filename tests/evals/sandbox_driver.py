"""A sandbox behind pipes, so that tests can have it run by another user: `python sandbox_driver.py RUNG`.

Each line on standard input is a JSON object with `limits` and either `program`, or `argv` and `folder`; each line on
standard output an outcome.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from evals.sandbox.outcome import Limits, Program
from evals.sandbox.sandbox import open_sandbox


def main() -> None:
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    with open_sandbox(workers=1, rungs=(sys.argv[1],)) as sandbox:  # type: ignore[arg-type]
        sys.stdout.write(json.dumps({"rung": sandbox.rung, "uid": os.getuid()}) + "\n")
        sys.stdout.flush()
        for line in sys.stdin:
            ask = json.loads(line)
            limits = Limits(**ask["limits"])
            if "argv" in ask:
                result = asdict(sandbox.command(ask["argv"], Path(ask["folder"]), limits))
            else:
                result = asdict(sandbox.run(Program(**ask["program"]), limits))
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
