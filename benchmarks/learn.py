"""Does feedback teach? A simulated user with a consistent taste completes, and the next round is measured.

    python -m benchmarks.learn [--interactions 300] [--test 200] [--corpus FOLDER] [--epochs N] [--seed N] [--json]

The user (`learn_user.py`) asks for `--interactions` completions of the base through the same parts as the Code
screen, in a repository that opted in. What is to its taste is accepted; of the rest one half is taken and edited, where
that can be done, and the other turned down. Then `hone tune --from-feedback` runs as a user would run it, replaying
`--corpus` (default: a pinned repository of corpora.toml). Both models are asked at the same `--test` other places, of
which nothing is kept as feedback, and whose words the first round never names.

Acceptance is the share of the suggestions shown that the user would take as they are; McNemar's test compares the two.
General code is bits per byte on a fixed slice of the standard library, whose growth must stay within `--budget`. State
and figures lie in benchmarks/out/learn.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assistant import feedback_consent, paths
from assistant.client import connect
from assistant.feedback import Feedback
from assistant.skills.ghost import Ghost, Shown
from benchmarks import corpora, machine
from benchmarks.learn_user import Task, tasks
from benchmarks.pays import GENERAL, GENERAL_BYTES
from evals.statistics import mcnemar

BASE = "smollm2-135m"
OUT = corpora.HERE / "out" / "learn"
NAME = "learn"
WANTED = 0.20
"""Relative rise of acceptance."""


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
    parser.add_argument("--objective", default="auto", help="feedback.objective of the run")
    parser.add_argument("--least", type=int, default=20, help="feedback.least of the run")
    parser.add_argument("--set", action="append", default=[], help="further settings of the run")
    parser.add_argument("--budget", type=float, default=0.02, help="greatest relative growth of general bits per byte")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    print(machine.describe(), file=sys.stderr, flush=True)
    corpus = arguments.corpus or str(corpora.prepare("strands-agents"))
    _fresh_home()
    repository = _repository()
    feedback_consent.write(feedback_consent.read().with_repository(repository))
    round_one = list(tasks(arguments.interactions, arguments.seed))
    others = list(tasks(arguments.test, arguments.seed, held_out=True))
    told = _use(arguments.base, repository, round_one, arguments.seed)
    before = _judge(arguments.base, repository, others)
    tuned = _tune(arguments, corpus)
    after = _judge(tuned["adapter"], repository, others)
    general = [_general(arguments.base, None), _general(arguments.base, Path(tuned["folder"]))]
    figures = _figures(told, before, after, general, tuned, arguments)
    (OUT / "figures.json").write_text(json.dumps(figures, indent=2), "utf-8")
    print(json.dumps({"schema_version": 1, **figures}) if arguments.json else _text(figures), flush=True)
    print(machine.describe(), file=sys.stderr, flush=True)


def _fresh_home() -> None:
    """A state folder of this benchmark's own, with the models of the user's."""
    models = paths.models_dir().resolve()
    home = OUT / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / "models").symlink_to(models)
    os.environ["HONE_HOME"] = str(home)


def _repository() -> Path:
    folder = OUT / "repository"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("Figures and texts.\n", "utf-8")
    subprocess.run(["git", "-C", str(folder), "init", "-q"], check=True)
    return folder


@contextmanager
def _asking(model: str, repository: Path, feedback: Feedback | None, clock: Clock) -> Iterator[Ghost]:
    with connect(model=model) as client:
        ghost = Ghost(client, model, repository, feedback=feedback, clock=clock)
        try:
            yield ghost
        finally:
            ghost.close()


def _use(model: str, repository: Path, round_one: Sequence[Task], seed: int) -> Counter[str]:
    """The first round, which leaves feedback; how often what became of a suggestion."""
    draw = random.Random(f"user {seed}")
    clock = Clock()
    told: Counter[str] = Counter()
    with _asking(model, repository, Feedback(), clock) as ghost:
        for number, task in enumerate(round_one, 1):
            shown = _suggested(ghost, task)
            told[_answer(ghost, clock, task, shown, draw)] += 1
            if number % 50 == 0:
                print(f"{number} interactions: {dict(told)}", file=sys.stderr, flush=True)
    return told


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


def _judge(model: str, repository: Path, others: Sequence[Task]) -> list[bool | None]:
    """Of each place: whether what is suggested is to the user's taste; None where nothing is suggested."""
    clock = Clock()
    with _asking(model, repository, None, clock) as ghost:
        found = []
        for task in others:
            shown = _suggested(ghost, task)
            found.append(None if shown is None else task.likes(shown.text))
    return found


def _tune(arguments: argparse.Namespace, corpus: str) -> Any:
    settings = [f"feedback.objective={arguments.objective}", f"feedback.least={arguments.least}", *arguments.set]
    command = [
        *(sys.executable, "-m", "tui", "tune", corpus, "--from-feedback", "--name", NAME, "--base", arguments.base),
        *("--epochs", f"{arguments.epochs:g}", "--seed", str(arguments.seed), "--json"),
        *(word for setting in settings for word in ("--set", setting)),
    ]
    print("$ hone " + " ".join(command[3:]), file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def _general(base: str, adapter: Path | None) -> float:
    """Bits per byte of a fixed slice of the standard library, by transformers in fp32."""
    from assistant.models import store
    from evals.bits import Text, file_bits, load

    scorer, tokenizer, end_token = load(store.tuning_form(store.fetch(base)), adapter)
    scored = []
    for name in GENERAL.split():
        text = (Path(sysconfig.get_path("stdlib")) / f"{name}.py").read_text("utf-8")[:GENERAL_BYTES]
        part = file_bits(Text(f"{name}.py", text[: text.rfind("\n") + 1]), scorer, tokenizer, end_token)
        if part is not None:
            scored.append((part.bits, part.bytes))
    return sum(bits for bits, _ in scored) / sum(size for _, size in scored)


def _figures(
    told: Counter[str],
    before: Sequence[bool | None],
    after: Sequence[bool | None],
    general: Sequence[float],
    tuned: Any,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    shown = [[one for one in found if one is not None] for found in (before, after)]
    rates = [sum(found) / max(len(found), 1) for found in shown]
    both = [(bool(first), bool(second)) for first, second in zip(before, after, strict=True)]
    gained, lost = both.count((False, True)), both.count((True, False))
    rise = rates[1] / rates[0] - 1 if rates[0] else None
    growth = general[1] / general[0] - 1
    return {
        "interactions": arguments.interactions,
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
        "within_budget": growth <= arguments.budget,
    }


def _text(figures: dict[str, Any]) -> str:
    first, second = figures["acceptance"]
    rise = "from none" if figures["relative_rise"] is None else f"{figures['relative_rise']:+.0%}"
    return "\n".join(
        [
            f"first round   {figures['interactions']} interactions: "
            + ", ".join(f"{count} {how}" for how, count in sorted(figures["first_round"].items())),
            f"learnt        {figures['feedback']['completions']} completions, {figures['feedback']['preferences']}",
            f"trained       {figures['steps']} steps, {figures['seconds'] / 60:.1f} min",
            f"acceptance    {first:.1%} -> {second:.1%} ({rise}; {figures['gained']} places gained, {figures['lost']} "
            f"lost, p {figures['p']:.2g}) at {figures['places']} other places",
            f"general code  {figures['general_growth']:+.2%} bits per byte",
            f"wanted        {'yes' if figures['rises_enough'] else 'NO'}: +{WANTED:.0%}; "
            f"{'yes' if figures['within_budget'] else 'NO'}: within the forgetting budget",
        ]
    )


if __name__ == "__main__":
    main()
