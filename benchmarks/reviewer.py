"""How well the embedded model learns to review, by formulation, kinds of bugs, data, steps, rank and learning rate.

`python -m benchmarks.reviewer curve [--steps 60] [--only formulation,kinds,own,pairs,steps,rank,rate]`
`python -m benchmarks.reviewer run --form verdicts [--steps 60] [--pairs N] [--rank 32] [--rate 1e-3] ...`
`python -m benchmarks.reviewer table`

`curve` and `run` train short runs in this process, on the changes of `benchmarks.review_changes`. Each run is kept in
benchmarks/out/reviewer/curve.jsonl and not made again.

What `hone tune --task review` gives as it is shipped: `benchmarks.reviewer_shipped`.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from benchmarks import corpora, machine
from benchmarks.review_changes import HELD_OUT, Run, cases_of, mixed, pairs, validation
from benchmarks.review_forms import FORMULATIONS, Model, Ranked, Tools, verdict_choices

BASE = "smollm2-135m"
OUT = corpora.HERE / "out" / "reviewer"


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
    from assistant.review_calibration import RAW
    from evals.tasks import review_lines, review_metrics, review_scores
    from tuning import reviewer
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
    read = [
        reviewer.Scored(one.hunk, tuple(scores), reviewer.first_wrong(one.hunk, one.wrong))
        for one in validation(run)
        if (scores := form.score(one.hunk, tools, model)) is not None
    ]
    kept = reviewer.calibrate(read, run.form)
    print(f"calibrated on {len(read)} changes" + (f": {kept.describe()}" if kept else ""), flush=True)
    calibrated = kept.calibration if kept else RAW
    threshold = kept.threshold if kept else review_lines.EVEN

    def asked(cases: Sequence[Any]) -> tuple[list[Any], dict[str, list[Any]]]:
        scored = [
            review_scores.Scored(case, calibrated.probabilities(case.hunk, scores))
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
