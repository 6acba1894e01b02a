"""A training run of a few lines: it counts, keeps checkpoints as `hone tune` does, and breaks as it is told.

Its result depends on every step, so a run that was killed and went on ends in the same one only if nothing was lost or
done twice.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.02)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--deaf", action="store_true", help="Ignore SIGTERM.")
    parser.add_argument("--eat", type=int, default=0, help="Megabytes to take at the last step.")
    parser.add_argument("--fill", default="", help="Write to this file until the disk is full.")
    parser.add_argument("--code", type=int, default=0)
    asked = parser.parse_args()
    home, job = Path(os.environ["HONE_HOME"]), Path(os.environ["HONE_JOB"])
    folder = home / "unfinished" / asked.name
    leaving = False

    def leave(*_: object) -> None:
        nonlocal leaving
        leaving = True

    signal.signal(signal.SIGTERM, signal.SIG_IGN if asked.deaf else leave)
    step, value = newest(folder) if asked.resume else (0, 7)
    say(f"begins at step {step}")
    while step < asked.steps:
        time.sleep(asked.seconds)
        step, value = step + 1, (value * 31 + step) % 1_000_003
        figures = {
            "step": step,
            "share": step / asked.steps,
            "loss": 3 / step,
            "learning_rate": 1e-3,
            "tokens": 9 * step,
        }
        figures |= {"seconds": 0.1 * step, "tokens_per_second": 90.0, "memory": 1e6, "eta_seconds": 1.0}
        if not asked.fill:
            with (job / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(figures | {"validation": 1 / step if step % 5 == 0 else None}) + "\n")
        if asked.eat and step == asked.steps:
            held = [bytearray(os.urandom(1 << 20)) for _ in range(asked.eat)]
            say(f"took {len(held)} MB")
        if step % asked.every == 0 or leaving:
            keep(folder, step, value, asked.steps)
        if leaving:
            say("hone: left as told; --resume goes on")
            return 143
    while asked.fill:
        with open(asked.fill, "ab") as file:
            file.write(b"x" * 65536)
    sys.stdout.write(json.dumps({"adapter": f"{asked.name}@{value:012x}", "value": value}) + "\n")
    if asked.code:
        say("hone: it did not work out")
    return asked.code


def say(line: str) -> None:
    sys.stderr.write(line + "\n")


def keep(folder: Path, step: int, value: int, steps: int) -> None:
    staging, target = folder / f".{step}.part", folder / f"step-{step:08d}"
    staging.mkdir(parents=True, exist_ok=True)
    position = {"step": step, "tokens": 9 * step, "spent": 0.1, "elapsed": 0.1, "share": step / steps, "checks": 0}
    (staging / "position.json").write_text(json.dumps(position | {"before": None, "best": None}))
    (staging / "value").write_text(str(value))
    if not target.exists():
        staging.rename(target)


def newest(folder: Path) -> tuple[int, int]:
    last = sorted(folder.glob("step-*"))[-1]
    return int(last.name.removeprefix("step-")), int((last / "value").read_text())


if __name__ == "__main__":
    sys.exit(main())
