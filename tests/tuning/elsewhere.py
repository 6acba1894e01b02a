"""A stand-in for processes of other machines, and what they left."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Elsewhere:
    """Work and results go pickled, as over a network; what was asked last is done first."""

    def __init__(self) -> None:
        self.works: list[str] = []
        self.done: list[int] = []
        """What was asked for, by number, in the order in which it was done."""
        self.most = 0
        """Answers that were waited for at a time."""
        self._asked: dict[int, bytes] = {}
        self._answers: dict[int, bytes] = {}

    def submit(self, work: Callable[..., Any], /, *arguments: Any) -> "_Answer":
        number = len(self.works)
        self.works.append(getattr(work, "__name__", type(work).__name__))
        self._asked[number] = pickle.dumps((work, arguments))
        self.most = max(self.most, len(self._asked) + len(self._answers))
        return _Answer(self, number)

    def result(self, number: int) -> Any:
        while number not in self._answers:
            newest, asked = self._asked.popitem()
            work, arguments = pickle.loads(asked)
            self._answers[newest] = pickle.dumps(work(*arguments))
            self.done.append(newest)
        return pickle.loads(self._answers.pop(number))


class _Answer:
    def __init__(self, of: Elsewhere, number: int) -> None:
        self._of, self._number = of, number

    def result(self) -> Any:
        return self._of.result(self._number)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
