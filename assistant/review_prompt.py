"""The review prompts: one builder for training, evaluation and the review skill.

A hunk is shown with line numbers, under the path, the imports that it uses and the function that it is in. The model is
asked in one of two forms: here the answer is written (`ok`, or one finding after another: line, class, reason, fixed
lines); `assistant.review_rewriting` reads the probability that a line is wrong, and writes nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from assistant import prompts

Marker = Literal["+", "-", " "]

_FINDINGS_QUESTION = "Review the changed lines. Answer ok, or each wrong line with its class, the reason and the fix.\n"
CLEAN = "ok\n"


@dataclass(frozen=True)
class HunkLine:
    marker: Marker
    """`+` added, `-` removed, a space for context."""
    number: int
    """Of the line in the new file, from 1; of a removed line, the number of the new line that follows it."""
    text: str
    """Without its line end."""


@dataclass(frozen=True)
class Hunk:
    """What one question is about."""

    path: str
    imports: tuple[str, ...]
    """Import lines of the new file that the hunk uses, as written."""
    enclosing: tuple[str, ...]
    """The head lines of what the hunk stands in and does not show: class, function."""
    lines: tuple[HunkLine, ...]
    cut: int = 0
    """Lines left out at the end to keep within a budget."""

    @property
    def changed(self) -> tuple[int, ...]:
        """Indices in `lines` of the added and removed lines that are not blank."""
        return tuple(index for index, line in enumerate(self.lines) if line.marker != " " and line.text.strip())


@dataclass(frozen=True)
class Finding:
    line: int
    last: int
    """The wrong lines of the new file, from 1, both inclusive; where a removal is wrong, the line that follows it."""
    bug_class: str
    """A short stable name, words joined by `-`."""
    reason: str
    """One line."""
    fix: tuple[str, ...] = ()
    """What should stand in place of `line` to `last`, with its indentation; empty where no fix is known."""


def hunk_text(hunk: Hunk) -> str:
    """Header, context and the numbered lines; ends with a newline."""
    width = len(str(max((line.number for line in hunk.lines), default=0)))
    pieces = [prompts.header(hunk.path)]
    pieces += [line + "\n" for line in hunk.imports]
    pieces += [line + "\n" for line in hunk.enclosing]
    pieces.append("@@\n")
    pieces += [f"{_numbered(line, width)}\n" for line in hunk.lines]
    if hunk.cut:
        pieces.append(f"({hunk.cut} more {'line' if hunk.cut == 1 else 'lines'} not shown)\n")
    pieces.append("@@\n")
    return "".join(pieces)


def _numbered(line: HunkLine, width: int) -> str:
    number = "" if line.marker == "-" else str(line.number)
    return f"{line.marker}{number:>{width}} {line.text}".rstrip()


def findings_prompt(hunk: Hunk) -> str:
    """The answer follows directly; see `findings_answer`."""
    return hunk_text(hunk) + _FINDINGS_QUESTION


def findings_answer(findings: Sequence[Finding]) -> str:
    """`ok`, or the findings in line order; ends with a newline."""
    if not findings:
        return CLEAN
    pieces = []
    for finding in sorted(findings, key=lambda finding: finding.line):
        where = f"{finding.line}" if finding.last == finding.line else f"{finding.line}-{finding.last}"
        pieces.append(f"{where} {finding.bug_class}: {' '.join(finding.reason.split())}\n")
        pieces += [f"= {line}".rstrip() + "\n" for line in finding.fix]
    return "".join(pieces)


_HEAD = re.compile(r"(\d{1,9})(?:-(\d{1,9}))? ([a-z][a-z0-9-]*): (.*\S)\s*")


def read_findings(answer: str) -> list[Finding] | None:
    """The findings that an answer names, empty for `ok`; None when it is in no form that was taught.

    An unfinished last line is left out, so that a truncated answer still gives its whole findings.
    """
    complete = answer if answer.endswith("\n") else answer[: answer.rfind("\n") + 1]
    lines = complete.split("\n")[:-1]
    if (lines or [answer.strip()]) == ["ok"]:
        return []
    found: list[Finding] = []
    for line in lines:
        head = _HEAD.fullmatch(line)
        if head:
            found.append(Finding(int(head[1]), int(head[2] or head[1]), head[3], head[4]))
        elif line == "=" or line.startswith("= "):
            if not found:
                return None
            found[-1] = replace(found[-1], fix=(*found[-1].fix, line[2:]))
        else:
            return None
    return found or None
