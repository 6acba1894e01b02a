"""Near-duplicate removal at 1, 4 and 16 times a corpus: Hone's steps and datatrove's MinHash pipeline, alternating.

`python -m benchmarks.corpus [--megabytes 16] [--times 1,4,16] [--rounds 3] [--without-peer]`

The corpus is Python files of the installed packages; the further copies append a letter to every identifier, so that
they are no duplicates. One file in eight gets a near-copy by renamed names, inserted comments, dropped or reordered
functions, and its exact similarity is computed from the sets of 5-word shingles. Hone reads, redacts, signs, finds and
splits; datatrove reads, signs and finds. Recall: planted pairs of at least 0.7 that end in one cluster. Precision:
planted pairs in one cluster that have at least 0.7. Each run has a process of its own, one worker, and counts no
imports; memory is the highest sum of the resident sets of the process and its children, read 50 times a second.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks import machine, near_copies

HERE = Path(__file__).parent
OUT = HERE / "out"
THRESHOLD = 0.7
PINNED = [
    "datatrove==0.10.1",
    "huggingface-hub==2.4.0",
    "fsspec==2026.9.0",
    "numpy==2.4.6",
    "orjson==3.13.0",
    "regex==2026.11.15",
    "tokenizers==0.23.3",
    "xxhash==3.8.2",
]


@dataclass(frozen=True)
class Outcome:
    steps: dict[str, float]
    """Seconds of each step."""
    processor: float
    """Seconds of processor time of all steps."""
    megabytes: float
    """Peak memory."""
    clusters: dict[int, int]
    """A cluster for each document that has one, by line."""

    @property
    def seconds(self) -> float:
        return sum(self.steps.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=16.0, help="of text at 1x, planted copies not counted")
    parser.add_argument("--times", type=lambda text: [int(each) for each in text.split(",")], default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--ours", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ours:
        print(json.dumps(ours(*arguments.ours)))
        return
    runners = {"hone": [sys.executable, "-m", "benchmarks.corpus", "--ours"]}
    if not arguments.without_peer:
        script = [str(_peer_python()), str(HERE / "datatrove_minhash.py")]
        runners |= {"datatrove 16x8": script, "datatrove 32x4": script}
    print(machine.describe())
    heads = f"{'text':>9}{'seconds (range)':>24}{'cpu s':>8}{'MB/s':>7}{'peak MB':>9}{'recall':>8}{'precision':>10}"
    print(f"{'':16}{heads}  steps")
    found: dict[tuple[str, int], list[Outcome]] = {}
    sizes: dict[int, float] = {}
    with tempfile.TemporaryDirectory(dir=_made(OUT)) as work:
        for times in arguments.times:
            folder, planted, text = near_copies.write(Path(work), times, arguments.megabytes)
            sizes[times] = text / 1e6
            for _ in range(arguments.rounds):
                for name, command in runners.items():
                    found.setdefault((name, times), []).append(_run(name, command, folder, Path(work) / "run"))
            for name in runners:
                _print(name, times, sizes[times], found[name, times], planted)
            shutil.rmtree(folder)
    _print_bars(arguments.times, sizes, found)
    print(machine.describe())


def ours(folder: Path, work: Path) -> dict[str, Any]:
    """Reads, redacts, signs, finds and splits; seconds of each step, and the clusters."""
    from assistant.redaction.redact import redact
    from tuning.corpus.document import Document
    from tuning.corpus.neardup import Signatures, find
    from tuning.corpus.split import split_by_path

    redact("warm")
    steps = {"read": 0.0, "redact": 0.0, "sign": 0.0, "find": 0.0, "split": 0.0}
    with (
        (folder / "corpus.jsonl").open(encoding="utf-8") as lines,
        (_made(work) / "paths").open("w+", encoding="utf-8") as paths,
        Signatures(work / "signatures") as signatures,
    ):
        last, processor = time.perf_counter(), time.process_time()

        def lap(step: str) -> None:
            nonlocal last
            now = time.perf_counter()
            steps[step] += now - last
            last = now

        for line in lines:
            record = json.loads(line)
            document = Document(0, record["id"], record["text"], "python", None, "", len(record["text"]))
            paths.write(record["id"] + "\n")
            lap("read")
            clean = redact(document.text)[0]
            lap("redact")
            signatures.add(replace(document, text=clean))
            lap("sign")
        signatures.flush()
        lap("sign")
        clusters = find(signatures)
        lap("find")
        paths.seek(0)
        split_by_path((path.rstrip("\n") for path in paths), clusters.related, clusters.kept)
        lap("split")
        processor = time.process_time() - processor
    return {"steps": steps, "processor": processor, "clusters": dict(enumerate(clusters.original.tolist()))}


def _run(name: str, command: list[str], folder: Path, work: Path) -> Outcome:
    arguments = [str(folder), str(_made(work)), *name.removeprefix("hone").partition(" ")[2].split("x")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)}
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, *filter(None, arguments)], stdout=printed, stderr=log, env=environment, cwd=HERE.parent
        )
        peak = _watch(process)
        if process.returncode:
            log.seek(0)
            sys.exit(f"{name} failed:\n{log.read().decode(errors='replace')[-3000:]}")
        printed.seek(0)
        answer = json.loads(printed.read())
    shutil.rmtree(work)
    clusters = {int(document): cluster for document, cluster in answer["clusters"].items()}
    return Outcome(answer["steps"], answer["processor"], peak / 1e6, clusters)


def _watch(process: "subprocess.Popen[bytes]") -> int:
    """The highest sum of resident bytes until the process ends."""
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            tree = [watched, *watched.children(recursive=True)]
            peak = max(peak, sum(each.memory_info().rss for each in tree))
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.02)
    return peak


def _print(name: str, times: int, size: float, runs: list[Outcome], planted: list[near_copies.Planted]) -> None:
    recall, precision = _quality(runs[0].clusters, planted)
    seconds = [run.seconds for run in runs]
    steps = ", ".join(f"{step} {statistics.median(run.steps[step] for run in runs):.1f}" for step in runs[0].steps)
    print(
        f"{name:16}{times:>3}x {size:4.0f} {machine.spread(seconds, 2):>23}"
        f"{statistics.median(run.processor for run in runs):8.2f}{size / statistics.median(seconds):7.1f}"
        f"{max(run.megabytes for run in runs):9.0f}{recall:8.3f}{precision:10.3f}  {steps}",
        flush=True,
    )


def _quality(clusters: dict[int, int], planted: list[near_copies.Planted]) -> tuple[float, float]:
    joined = [
        each for each in planted if each.original in clusters and clusters[each.original] == clusters.get(each.copy)
    ]
    true = sum(each.similarity >= THRESHOLD for each in joined)
    wanted = sum(each.similarity >= THRESHOLD for each in planted)
    return true / max(1, wanted), true / max(1, len(joined))


def _print_bars(times: list[int], sizes: dict[int, float], found: dict[tuple[str, int], list[Outcome]]) -> None:
    def rate(name: str, number: int, *without: str) -> float:
        runs = found[name, number]
        kept = [sum(value for step, value in run.steps.items() if step not in without) for run in runs]
        return statistics.median(kept) / sizes[number]

    first = times[0]
    for number in times[1:]:
        processor = [
            statistics.median(run.processor for run in found["hone", each]) / sizes[each] for each in (first, number)
        ]
        memory = [max(run.megabytes for run in found["hone", each]) for each in (first, number)]
        print(
            f"hone at {number}x against {first}x: seconds per MB {rate('hone', number) / rate('hone', first):.2f} "
            f"(without redaction {rate('hone', number, 'redact') / rate('hone', first, 'redact'):.2f}), "
            f"processor seconds per MB {processor[1] / processor[0]:.2f}, peak memory {memory[1] / memory[0]:.2f}"
        )
    for name in sorted({name for name, _ in found} - {"hone"}):
        for number in times:
            print(
                f"{name} / hone at {number}x, seconds: {rate(name, number) / rate('hone', number):.1f}, "
                f"without redaction {rate(name, number) / rate('hone', number, 'redact'):.1f}"
            )


def _peer_python() -> Path:
    """The Python of an environment that holds the pinned datatrove, made on the first call."""
    folder = OUT / "datatrove"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        done = subprocess.run([python, "-m", "pip", "install", "--quiet", *PINNED], check=False)
        if done.returncode:
            sys.exit("pip could not install the pinned datatrove; is there a network? (--without-peer runs Hone alone)")
        (folder / "ready").touch()
    return python


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
