"""How well the embedded model learns to review, by formulation, kinds of bugs, data, steps, rank and learning rate.

`python -m benchmarks.reviewer curve [--steps 60] [--only formulation,kinds,own,pairs,steps,rank,rate]`
`python -m benchmarks.reviewer run --form verdicts [--steps 60] [--pairs N] [--rank 32] [--rate 1e-3] ...`
`python -m benchmarks.reviewer table`

`curve` and `run` train short runs in this process. They see pairs: a change with its seeded bug, and the
same change without. Training pairs and those for calibration come from the installed packages; what is asked comes from
repositories that are none of them, with bugs of operators that seeded no training example, half of the changes clean.
Each run is kept in benchmarks/out/reviewer/curve.jsonl and not made again.

What `hone tune --task review` gives as it is shipped: `benchmarks.reviewer_shipped`.
"""

import argparse
import hashlib
import itertools
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from benchmarks import corpora, machine
from benchmarks.review_forms import FORMULATIONS, Model, Pair, Ranked, Tools, verdict_choices
from tuning.examples.mutate import OPERATORS

BASE = "smollm2-135m"
OUT = corpora.HERE / "out" / "reviewer"
_BY_HASH = sorted(OPERATORS, key=lambda name: hashlib.sha256(name.encode()).digest())
HELD_OUT = tuple(_BY_HASH[:8])
"""Bug operators that seed no training example: the eight of the smallest hashes, so that nobody chose them."""
REPOSITORIES = ("mistral-vibe", "strands-agents")
"""Of corpora.toml, published after the base's training data; no installed package."""
VALIDATION_SHARE = 10
"""One file in so many is for the calibration."""
VALIDATED = 240
"""Changes that the calibration reads, as after `hone tune`."""
VALIDATION_PER_FILE = 14


@dataclass(frozen=True)
class Run:
    form: str = "verdicts"
    steps: int = 60
    pairs: int = 0
    """Different pairs; 0: as many as the steps see."""
    rank: int = 32
    rate: float = 1e-3
    batch: int = 2
    """Pairs of a step."""
    lines: int = 30
    """Of a training change, context included."""
    twins: bool = True
    """Both changes of a pair are in one step; else each stands beside another one."""
    several: bool = False
    """In place of three of four pairs, two changes with several bugs at once."""
    kinds: int = 0
    """Bug operators that seed, of those that are not held out; 0: all. Fewer are the first by their hash."""
    own: str = ""
    """`asked`: asked is about half of the files of the repositories; `shown`: and every fourth document of the training
    is of the other half, as where a reviewer is tuned on the code that it will review."""
    seed: int = 0
    test: int = 240
    """Changes with bugs of held-out operators that are asked about; and half as many with bugs of those shown."""

    @property
    def operators(self) -> list[str]:
        """Those that seed training changes."""
        shown = [name for name in _BY_HASH if name not in HELD_OUT]
        return shown[: self.kinds] if self.kinds else shown

    @property
    def wanted(self) -> int:
        return self.pairs or self.steps * self.batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("curve", "run", "table"))
    parser.add_argument("--only", default="formulation,kinds,own,pairs,steps,rank,rate")
    for field in fields(Run):
        name = f"--{field.name}"
        if field.name == "twins":
            parser.add_argument("--no-twins", dest="twins", action="store_false")
        elif field.name == "several":
            parser.add_argument(name, action="store_true")
        elif field.name == "own":
            parser.add_argument(name, choices=("", "asked", "shown"), default="")
        elif field.name == "form":
            parser.add_argument(name, choices=tuple(FORMULATIONS), default=Run.form)
        else:
            parser.add_argument(name, type=type(field.default), default=field.default)
    arguments = parser.parse_args()
    asked = Run(**{field.name: getattr(arguments, field.name) for field in fields(Run)})
    print(machine.describe(), flush=True)
    for run in {"run": [asked], "table": [], "curve": curve(asked, arguments.only.split(","))}[arguments.what]:
        _kept(run)
    table()


def curve(centre: Run, axes: Sequence[str]) -> list[Run]:
    """The runs of a learning curve around one of them."""
    several = {
        "formulation": [
            *(replace(centre, form=form) for form in FORMULATIONS),
            *(replace(centre, form=form, several=True) for form in ("verdicts", "rewriting")),
        ],
        "own": [replace(centre, own=own) for own in ("asked", "shown")],
        "kinds": [replace(centre, kinds=kinds) for kinds in (9, 18)],
        # As many steps over fewer pairs, each seen more often.
        "pairs": [replace(centre, pairs=max(2, centre.wanted // part)) for part in (8, 4, 2)],
        "steps": [replace(centre, steps=max(1, centre.steps * part // 4)) for part in (1, 2, 8)],
        "rank": [replace(centre, rank=rank) for rank in (8, 128)],
        "rate": [replace(centre, rate=rate) for rate in (3e-4, 3e-3)],
    }
    return list(dict.fromkeys([centre, *(run for axis in axes for run in several[axis])]))


def _kept(run: Run) -> dict[str, Any]:
    file = OUT / "curve.jsonl"
    for line in file.read_bytes().splitlines() if file.exists() else ():
        if Run(**json.loads(line)["run"]) == run:
            return dict(json.loads(line))
    print(run, flush=True)
    found = {"run": asdict(run), **made(run), "machine": machine.describe()}
    OUT.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as kept:
        kept.write(json.dumps(found) + "\n")
    return found


def made(run: Run) -> dict[str, Any]:
    """Trains, calibrates and asks once."""

    from assistant.models import store
    from assistant.review_rewriting import prior
    from evals.tasks import review_lines, review_metrics, review_scores
    from tuning import reviewer
    from tuning.calibration import Platt
    from tuning.model import attention, lora
    from tuning.model.load import best_device, fastest_dtype, load_base, load_tokenizer
    from tuning.plan import LoraOptions, Plan
    from tuning.ready import make_ready
    from tuning.train import train

    form = FORMULATIONS[run.form]
    folder = store.tuning_form(store.fetch(BASE))
    tokenizer = load_tokenizer(folder)
    tools = Tools(tokenizer, tokenizer.eos_token_id, 1024)
    rows = _rows(run, tools)
    print(f"{len(rows)} pairs, {sum(len(one.tokens) for row in rows for one in row):,} tokens", flush=True)
    plan = Plan(
        steps=run.steps,
        learning_rate=run.rate,
        rows_per_step=run.batch,
        checks=1,
        seed=run.seed,
        lora=LoraOptions(rank=run.rank),
    )
    attention.register()
    base = load_base(folder, fastest_dtype(best_device()), attention.NAME)
    ready = make_ready(lora.add_lora(base, plan.lora, plan.seed), plan)
    if form.ranked:
        ready = replace(ready, wrapped=Ranked(ready.model, verdict_choices(tools)))
    started = time.perf_counter()
    losses: list[float] = []
    outcome = train(ready, _data(rows, tools), plan, lambda progress: losses.append(progress.loss), before=math.inf)
    trained_seconds = time.perf_counter() - started
    print(f"trained: {outcome.tokens:,} tokens in {trained_seconds:.0f} s, loss {losses[-1]:.3f}", flush=True)
    ready.model.eval()
    model = Model(ready.model)
    validation = [
        reviewer.Scored(tuple(scores), reviewer.first_wrong(one.hunk, one.wrong))
        for one in _validation(run)
        if (scores := form.score(one.hunk, tools, model)) is not None
    ]
    kept = reviewer.calibrate(validation, run.form)
    print(f"calibrated on {len(validation)} changes" + (f": {kept.describe()}" if kept else ""), flush=True)
    platt = Platt(kept.slope, kept.intercept) if kept else review_scores.RAW
    threshold = kept.threshold if kept else review_lines.EVEN

    def asked(cases: Sequence[Any]) -> tuple[list[Any], dict[str, list[Any]]]:
        scored = [
            review_scores.Scored(case, tuple(platt.probability(scores, prior(scores))))
            for case in cases
            if (scores := form.score(case.hunk, tools, model)) is not None
        ]
        figures, _ = review_scores.figures(scored, run.seed)
        figures |= review_metrics.figures([review_lines.called(one, threshold) for one in scored], run.seed)
        return scored, {name: [figure.value, figure.low, figure.high] for name, figure in figures.items()}

    scored, figures = asked(cases_of(run.test, run.seed, HELD_OUT, bool(run.own)))
    shown, figures_shown = asked(cases_of(run.test // 2, run.seed, run.operators, bool(run.own)))
    return {
        "tokens": outcome.tokens,
        "train_seconds": trained_seconds,
        "last_losses": sum(losses[-8:]) / len(losses[-8:]),
        "asked_seconds": time.perf_counter() - started - trained_seconds,
        "asked": len(scored),
        "asked_shown": len(shown),
        "validation": kept.to_json() if kept else None,
        "figures": figures,
        "figures_shown": figures_shown,
        "best_f1": review_lines.best_f1(scored)["line_f1"],
    }


def _rows(run: Run, tools: Tools) -> list[Any]:
    rows = []
    for pair in mixed(run) if run.several else pairs(run):
        row = FORMULATIONS[run.form].row(pair, tools)
        if row is not None:
            rows.append(row)
        if len(rows) == run.wanted:
            break
    if not run.twins:
        wrong = [row[1] for row in rows]
        rows = [(row[0], wrong[at - 1]) for at, row in enumerate(rows)]
    return rows


def _data(rows: Sequence[Any], tools: Tools) -> Any:
    from tuning.data import Data

    return Data(
        corpus=None,  # type: ignore[arg-type]
        rows=rows,
        validation=rows[:2],
        counts={},
        train_tokens=sum(len(one.tokens) for row in rows for one in row),
        supervised_tokens=0,
        end_token=tools.end_token,
        digest="",
    )


def pairs(run: Run) -> Iterator[Pair]:
    """Training pairs, one of each file in turn, always in the same order for a seed."""
    from tuning.examples import review

    trained = run.operators
    streams = []
    for document in _documents(run, validation=False):
        generator = random.Random(f"{run.seed}/{document.path}")
        streams.append(
            review.reviews(
                document.path, document.text, "python", generator, trained, 100, most_lines=run.lines, twins=True
            )
        )
    while streams:
        going = []
        for stream in streams:
            clean, wrong = next(stream, None), next(stream, None)
            if clean is not None and wrong is not None:
                going.append(stream)
                yield Pair(clean, wrong)
        streams = going


def mixed(run: Run) -> Iterator[Pair]:
    """Some bugs remove lines, which only pairs have."""
    one_by_one = pairs(run)
    for number, pair in enumerate(severally(run)):
        yield (next(one_by_one, pair) if number % 4 == 3 else pair)


def severally(run: Run) -> Iterator[Pair]:
    """Changes with several bugs, two and two, one of each file in turn, again and again with other bugs."""
    from tuning.examples import several

    trained = run.operators
    documents = _documents(run, validation=False)
    for turn in itertools.count():
        waiting = []
        for document in documents:
            generator = random.Random(f"{run.seed}/several/{turn}/{document.path}")
            # Most files have one function that is left and more: those of one turn come one after the other.
            for one in several.reviews(document.path, document.text, "python", generator, trained, 1, run.lines):
                waiting.append(one)
                if len(waiting) == 2:
                    yield Pair(*waiting)
                    waiting = []


def _validation(run: Run) -> list[Any]:
    from tuning.examples import review

    found: list[Any] = []
    for document in _documents(run, validation=True):
        generator = random.Random(f"{run.seed}/validation/{document.path}")
        found += review.reviews(document.path, document.text, "python", generator, run.operators, VALIDATION_PER_FILE)
    random.Random(run.seed).shuffle(found)
    return found[:VALIDATED]


def _documents(run: Run, validation: bool) -> list[Any]:
    """Python files of the installed packages, and of the repositories where their own code is shown, in an order of
    their own."""
    found = [
        (hashlib.sha256(f"{run.seed}/{item.path}".encode()).digest(), item)
        for item in installed()
        if item.language == "python"
    ]
    found.sort(key=lambda one: one[0])
    general = [item for digest, item in found if (digest[-1] % VALIDATION_SHARE == 0) == validation]
    if run.own != "shown" or validation:
        return general
    own = [one for name in REPOSITORIES for one in files_of(name) if not _is_asked(one)]
    own.sort(key=lambda one: hashlib.sha256(f"{run.seed}/{one.path}".encode()).digest())
    mixed = []
    for at, item in enumerate(general):
        mixed += [item, *(own[at // 3 : at // 3 + 1] if at % 3 == 2 else ())]
    return mixed


def installed() -> list[Any]:
    from tuning.corpus import collect, sources
    from tuning.corpus.document import Document

    source = sources.resolve(sources.parse("installed:all"))
    return [item for item in collect.read([source]) if isinstance(item, Document)]


def cases_of(wanted: int, seed: int, operators: Sequence[str], half: bool = False) -> list[Any]:
    """Of each repository as many; a case's group is its repository and its file.

    Args:
        half: of the files that no training shows.
    """
    from evals.tasks import review_data

    found = []
    for name in REPOSITORIES:
        files = [one for one in files_of(name) if not half or _is_asked(one)]
        made = review_data.seeded(files, wanted // len(REPOSITORIES), seed, (), operators)
        found += [replace(case, group=f"{name}/{case.group}") for case in made]
    return found


def _is_asked(file: Any) -> bool:
    return hashlib.sha256(file.path.encode()).digest()[0] % 2 == 0


def files_of(name: str) -> list[Any]:
    """The source files of a repository, with their paths."""
    from evals.tasks import review_data

    root = corpora.prepare(name)
    while not (root / ".git").exists():
        root = root.parent
    return review_data.unseen_files(root, [])


COLUMNS = {
    "AUC change": "AUC, change wrong or clean",
    "AUC line": "AUC, line wrong or fine",
    "top line": "top line is the bug",
    "line F1": "line F1",
    "recall": "line recall",
    "alarms": "false alarms per clean diff",
}


def table() -> None:
    """All runs that are kept."""
    file = OUT / "curve.jsonl"
    kept = [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []
    settings = (
        "form",
        "steps",
        "pairs",
        "rank",
        "rate",
        "batch",
        "lines",
        "twins",
        "several",
        "kinds",
        "own",
        "tokens",
    )
    rows = [[*settings, *COLUMNS, "best F1", "AUC shown", "F1 shown"]]
    for one in kept:
        run = Run(**one["run"])
        figures = [one["figures"].get(name, [math.nan])[0] for name in COLUMNS.values()]
        shown = one.get("figures_shown", {})
        of_shown = [shown.get(COLUMNS[name], [math.nan])[0] for name in ("AUC change", "line F1")]
        rows.append(
            [
                *(
                    run.form,
                    str(run.steps),
                    str(run.wanted),
                    str(run.rank),
                    f"{run.rate:g}",
                    str(run.batch),
                    str(run.lines),
                ),
                *("yes" if run.twins else "no", "yes" if run.several else "no"),
                *(str(len(run.operators)), run.own or "-", f"{one['tokens']:,}"),
                *(f"{value:.3f}" for value in (*figures, one["best_f1"], *of_shown)),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"operators held out: {', '.join(HELD_OUT)}")


if __name__ == "__main__":
    main()
