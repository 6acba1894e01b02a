"""The proof that needs no judge: with the suggested fixes made, the tests that failed pass."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from assistant.review_prompt import Finding, findings_answer, read_findings
from evals.errors import HarnessError
from evals.tasks.review_data import OTHER, Case, Proof

if TYPE_CHECKING:
    from evals.sandbox.outcome import Outcome
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


def run(proof: Proof, text: str, sandbox: "Sandbox") -> "Outcome":
    """The tests on a file."""
    from evals.sandbox.outcome import Program

    return sandbox.run(Program(text, proof.entry_point, proof.tests, proof.setup))


def noticed(cases: Iterable[Case], sandbox: "Sandbox") -> list[Case]:
    """The cases whose tests tell: they pass on a clean change, fail on a bug, and pass again once it is put right.

    Raises:
        HarnessError: a file that is right fails its tests.
    """

    def tells(case: Case) -> bool:
        proof = case.proof
        if proof is None:
            return False
        # As an answer can say it, which has no blanks at line ends.
        right = repaired(proof.text, read_findings(findings_answer([put_right(proof)])) or ())
        if case.bugs and run(proof, proof.text, sandbox).error not in _TOLD:
            return False
        outcome = run(proof, right, sandbox)
        if outcome.error is not None:
            raise HarnessError(
                f"the tests of {case.id} fail on code that is right ({outcome.error}: {outcome.detail}); "
                "no model was asked"
            )
        return True

    listed = list(cases)
    with ThreadPoolExecutor(sandbox.workers) as pool:
        return [case for case, kept in zip(listed, pool.map(tells, listed), strict=True) if kept]
