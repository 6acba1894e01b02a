"""What `hone tune --task review` gives as it is shipped: tuned on the installed packages, asked about repositories that
are none of them with the held-out operators of `benchmarks.review_changes`, clean and wrong half and half.

`python -m benchmarks.reviewer_shipped [--minutes 45] [--limit 400]`
`python -m benchmarks.reviewer_shipped --recalibrate [--minutes 45] [--limit 400]`

Runs `hone tune` and `hone eval review-lines` as a user would, with an adapter of that name where there is one. With
`--recalibrate` the adapter is asked in this process, with the threshold that `hone tune` of today would store with it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import corpora, machine
from benchmarks.review_changes import HELD_OUT, REPOSITORIES, cases_of, files_of, installed
from benchmarks.reviewer import BASE, COLUMNS, OUT
from tuning.examples.mutate import OPERATORS

SHOWN = [name for name in OPERATORS if name not in HELD_OUT]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--recalibrate", action="store_true")
    arguments = parser.parse_args()
    print(machine.describe(), flush=True)
    name = f"reviewer-{arguments.minutes:g}m"
    if arguments.recalibrate:
        recalibrate(name, arguments.limit)
    else:
        measure(name, arguments.minutes, arguments.limit)
    print(machine.describe())


def measure(name: str, minutes: float, limit: int) -> None:
    """Tunes where there is no such adapter, and asks each repository, limit changes of each kind."""
    listed = _hone("models", "list", "--json")
    if not any(one["name"] == name for one in listed["adapters"]):
        _hone(
            *("tune", "installed:all", "--name", name, "--base", BASE, "--task", "review", "--restart", "--json"),
            # All of the corpus is the general set here.
            *("--minutes", f"{minutes:g}", "--replay", "0"),
            *("--set", f"examples.held_out_operators={json.dumps(HELD_OUT)}"),
        )
    for repository in REPOSITORIES:
        for operators in ("unseen", ",".join(sorted(SHOWN))):
            kept = OUT / f"{name}-{repository}-{'unseen' if operators == 'unseen' else 'seen'}"
            report = _hone(
                *("eval", "review-lines", "--repo", str(corpora.prepare(repository)), "--limit", str(limit)),
                # What the base says is wanted once.
                *(("--model", BASE) if operators == "unseen" else ()),
                *("--model", name, "--operators", operators, "--out", str(kept), "--json"),
            )
            print(f"\n{repository}, operators {kept.name.rpartition('-')[2]}")
            for model in report["tasks"][0]["models"]:
                print(f"  {model['facts']['name']}")
                for figure, value in model["figures"].items():
                    interval = "" if value["low"] is None else f" [{value['low']:.3f}, {value['high']:.3f}]"
                    print(f"    {figure}: {value['value']:.3f}{interval}")


def recalibrate(name: str, limit: int) -> None:
    """Sets the threshold on validation changes of the adapter's own run, and asks about all repositories together."""
    from assistant.engines.torch import TorchScorer
    from assistant.models import store
    from assistant.models.registry import Registry
    from evals.tasks import review_lines, review_metrics, review_scores
    from tuning import reviewer
    from tuning.model.load import load_tokenizer

    version = Registry().find(name)
    if version is None:
        sys.exit(f"there is no {name}; run `python -m benchmarks.reviewer_shipped` first")
    manifest = json.loads((version.folder / "manifest.json").read_text("utf-8"))
    folder = store.tuning_form(store.fetch(BASE))
    tokenizer, scorer = load_tokenizer(folder), TorchScorer(folder, version.folder)
    end_token, most = tokenizer.eos_token_id, review_scores.MAX_TOKENS
    seed = manifest["configuration"]["seed"]
    changes = reviewer.validation_changes(_Validation(manifest), SHOWN, seed)  # type: ignore[arg-type]
    scored = reviewer.score(changes, scorer.score_spans, tokenizer, end_token, most)
    kept = reviewer.calibrate(scored)
    if kept is None:
        sys.exit(f"{name} tells wrong lines no better than chance")
    print(f"{version.id}: {kept.describe()}", flush=True)
    for kinds, operators, wanted in (("held out", HELD_OUT, limit), ("shown", SHOWN, limit // 2)):
        cases = cases_of(wanted, 0, operators)
        read = [review_scores.score(one, scorer, tokenizer, end_token, most, kept.calibration) for one in cases]
        asked = [one for one in read if one is not None]
        figures, calibration = review_scores.figures(asked, 0)
        called = [review_lines.called(one, kept.threshold) for one in asked]
        figures |= review_metrics.figures(called, 0)
        print(f"\n{len(asked)} changes of {', '.join(REPOSITORIES)}, operators {kinds}")
        for label in COLUMNS.values():
            figure = figures[label]
            interval = "" if figure.low is None else f" [{figure.low:.3f}, {figure.high:.3f}]"
            print(f"  {label}: {figure.value:.3f}{interval}", flush=True)
        if calibration is not None:
            held = ", ".join(f"{one.stated:.2f}: {one.observed:.2f} of {one.count}" for one in calibration.bins)
            print(f"  calibration error of lines {calibration.expected_error:.3f}; stated: observed: {held}")
        best = review_lines.best_f1(asked)
        print(f"  best F1 of all thresholds, chosen here: {best['line_f1']:.3f} from {best['threshold']:.3f}")
        for threshold in (kept.threshold * share for share in (0.9, 0.75, 0.5, 0.25)):
            at = review_metrics.figures([review_lines.called(one, threshold) for one in asked], 0)
            parts = (
                f"{name} {at[name].value:.3f}" for name in ("line F1", "line recall", "false alarms per clean diff")
            )
            print(f"  from {threshold:.3f}: {', '.join(parts)}", flush=True)
        analyzed = _analyzed([one.case for one in asked])
        for who, reviews in (
            ("model alone", called),
            ("ruff alone", [replace(one, findings=also) for one, also in zip(called, analyzed, strict=True)]),
            ("with ruff", [_both(one, also) for one, also in zip(called, analyzed, strict=True)]),
        ):
            told = review_metrics.figures(reviews, 0)
            parts = (f"{name} {told[name].value:.3f}" for name in ("line precision", "line recall", "line F1"))
            print(f"  {who}: {', '.join(parts)}", flush=True)


def _analyzed(cases: Sequence[Any]) -> list[tuple[Any, ...]]:
    """What the built-in analyzer finds on the changed lines of each case."""
    from assistant.review_prompt import Finding
    from assistant.skills.review import ruff
    from assistant.skills.review.changes import FileChange
    from evals.tasks import review_data

    right = {f"{name}/{one.path}": one.text for name in REPOSITORIES for one in files_of(name)}
    found: list[dict[int, Any]] = [{} for _ in cases]
    with tempfile.TemporaryDirectory() as folder:
        changes = []
        for number, case in enumerate(cases):
            text = review_data.under_review(right[case.group], case.hunk, case.bugs)
            if text is None:
                continue
            change = FileChange(
                f"{number}/{Path(case.group).name}",
                text.encode(),
                frozenset(line.number for line in case.hunk.lines if line.marker == "+"),
                {},
            )
            place = Path(folder, change.path)
            place.parent.mkdir()
            place.write_bytes(change.data)
            changes.append(change)
        for one in ruff.observe(changes, Path(folder).resolve(), lambda: False):
            number = int(one.path.split("/")[0])
            found[number][one.first] = Finding(one.first, one.last, one.category, one.evidence.message)
    return [tuple(lines.values()) for lines in found]


def _both(called: Any, also: Sequence[Any]) -> Any:
    """One finding a line, as `hone review` merges what several sources say of it."""
    named = {one.line for one in called.findings}
    return replace(called, findings=(*called.findings, *(one for one in also if one.line not in named)))


class _Validation:
    """The files that a run on the installed packages held out."""

    def __init__(self, manifest: Any) -> None:
        held = {one["sha256"] for one in manifest["corpus"]["files"] if one["split"] == "validation"}
        self._held = [one for one in installed() if one.sha256 in held]
        if len(self._held) < len(held):
            print(f"{len(held) - len(self._held)} of {len(held)} validation files have changed since", file=sys.stderr)

    def documents(self, _: str) -> list[Any]:
        return self._held


def _hone(*arguments: str) -> Any:
    """Runs `hone`, its progress on this terminal, and reads its answer."""
    print("$ hone " + " ".join(arguments), file=sys.stderr, flush=True)
    command = [str(Path(sys.executable).with_name("hone")), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, env=os.environ)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
