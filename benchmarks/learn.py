"""Does feedback teach? A simulated user with a consistent taste completes, and the next round is measured.

    python -m benchmarks.learn [--interactions 300] [--test 200] [--corpus FOLDER] [--epochs N | --minutes N] [--seed N]
                               [--restart] [--json]

The user (`learn_user.py`) asks for `--interactions` completions of the base through the same parts as the Code
screen, in a repository that opted in. What is to its taste is accepted; of the rest one half is taken and edited, where
that can be done, and the other turned down. Then `hone tune --from-feedback` runs as a user would run it, replaying
`--corpus` (default: a pinned repository of corpora.toml). Both models are asked at the same `--test` other places, of
which nothing is kept as feedback, and whose words the first round never names.

Acceptance is the share of the suggestions shown that the user would take as they are; McNemar's test compares the two
at all places. General code is bits per byte on a fixed slice of the standard library, whose growth must stay within
`--budget`. The exit code is 1 when acceptance does not rise by a fifth, or general code grows by more than that.

State and figures lie in benchmarks/out/learn, one folder for each set of options. The same command goes on where a
killed one was, and prints the figures of one that ended; --restart begins anew. For a short run ask for less of
everything: `--interactions 80 --test 60 --least 10 --minutes 3`.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from assistant import atomic, feedback_consent, paths
from assistant.client import connect
from assistant.errors import HoneError
from assistant.feedback import Feedback
from assistant.skills.ghost import Ghost, Shown
from benchmarks import corpora, learn_user, machine
from benchmarks.learn_user import Task, tasks
from benchmarks.pays import general_bits
from evals.statistics import mcnemar
from tuning import cache, unfinished
from tuning.preference import check_possible

BASE = "smollm2-135m"
OUT = corpora.HERE / "out" / "learn"
NAME = "learn"
WANTED = 0.20
"""Relative rise of acceptance."""
PART = 20
"""Places between two times that what was found is kept."""


class Clock:
    """Time of the simulated user, in seconds: nobody waits half a minute to look at an edit."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, default=300)
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--corpus", help="what is replayed; default: the pinned strands-agents")
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--minutes", type=float, help="of learning completions, instead of --epochs")
    parser.add_argument("--objective", default="auto", help="feedback.objective of the run")
    parser.add_argument("--least", type=int, default=20, help="feedback.least of the run")
    parser.add_argument("--set", action="append", default=[], help="further settings of the run")
    parser.add_argument("--budget", type=float, default=0.02, help="greatest relative growth of general bits per byte")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--restart", action="store_true", help="forget what an earlier run of these options left")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    print(machine.describe(), file=sys.stderr, flush=True)
    try:
        figures = _measured(arguments)
    except HoneError as error:
        sys.exit(str(error))
    print(json.dumps({"schema_version": 1, **figures}) if arguments.json else text_of(figures), flush=True)
    print(machine.describe(), file=sys.stderr, flush=True)
    sys.exit(not (figures["rises_enough"] and figures["within_budget"]))


def _measured(arguments: argparse.Namespace) -> Any:
    if arguments.objective != "completions":
        # Told now and not after the first round.
        check_possible()
    asked = {key: value for key, value in vars(arguments).items() if key not in ("restart", "json", "budget")}
    # What was found at other places is of another run.
    asked["places"] = hashlib.sha256(Path(learn_user.__file__).read_bytes()).hexdigest()
    out = OUT / cache.key_of(asked)[:12]
    if arguments.restart:
        shutil.rmtree(out, ignore_errors=True)
    corpus = arguments.corpus or str(corpora.prepare("strands-agents"))
    repository = _prepared(out, asked)
    round_one = list(tasks(arguments.interactions, arguments.seed))
    others = list(tasks(arguments.test, arguments.seed, held_out=True))
    told = _use(out / "first.json", arguments.base, repository, round_one, arguments.seed)
    before = _judge(out / "before.json", arguments.base, repository, others)
    tuned = kept(out / "tuned.json", lambda: _tune(arguments, corpus))
    after = _judge(out / "after.json", tuned["adapter"], repository, others)
    general = [
        kept(out / "general-base.json", lambda: general_bits(arguments.base, None)),
        kept(out / "general-tuned.json", lambda: general_bits(arguments.base, Path(tuned["folder"]))),
    ]
    figures = figures_of(Counter(told), before, after, general, tuned, arguments.budget)
    atomic.write_json(out / "figures.json", figures)
    return figures


def kept(file: Path, make: Callable[[], Any]) -> Any:
    """What a JSON file holds, made at the first call."""
    if not file.exists():
        atomic.write_json(file, make())
    return json.loads(file.read_text("utf-8"))


def _prepared(out: Path, asked: dict[str, Any]) -> Path:
    """Makes a state folder of this run's own the current one, with the models of the user's; the user's repository."""
    models, home, repository = paths.models_dir().resolve(), out / "home", out / "repository"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "models").is_symlink():
        (home / "models").symlink_to(models)
    os.environ["HONE_HOME"] = str(home)
    if not (repository / ".git").exists():
        repository.mkdir(exist_ok=True)
        (repository / "README.md").write_text("Figures and texts.\n", "utf-8")
        subprocess.run(["git", "-C", str(repository), "init", "-q"], check=True)
        feedback_consent.write(feedback_consent.read().with_repository(repository))
    atomic.write_json(out / "options.json", asked)
    return repository


def in_parts(
    file: Path, tasks: Sequence[Task], ask: Callable[[int, Sequence[Task]], Sequence[Any]], what: str
) -> list[Any]:
    """What `ask` finds at each place, kept in a JSON file after every `PART` of them; goes on behind what is kept.

    Args:
        ask: takes the number of the first place and the places.
        what: is told of with the time that it will take.
    """
    found: list[Any] = kept(file, list)
    began, at_first = time.monotonic(), len(found)
    while len(found) < len(tasks):
        found += ask(len(found), tasks[len(found) : len(found) + PART])
        atomic.write_json(file, found)
        each = (time.monotonic() - began) / (len(found) - at_first)
        left = (len(tasks) - len(found)) * each / 60
        print(
            f"{what}: {len(found)} of {len(tasks)}, {each:.1f} s each, {left:.0f} min to go",
            file=sys.stderr,
            flush=True,
        )
    return found


def _use(file: Path, model: str, repository: Path, round_one: Sequence[Task], seed: int) -> list[str]:
    """The first round, which leaves feedback; what became of each suggestion."""
    clock = Clock()
    with connect(model=model) as client:

        def ask(first: int, part: Sequence[Task]) -> list[str]:
            paths_of_part = {task.path for task in part}
            # What a killed run left of these.
            Feedback().forget(lambda event: event.path in paths_of_part)
            ghost = Ghost(client, model, repository, feedback=Feedback(), clock=clock)
            try:
                return [
                    _answer(ghost, clock, task, _suggested(ghost, task), random.Random(f"user {seed} {number}"))
                    for number, task in enumerate(part, first)
                ]
            finally:
                # From here on the feedback is on the disk.
                ghost.close()
                if ghost.problem is not None:
                    raise ghost.problem

        return in_parts(file, round_one, ask, "interactions")


def _suggested(ghost: Ghost, task: Task) -> Shown | None:
    return ghost.suggest(task.path, task.before + task.after, len(task.before), manual=True)


def _answer(ghost: Ghost, clock: Clock, task: Task, shown: Shown | None, draw: random.Random) -> str:
    """What the user does with a suggestion."""
    edits = draw.random() < 0.5
    if shown is None:
        return "nothing shown"
    # Long enough to read it.
    clock.now += 2
    if task.likes(shown.text):
        written, how = shown.text, "accepted"
    elif edits and task.could_edit(shown.text):
        written, how = task.reference, "edited"
    else:
        ghost.rejected(shown.id)
        return "rejected"
    ghost.accepted(shown.id, "whole", shown.text)
    # It is looked at again when the user is back in the file, after half a minute.
    clock.now += 60
    ghost.ready(task.path, task.before + written + task.after, len(task.before + written))
    return how


def _judge(file: Path, model: str, repository: Path, others: Sequence[Task]) -> list[bool | None]:
    """Of each place: whether what is suggested is to the user's taste; None where nothing is suggested."""
    with connect(model=model) as client:

        def ask(_: int, part: Sequence[Task]) -> list[bool | None]:
            ghost = Ghost(client, model, repository, feedback=None, clock=Clock())
            try:
                shown = [(task, _suggested(ghost, task)) for task in part]
            finally:
                ghost.close()
            return [None if one is None else task.likes(one.text) for task, one in shown]

        return in_parts(file, others, ask, f"places of {model}")


def _tune(arguments: argparse.Namespace, corpus: str) -> Any:
    if unfinished.position(NAME) is not None:
        words = ["--name", NAME, "--resume", "--json"]
    else:
        settings = [f"feedback.objective={arguments.objective}", f"feedback.least={arguments.least}", *arguments.set]
        length = ("epochs", arguments.epochs) if arguments.minutes is None else ("minutes", arguments.minutes)
        words = [
            *(corpus, "--from-feedback", "--name", NAME, "--base", arguments.base, f"--{length[0]}", f"{length[1]:g}"),
            *("--seed", str(arguments.seed), "--json"),
            *(word for setting in settings for word in ("--set", setting)),
        ]
    print("$ hone tune " + " ".join(words), file=sys.stderr, flush=True)
    command = [sys.executable, "-P", "-m", "tui", "tune", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"the run ended with exit code {done.returncode}; the same command goes on with it")
    return json.loads(done.stdout)


def figures_of(
    told: Counter[str],
    before: Sequence[bool | None],
    after: Sequence[bool | None],
    general: Sequence[float],
    tuned: Any,
    budget: float,
) -> dict[str, Any]:
    """
    Args:
        told: how often what became of a suggestion in the first round.
        before, after: as `_judge` gives them, of the same places.
        general: bits per byte of general code, before and after.
        tuned: the report of the tuning run.
        budget: greatest relative growth of `general`.
    """
    shown = [[one for one in found if one is not None] for found in (before, after)]
    rates = [sum(found) / max(len(found), 1) for found in shown]
    both = [(bool(first), bool(second)) for first, second in zip(before, after, strict=True)]
    gained, lost = both.count((False, True)), both.count((True, False))
    rise = rates[1] / rates[0] - 1 if rates[0] else None
    growth = general[1] / general[0] - 1
    return {
        "interactions": told.total(),
        "first_round": dict(told),
        "places": len(before),
        "shown": [len(found) for found in shown],
        "acceptance": rates,
        "relative_rise": rise,
        "gained": gained,
        "lost": lost,
        "p": mcnemar(gained, lost),
        "general_bits_per_byte": list(general),
        "general_growth": growth,
        "feedback": {key: value for key, value in tuned["feedback"].items() if key != "ids"},
        "seconds": tuned["figures"]["seconds"],
        "steps": tuned["figures"]["steps"],
        "rises_enough": rates[1] > 0 if rise is None else rise >= WANTED,
        "within_budget": growth <= budget,
    }


def text_of(figures: dict[str, Any]) -> str:
    first, second = figures["acceptance"]
    learnt = figures["feedback"]["preferences"]
    how = f"{learnt['rows']} rows by {learnt['method'].upper()}" if learnt else ""
    rise = "from none" if figures["relative_rise"] is None else f"{figures['relative_rise']:+.0%}"
    return "\n".join(
        [
            f"first round   {figures['interactions']} interactions: "
            + ", ".join(f"{count} {became}" for became, count in sorted(figures["first_round"].items())),
            f"learnt        {figures['feedback']['completions']} completions" + (f", {how}" if how else ""),
            f"trained       {figures['steps']} steps, {figures['seconds'] / 60:.1f} min",
            f"acceptance    {first:.1%} -> {second:.1%} ({rise}; {figures['gained']} places gained, {figures['lost']} "
            f"lost, p {figures['p']:.2g}) at {figures['places']} other places, {figures['shown'][0]} and "
            f"{figures['shown'][1]} of them with a suggestion",
            f"general code  {figures['general_growth']:+.2%} bits per byte",
            f"wanted        {'yes' if figures['rises_enough'] else 'NO'}: +{WANTED:.0%}; "
            f"{'yes' if figures['within_budget'] else 'NO'}: within the forgetting budget",
        ]
    )


if __name__ == "__main__":
    main()
