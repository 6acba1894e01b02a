"""The proof that needs no judge: with the suggested fixes made, the tests that failed pass."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

from assistant.review_prompt import Finding, findings_answer, read_findings
from evals.errors import HarnessError
from evals.sandbox.calibrate import fitting, generous
from evals.sandbox.outcome import DEFAULT_LIMITS, Limits, Outcome, Program
from evals.tasks.review_data import OTHER, Case, Proof

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox

_TOLD = frozenset({"wrong answer", "exception"})
"""Ends of a run that show a bug. One that only shows as time or memory is left out: another machine may not see it."""


def repaired(text: str, findings: Sequence[Finding]) -> str:
    """The file with all suggested fixes made, as if a reader had accepted each.

    Of two that overlap the first is made; one for lines that the file does not have is not.
    """
    lines = text.split("\n")
    taken: list[Finding] = []
    for finding in findings:
        inside = 1 <= finding.line <= finding.last <= len(lines)
        if finding.fix and inside and all(finding.last < one.line or one.last < finding.line for one in taken):
            taken.append(finding)
    for finding in sorted(taken, key=lambda one: -one.line):
        lines[finding.line - 1 : finding.last] = finding.fix
    return "\n".join(lines)


def put_right(proof: Proof) -> Finding:
    """One finding whose fix gives the file without its bugs."""
    lines = proof.text.count("\n") + 1
    return Finding(1, lines, OTHER, "put right", tuple(proof.right.split("\n")))


def run(proof: Proof, text: str, sandbox: "Sandbox", limits: Limits) -> Outcome:
    """The tests on a file."""
    return sandbox.run(Program(text, proof.entry_point, proof.tests, proof.setup), limits)


def noticed(cases: Iterable[Case], sandbox: "Sandbox", limit: int | None = None) -> list[Case]:
    """The cases whose tests tell: they pass on a clean change, fail on a bug, and pass again once it is put right.

    Args:
        limit: the first so many of them; no more are looked at than that takes.

    Raises:
        HarnessError: a file that is right fails its tests.
    """

    def tells(case: Case) -> bool:
        proof = case.proof
        if proof is None:
            return False
        # As an answer can say it, which has no blanks at line ends.
        right = repaired(proof.text, read_findings(findings_answer([put_right(proof)])) or ())
        outcome = run(proof, right, sandbox, generous(DEFAULT_LIMITS))
        if outcome.error is not None:
            raise HarnessError(
                f"the tests of {case.id} fail on code that is right ({outcome.error}: {outcome.detail}); "
                "no model was asked"
            )
        # On a slow machine an assertion that fails must not be taken for a program without end.
        limits = fitting([outcome], DEFAULT_LIMITS)
        return not case.bugs or run(proof, proof.text, sandbox, limits).error in _TOLD

    found: list[Case] = []
    with ThreadPoolExecutor(sandbox.workers) as pool:
        for some in _batches(cases, 4 * sandbox.workers):
            found += [case for case, kept in zip(some, pool.map(tells, some), strict=True) if kept]
            if limit is not None and len(found) >= limit:
                break
    return found[:limit]


def _batches(cases: Iterable[Case], size: int) -> Iterator[list[Case]]:
    left = iter(cases)
    while some := list(islice(left, size)):
        yield some
