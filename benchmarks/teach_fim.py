"""What `--teach-fim` teaches a base without fill-in-the-middle tokens: the learning curve on general code.

`python -m benchmarks.teach_fim [--minutes 15,60,180] [--points 3] [--places 100] [--set KEY=VALUE]`

The corpus is `--megabytes` of Python files of the installed packages, as a repository of its own. Each of `--minutes`
is a run of its own, as a user starts it: `hone tune CORPUS --teach-fim --minutes M`. While it runs, the adapter of its
newest checkpoint is copied at each of `--points` parts of it but the last, which is the adapter that it registers; all
of them are measured once the runs are over, so that nothing else computes meanwhile. The learning rate is still high in
the middle of a run, so only the ends of runs are compared with each other.

At the same places of files that were held out (lines, and blocks of statements) every adapter is asked with the
sentinels that it was taught; the base and the ends of runs also left to right, as completion asks a base without such
tokens. Bits per byte are those of the missing code alone. What it would take to infill as well as the base completes
left to right is extrapolated, and called so: a straight line over the logarithm of the tokens through the ends of runs.

Ctrl-C ends the run with a checkpoint; the same command goes on from there, and measures nothing twice. Adapters are
registered as teach-fim-...; the rest lies in benchmarks/out/teach_fim. Hours on two cores: the sum of `--minutes`, and
about ten minutes for each line of the table.
"""

import argparse
import hashlib
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant import atomic, paths
from assistant.models import store
from assistant.models.identity import base_identity
from assistant.models.registry import Registry
from benchmarks import corpora, machine, near_copies
from tuning.position import Damaged, checkpoints, read_position

BASE = "smollm2-135m"
OUT = corpora.HERE / "out" / "teach_fim"
FURTHEST = 1000
"""Times the tokens that were measured: a line through a few points says nothing beyond."""
POSITION = "position.json"
WEIGHTS = "adapter_model.safetensors"
CONFIGURATION = "adapter_config.json"


@dataclass(frozen=True)
class Point:
    """An adapter at some part of a run."""

    name: str
    minutes: float
    """Of training so far."""
    tokens: int
    validation: float | None
    """Bits per byte by the run itself: windows and infilling together, as it trains on them."""
    adapter: Path
    is_end: bool


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    label: str
    minutes: float
    tokens: int
    validation: float | None
    way: str
    is_end: bool
    levels: dict[str, dict[str, Any]]
    """Level -> `infilling.Measured`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=lambda text: [float(one) for one in text.split(",")], default=[15, 60, 180])
    parser.add_argument("--points", type=int, default=3, help="of each run, its end included")
    parser.add_argument("--places", type=int, default=100, help="lines, and half as many blocks")
    parser.add_argument("--megabytes", type=float, default=12.0)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings of the runs")
    arguments = parser.parse_args()
    print(machine.describe(), flush=True)
    repository = corpus(arguments.megabytes)
    folder = store.tuning_form(store.fetch(arguments.base))
    points = [point for minutes in arguments.minutes for point in _run(repository, minutes, arguments)]
    rows = list(_rows(points, repository, folder, arguments))
    (OUT / "figures.json").write_text(json.dumps([asdict(row) for row in rows], indent=2), "utf-8")
    print(f"\n--places {arguments.places} --megabytes {arguments.megabytes:g} {' '.join(arguments.set)}".rstrip())
    print("\n".join([*table(rows), "", *extrapolated(rows, arguments.base)]))
    print(machine.describe(), flush=True)


def corpus(megabytes: float) -> Path:
    """A repository of that much code of the installed packages, made on the first call."""
    target = OUT / f"corpus-{megabytes:g}"
    if not target.exists():
        with atomic.new_folder(target) as staging:
            for path, text in near_copies.files(int(megabytes * 1e6)):
                # Below a folder, since the files are those whose paths have the smallest hashes, and by the hash of its
                # path a file is held out.
                file = staging / "packages" / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, "utf-8")
            corpora.commit(staging, f"{megabytes:g} MB of installed packages")
    return target


def _run(repository: Path, minutes: float, arguments: argparse.Namespace) -> list[Point]:
    """The points of a run, which is made or gone on with where it is not over."""
    asked = json.dumps([arguments.megabytes, arguments.seed, arguments.base, arguments.points, arguments.set])
    name = f"teach-fim-{minutes:g}m-{hashlib.sha256(asked.encode()).hexdigest()[:6]}"
    if Registry().find(name) is None:
        command = ["tune", "--name", name, "--checkpoint-minutes", f"{min(2.0, minutes / 40):g}"]
        if checkpoints(paths.unfinished_dir() / name):
            command += ["--resume"]
        else:
            shutil.rmtree(OUT / name, ignore_errors=True)
            settings = [f"checks={arguments.points}", *arguments.set]
            command += [str(repository), "--base", arguments.base, "--teach-fim", "--minutes", f"{minutes:g}"]
            command += ["--seed", str(arguments.seed), "--restart", *(f"--set={one}" for one in settings)]
        _watched(command, name, arguments.points)
    version = Registry().find(name)
    if version is None:
        sys.exit(f"{name} was not registered")
    return list(_points(name, version.folder, minutes))


def _watched(command: Sequence[str], name: str, points: int) -> None:
    """Runs `hone`, and copies the adapter at each part of the run.

    Raises:
        SystemExit: it failed, or Ctrl-C told it to leave with a checkpoint.
    """
    hone = Path(sys.executable).with_name("hone")
    print("$ hone " + " ".join(command), file=sys.stderr, flush=True)
    # In a session of its own, so that Ctrl-C comes from here alone: to the run itself it says to end for good.
    process = subprocess.Popen([str(hone), *command], stdout=sys.stderr, start_new_session=True)
    try:
        while process.poll() is None:
            keep_due(paths.unfinished_dir() / name, OUT / name, points)
            time.sleep(0.2)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        sys.exit("stopped; the same command goes on from the last checkpoint")
    if process.returncode:
        sys.exit(process.returncode)


def keep_due(run: Path, target: Path, points: int) -> None:
    """Copies the adapter of the newest checkpoint of `run`, where it is the first one of its part of the run.

    Args:
        target: gets a folder for each part, 1 to `points` - 1, with the weights as PEFT reads them and the position.
    """
    for step in reversed(checkpoints(run)):
        try:
            part = min(points - 1, math.floor(read_position(step).share * points))
            if part > 0 and not (target / f"{part}").exists():
                _keep(step, target / f"{part}")
        except (Damaged, OSError):
            # The run has removed it meanwhile; there is a newer one.
            continue
        return


def _keep(step: Path, target: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    with atomic.new_folder(target) as staging:
        with safe_open(step / "tensors.safetensors", framework="numpy") as opened:
            names = [name for name in opened.keys() if name.startswith("weight/")]  # noqa: SIM118
            # The adapter's own name is no part of PEFT's files.
            weights = {
                name.removeprefix("weight/").replace(".default.", "."): opened.get_tensor(name) for name in names
            }
        save_file(weights, staging / WEIGHTS, metadata={"format": "pt"})
        shutil.copy(step / POSITION, staging)


def _points(name: str, folder: Path, minutes: float) -> Iterator[Point]:
    from tuning.trackers import read_metrics

    measured = [line for line in read_metrics(folder / "metrics.jsonl") if line.get("validation") is not None]
    for part in sorted((OUT / name).glob("[0-9]*"), key=lambda one: int(one.name)):
        shutil.copy(folder / CONFIGURATION, part)
        at = json.loads((part / POSITION).read_text("utf-8"))
        so_far = [line["validation"] for line in measured if line["step"] <= at["step"]]
        validation = so_far[-1] if so_far else None
        yield Point(f"{minutes:g} min run", at["elapsed"] / 60, at["tokens"], validation, part, is_end=False)
    figures = json.loads((folder / "manifest.json").read_text("utf-8"))["figures"]
    yield Point(
        f"{minutes:g} min run, its end",
        figures["seconds"] / 60,
        figures["tokens"],
        figures["validation_after"],
        folder,
        is_end=True,
    )


def _rows(points: Sequence[Point], repository: Path, folder: Path, arguments: argparse.Namespace) -> Iterator[Row]:
    """The base both ways, then every point; what was measured before is read."""
    from benchmarks import infilling
    from evals.tasks.heldout import held_out, read_record

    # By path, so every run holds out the same files.
    root, ends = repository.resolve(), [point for point in points if point.is_end]
    held = held_out(root, [read_record(end.name, end.adapter / "manifest.json", root) for end in ends])
    places = infilling.choose(held.files, arguments.places, arguments.seed)
    base = base_identity(store.fetch(arguments.base)).digest
    dtype = _dtype()

    def measured(adapter: Path | None, way: infilling.Way) -> dict[str, dict[str, Any]]:
        digest = hashlib.sha256((adapter / WEIGHTS).read_bytes()).hexdigest() if adapter else ""
        where = [[level, one.path, one.line, one.column] for level, each in places.items() for one in each]
        asked = json.dumps([base, digest, way, where, arguments.prompt_tokens, dtype])
        kept = OUT / "measured" / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.json"
        if not kept.exists():
            found = infilling.measure(folder, adapter, way, places, arguments.prompt_tokens, dtype)
            atomic.write_json(kept, {level: asdict(one) for level, one in found.items()})
        content: dict[str, dict[str, Any]] = json.loads(kept.read_text("utf-8"))
        return content

    for way in infilling.WAYS:
        yield _told(Row("base", 0.0, 0, None, way, False, measured(None, way)))
    for point in points:
        for way in infilling.WAYS if point.is_end else ("infilling",):
            figures = (point.minutes, point.tokens, point.validation)
            yield _told(Row(point.name, *figures, way, point.is_end, measured(point.adapter, way)))


def _told(row: Row) -> Row:
    print(f"{row.label}, {row.way}: {row.levels}", file=sys.stderr, flush=True)
    return row


def _dtype() -> str:

    from tuning.model.load import best_device, fastest_dtype

    return str(fastest_dtype(best_device())).removeprefix("torch.")


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown."""
    levels = list(rows[0].levels)
    heads = ["", "asked", "minutes", "tokens", "validation"]
    heads += [f"{level}s: {figure}" for level in levels for figure in ("bits per byte", "exact", "edit similarity")]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        cells = [row.label, row.way, f"{row.minutes:.1f}", f"{row.tokens:,}"]
        cells.append("" if row.validation is None else f"{row.validation:.3f}")
        for level in levels:
            one = row.levels[level]
            cells += [f"{one['bits_per_byte']:.3f}", f"{one['exact']} of {one['places']}", f"{one['similarity']:.3f}"]
        lines.append(cells)
    return [f"| {' | '.join(line)} |" for line in lines]


def extrapolated(rows: Sequence[Row], base: str) -> list[str]:
    """What it would take to infill as well as the base completes left to right, in words; guesses are called so."""
    goal = next(row for row in rows if row.tokens == 0 and row.way == "left to right")
    ends = [row for row in rows if row.is_end and row.way == "infilling"]
    lines = []
    for level in goal.levels:
        for figure, name, rises in (("bits_per_byte", "bits per byte", False), ("similarity", "edit similarity", True)):
            curve = [(row.tokens, float(row.levels[level][figure])) for row in ends]
            wanted = float(goal.levels[level][figure])
            lines.append(f"{level}s, {name}: {_what_it_takes(curve, wanted, rises, base)}")
    return lines


def _what_it_takes(curve: Sequence[tuple[int, float]], wanted: float, rises: bool, base: str) -> str:
    goal = f"{wanted:.3f}, as the base has it left to right"
    reached = [tokens for tokens, value in curve if (value >= wanted if rises else value <= wanted)]
    if reached:
        return f"{goal}, measured at {min(reached):,} tokens"
    tokens = tokens_until(curve, wanted, rises)
    if tokens is None:
        return f"{goal}, is not reached; the ends of these runs give no line towards it"
    times = tokens / max(seen for seen, _ in curve)
    if times > FURTHEST:
        return f"{goal}, is not in reach: a line leads there at more than {FURTHEST:,} times what was measured"
    far = f"{times:,.0f} times what was measured"
    return f"{goal}, EXTRAPOLATED (a guess) to {tokens:.1e} tokens, {far}; {_hours(tokens, base)}"


def tokens_until(curve: Sequence[tuple[int, float]], wanted: float, rises: bool) -> float | None:
    """Tokens at which a straight line over log2(tokens), by least squares, has the value `wanted`.

    Returns:
        None: fewer than two points, or a line that does not lead there within 1e18 tokens.
    """
    if len({tokens for tokens, _ in curve}) < 2:
        return None
    line = statistics.linear_regression([math.log2(tokens) for tokens, _ in curve], [value for _, value in curve])
    if line.slope == 0 or (line.slope > 0) != rises:
        return None
    doublings = (wanted - line.intercept) / line.slope
    return 2.0**doublings if doublings < math.log2(1e18) else None


def _hours(tokens: float, base: str) -> str:
    """By `tuning.cost`, whose speeds of GPUs but the H100 are assumptions."""
    from tuning.cost import LADDER, MACHINES, cost

    if base != BASE:
        return "its hours are known for the embedded model only"
    taken = [(one.name, bool(one.measured), cost(LADDER[0], one, round(tokens)).seconds / 3600) for one in MACHINES]
    return "hours: " + ", ".join(
        f"{hours:,.1f} on {name}" + ("" if is_measured else " (assumed speed)") for name, is_measured, hours in taken
    )


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
