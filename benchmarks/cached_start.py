"""From the loaded model to the first training step: the first run on a corpus, and a second one with the same settings.

`python -m benchmarks.cached_start [--runs 3]`

Each run is a process of its own, one step long, that ends before anything is exported. Not counted: starting Python
and its imports, fetching the base, loading its weights, and the step itself. So what is left is corpus, rows, pre-
flight and the first validation, and in the second run what finding them again takes. The first run begins with an
empty state folder that has the model only.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from assistant import paths
from assistant.models import store
from benchmarks import corpora, machine

BASE = "smollm2-135m"


class _BegunError(Exception):
    """The first step is done."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="of the second kind")
    parser.add_argument("--corpus", default="strands-agents")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_start(arguments.one)))
        return
    folder = corpora.prepare(arguments.corpus)
    store.tuning_form(store.fetch(BASE))
    print(machine.describe())
    with tempfile.TemporaryDirectory(prefix="hone-start-") as home:
        shutil.copytree(paths.models_dir(), Path(home) / "models", symlinks=True)
        found = [_run(folder, home) for _ in range(1 + arguments.runs)]
    print(f"first run    {found[0]:.1f} s")
    print(f"second run   {machine.spread(found[1:])} s, {arguments.runs} runs")
    print(machine.describe())


def _run(folder: Path, home: str) -> float:
    command = [sys.executable, "-m", "benchmarks.cached_start", "--one", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, "HONE_HOME": home})
    return float(json.loads(done.stdout))


def _start(folder: Path) -> float:
    """Seconds from the beginning of a run to the beginning of its first step, without loading the weights."""
    # What the run would import on its way, so that starting Python is not counted.
    import peft  # noqa: F401
    import transformers  # noqa: F401

    from tuning import ground, preflight, ready, run  # noqa: F401
    from tuning.model import lora  # noqa: F401
    from tuning.plan import CorpusOptions, Plan
    from tuning.train import Progress

    loading = 0.0
    load = ground.base_model

    def timed(*arguments: object) -> object:
        nonlocal loading
        began = time.perf_counter()
        model = load(*arguments)  # type: ignore[arg-type]
        loading += time.perf_counter() - began
        return model

    ground.base_model = timed  # type: ignore[assignment]
    training = 0.0

    def first_step(progress: Progress) -> None:
        nonlocal training
        training = progress.seconds
        raise _BegunError

    plan = Plan(steps=1, corpus=CorpusOptions(sources=(str(folder),)))
    began = time.perf_counter()
    try:
        run.tune("start", BASE, plan, ground.Watcher(lambda _: None, first_step), restart=True)
    except _BegunError:
        return time.perf_counter() - began - loading - training
    raise SystemExit("the run ended before its first step")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
