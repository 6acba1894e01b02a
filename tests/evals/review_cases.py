"""Changes with bugs in known places, and answers about them."""

from collections.abc import Sequence

from assistant.review_prompt import Finding, Hunk, HunkLine, findings_answer
from evals.tasks.base import Answer
from evals.tasks.review_data import Case, Proof


def bug(line: int, bug_class: str = "off-by-one", last: int | None = None, fix: Sequence[str] = ()) -> Finding:
    return Finding(line, last or line, bug_class, "it is wrong", tuple(fix))


def hunk(lines: int = 20, path: str = "a.py") -> Hunk:
    """Added lines from 1 on."""
    return Hunk(path, (), (), tuple(HunkLine("+", number, f"x = {number}") for number in range(1, lines + 1)))


def case(name: str, *bugs: Finding, **fields: object) -> Case:
    values = {"group": name, "diff": name, "hunk": hunk(), "kind": "edit"} | fields
    return Case(id=name, bugs=bugs, **values)  # type: ignore[arg-type]


def answer(text: str | Sequence[Finding], finish_reason: str = "stop") -> Answer:
    said = text if isinstance(text, str) else findings_answer(text)
    return Answer(said, finish_reason, 10, 5, 0.1, 0.01)


WRONG_SUM = (
    "def total(numbers):\n    result = 0\n    for number in numbers:\n        result -= number\n    return result\n"
)
RIGHT_SUM = WRONG_SUM.replace("-=", "+=")
SUM_TESTS = "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n"


def sum_case(wrong: bool = True) -> Case:
    text = WRONG_SUM if wrong else RIGHT_SUM
    shown = tuple(HunkLine("+", number, line) for number, line in enumerate(text.split("\n")[:-1], 1))
    bugs = (bug(4, "wrong-operator", fix=["        result += number"]),) if wrong else ()
    return case(
        "sum" if wrong else "clean sum",
        *bugs,
        hunk=Hunk("total.py", (), (), shown),
        proof=Proof(text, RIGHT_SUM, SUM_TESTS, "total"),
    )
