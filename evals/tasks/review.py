"""Code review: a model is shown a change and names the wrong lines with class, reason and fix, or says ok."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from assistant import prompts, review_prompt
from assistant.errors import HoneError
from assistant.review_prompt import Finding
from evals.errors import HarnessError
from evals.report.schema import Calibration, Comparison, Figure
from evals.sandbox.outcome import DEFAULT_LIMITS, Limits
from evals.tasks import review_data, review_labelled, review_metrics, review_proof
from evals.tasks.base import Answer, Ask, Item, Message, Verdict
from evals.tasks.heldout import read_record
from evals.tasks.review_data import Case
from evals.tasks.review_match import match
from tuning.examples.mutate import BUG_CLASSES, OPERATORS

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox

Style = Literal["completion", "chat"]

MAX_TOKENS = 256
"""Room for a few findings; the answers that training shows have one."""
LIMIT = 200
UNSEEN = "unseen"
_END = "\n\n"
"""No answer that was taught has an empty line."""
_BREAKS = Finding(1, 1, BUG_CLASSES[0], "nothing is wrong here", ("(",))
"""A false alarm about any clean change, with a fix that breaks any Python file."""
_FENCED = re.compile(r"```[\w-]*\n(.*?)(?:```|\Z)", re.DOTALL)

_FORM = f"""\
You are shown a change to a file. A line that begins with + was added, one with - removed, the others are context. The \
numbers count the lines of the new file. Say which of the changed lines are wrong.

If none is, answer with the one word ok. Otherwise answer with two lines for each wrong place and nothing else:
LINE CLASS: REASON
= THE LINE AS IT SHOULD BE

LINE is a number, or FIRST-LAST for several lines; then each corrected line has its own line after "= ". \
CLASS is one of {", ".join(BUG_CLASSES)}. Example:
12 off-by-one: the last item is left out
=     for index in range(len(items)):

"""


@dataclass(frozen=True)
class ReviewTask:
    """The task, and with `proof` its stricter form: right is what makes failing tests pass and breaks none."""

    cases: tuple[Case, ...]
    style: Style = "completion"
    """`completion` asks as training did; `chat` tells any instructed model the form in words."""
    proof: bool = False
    samples_per_item: int = 1
    """Several with a temperature give each finding a confidence: the share of the answers that name its line."""
    temperature: float = 0.0
    settings: Mapping[str, Any] | None = None
    """Where the cases come from; for the report."""
    limits: Limits | None = None
    """Of a program, where some are run."""

    @property
    def name(self) -> str:
        return "review-fix" if self.proof else "review"

    @property
    def version(self) -> str:
        return f"{self.name}@1"

    @property
    def needs_sandbox(self) -> bool:
        return self.proof

    @property
    def _deciding(self) -> tuple[str, ...]:
        if self.proof:
            return "bugs fixed, by tests", "clean changes broken, by tests"
        return "line F1", "clean diffs with a false alarm"

    def items(self) -> Sequence[Item]:
        return [review_data.to_item(case) for case in self.cases]

    def ask(self, item: Item, fim: prompts.FimTokens | None) -> Ask:
        prompt = review_prompt.findings_prompt(review_data.from_item(item).hunk)
        if self.style == "chat":
            return Ask(None, (Message("user", _FORM + prompt),), (), MAX_TOKENS)
        return Ask(prompt, (), (_END,), MAX_TOKENS)

    def judge(self, item: Item, answer: Answer, sandbox: "Sandbox | None") -> Verdict:
        case = review_data.from_item(item)
        text = answer_text(answer, self.style)
        findings = review_prompt.read_findings(text)
        if findings is None:
            truncated = answer.finish_reason == "length"
            detail = "the answer ends before its first finding does" if truncated else "the answer is in no known form"
            passes = not case.bugs if self.proof else None
            return Verdict(0.0, "truncated" if truncated else "no code", detail, text, _extra(case, None, passes))
        if self.proof:
            return self._proven(case, findings, sandbox)
        made = match(findings, case.bugs, review_metrics.TOLERANCE)
        parts = 2 * len(made.pairs) + len(made.false_alarms) + len(made.missed)
        value = 2 * len(made.pairs) / parts if parts else 1.0
        detail = f"want {_told(case.bugs)}, got {_told(findings)}"
        return Verdict(value, None if value == 1 else "wrong answer", detail, text, _extra(case, findings, None))

    def _proven(self, case: Case, findings: Sequence[Finding], sandbox: "Sandbox | None") -> Verdict:
        if case.proof is None or sandbox is None:
            raise HarnessError(f"{case.id} has no tests to run" if sandbox else "review-fix needs a sandbox")
        text = review_proof.repaired(case.proof.text, findings)
        outcome = review_proof.run(case.proof, text, sandbox, self.limits or DEFAULT_LIMITS)
        passes = outcome.error is None
        # What the limits are fitted to.
        took = {"cpu_seconds": round(outcome.cpu_seconds, 3), "wall_seconds": round(outcome.wall_seconds, 3)}
        return Verdict(float(passes), outcome.error, outcome.detail, text, _extra(case, findings, passes) | took)

    def references(self) -> Iterable[tuple[Item, str, bool]]:
        for case in self.cases:
            item = review_data.to_item(case)
            if case.bugs:
                bugs = [review_proof.put_right(case.proof)] if self.proof and case.proof else case.bugs
                yield item, review_prompt.findings_answer(bugs), True
                yield item, review_prompt.CLEAN, False
            else:
                yield item, review_prompt.CLEAN, True
                yield item, review_prompt.findings_answer([_BREAKS]), False

    def figures(self, samples: Sequence[review_metrics.Judged], seed: int) -> dict[str, Figure]:
        """By name, the one that decides first.

        Raises:
            ValueError: no samples.
        """
        found = review_metrics.figures([review_metrics.review_of(sample) for sample in samples], seed)
        first = self._deciding[0]
        return {name: found[name] for name in sorted(found, key=lambda name: name != first)}

    def compare(
        self,
        before: Sequence[review_metrics.Judged],
        after: Sequence[review_metrics.Judged],
        names: tuple[str, str],
        seed: int,
    ) -> list[Comparison]:
        """The figures that decide, where both models have them."""
        one, two = ([review_metrics.review_of(sample) for sample in samples] for samples in (before, after))
        found = (review_metrics.compare(one, two, names, seed, figure) for figure in self._deciding)
        return [comparison for comparison in found if comparison is not None]

    def calibration(self, samples: Sequence[review_metrics.Judged]) -> Calibration | None:
        """How far agreement between the answers to one item is from being right; None for one answer an item."""
        reviews = [review_metrics.review_of(sample) for sample in samples]
        if all(review.attempt == 0 for review in reviews):
            return None
        return review_metrics.calibration(review_metrics.agreement(reviews))

    def details(self, samples: Sequence[review_metrics.Judged]) -> dict[str, Any]:
        """Bugs found by class, operator and kind of change; JSON-ready."""
        return review_metrics.by_kind([review_metrics.review_of(sample) for sample in samples])


def of_repository(
    root: Path,
    manifests: Mapping[str, Path],
    limit: int = LIMIT,
    seed: int = 0,
    history: int = 0,
    operators: Sequence[str] | None = None,
    clean_share: float = review_data.CLEAN_SHARE,
) -> ReviewTask:
    """Bugs seeded into the files of a repository that no model was trained on, and clean changes of them.

    Args:
        root: of a git repository.
        manifests: of the adapters under evaluation, by adapter.
        history: changes of small bug fixes of those files that are asked about too.
        operators: those that may seed, all by default; `unseen` alone for those that no model was trained on.

    Raises:
        NotHeldOutError: the models were trained on everything here.
        HoneError: the repository or a manifest cannot be read, an operator is unknown, or nothing can be seeded.
    """
    records = [read_record(name, manifest, root) for name, manifest in manifests.items()]
    trained = frozenset[str]().union(*map(review_data.trained_operators, manifests.values()))
    files = review_data.unseen_files(root, records)
    if operators is not None and tuple(operators) == (UNSEEN,):
        operators = sorted(set(OPERATORS) - trained)
        if not operators:
            raise HoneError("the models were trained on bugs of every operator, so none is unseen; name some")
    cases = review_data.seeded(files, limit, seed, trained, operators, clean_share)
    found = review_data.historical(root, {file.path for file in files}, history, seed, clean_share) if history else []
    cases += found
    settings = {"files": len(files), "operators_trained_on": sorted(trained), "limit": limit, "seed": seed}
    if operators is not None:
        settings["operators"] = sorted(operators)
    if history:
        # Fewer where the history has no more small fixes of these files.
        settings |= {"history": history, "history_found": len(found)}
    return ReviewTask(tuple(cases), settings=settings | _facts(cases))


def of_file(file: Path, limit: int | None = None) -> ReviewTask:
    """Labelled changes, the first `limit` of them.

    Raises:
        HoneError: the file cannot be read, or is not of the form that `review_labelled` describes.
    """
    cases = review_labelled.read(file)
    if limit is not None:
        kept = list(dict.fromkeys(case.diff for case in cases))[:limit]
        cases = [case for case in cases if case.diff in kept]
    return ReviewTask(tuple(cases), settings={"data": file.name, "limit": limit} | _facts(cases))


def of_problems(
    sandbox: "Sandbox",
    problems: Sequence[review_data.Problem] | None = None,
    manifests: Mapping[str, Path] | None = None,
    limit: int = LIMIT,
    seed: int = 0,
) -> ReviewTask:
    """Bugs seeded into functions whose tests notice them, HumanEval's by default; right is what makes the tests pass.

    Raises:
        HarnessError: a solution that is right fails its tests.
        HoneError: a manifest cannot be read, or the tests notice no bug.
    """
    trained = frozenset[str]().union(*map(review_data.trained_operators, (manifests or {}).values()))
    chosen = review_data.humaneval() if problems is None else problems
    cases = review_proof.noticed(review_data.with_tests(chosen, seed, trained), sandbox, limit)
    if not any(case.bugs for case in cases):
        raise HoneError(f"the tests of {len(chosen)} problems notice no seeded bug; give more problems")
    settings = {"problems": len(chosen), "operators_trained_on": sorted(trained), "limit": limit, "seed": seed}
    return ReviewTask(tuple(cases), proof=True, settings=settings | _facts(cases), limits=DEFAULT_LIMITS)


def proven(task: ReviewTask, sandbox: "Sandbox") -> ReviewTask:
    """The part of a task whose tests tell, judged by them.

    Raises:
        HarnessError: a file that is right fails its tests.
        HoneError: no change has tests that tell.
    """
    cases = review_proof.noticed(task.cases, sandbox)
    if not cases:
        raise HoneError(
            "no change of this data has tests that its bug fails; give tests, and fixed or before, which pass them"
        )
    settings = {**(task.settings or {}), **_facts(cases)}
    return replace(task, cases=tuple(cases), proof=True, settings=settings, limits=DEFAULT_LIMITS)


def answer_text(answer: Answer, style: Style) -> str:
    """The answer without what stands around it: what follows an empty line, or in a chat the fence and empty lines.

    An answer that ended by itself is whole, also where its last line end was taken for its end.
    """
    text = answer.text
    if style == "chat":
        fenced = _FENCED.search(text)
        lines = (fenced[1] if fenced else text).strip().split("\n")
        text = "\n".join(line.rstrip() for line in lines if line.strip())
        if text.lower().rstrip(".") == "ok":
            text = "ok"
    else:
        text, cut, _ = text.partition(_END)
        if cut:
            text += "\n"
    if text and not text.endswith("\n") and answer.finish_reason != "length":
        text += "\n"
    return text


def _extra(case: Case, findings: Sequence[Finding] | None, passes: bool | None) -> dict[str, Any]:
    return {
        "path": case.hunk.path,
        "diff": case.diff,
        "clean": not case.bugs,
        "findings": None if findings is None else [{**asdict(one), "fix": list(one.fix)} for one in findings],
        "passes": passes,
    }


def _told(findings: Sequence[Finding]) -> str:
    return ", ".join(f"{one.line} {one.bug_class}" for one in findings) or "ok"


def _facts(cases: Sequence[Case]) -> dict[str, Any]:
    return {
        "hunks": len(cases),
        "diffs": len({case.diff for case in cases}),
        "clean_diffs": len({case.diff for case in cases} - {case.diff for case in cases if case.bugs}),
        "bugs": sum(len(case.bugs) for case in cases),
        "tolerance_lines": review_metrics.TOLERANCE,
    }
