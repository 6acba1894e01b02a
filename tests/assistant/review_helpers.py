"""Changes and models for the tests of the review."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from assistant.review_calibration import RAW
from assistant.skills.review.changes import FileChange
from assistant.skills.review.findings import Category, Evidence, Severity
from assistant.skills.review.model import Model
from assistant.skills.review.observations import Observation
from assistant.skills.review.verdicts import Reviewer


def change(text: str, path: str = "x.py", added: Sequence[int] | None = None) -> FileChange:
    """A file of which some lines are new; all by default."""
    count = len(text.removesuffix("\n").split("\n")) if text else 0
    return FileChange(path, text.encode(), frozenset(range(1, count + 1) if added is None else added), {})


def claim(
    line: int = 1,
    source: str = "ruff",
    rule: str = "F821",
    *,
    last: int | None = None,
    severity: Severity = "error",
    category: Category = "correctness",
    confidence: float = 0.9,
    columns: tuple[int, int] | None = None,
    path: str = "x.py",
    message: str = "wrong",
) -> Observation:
    details = {"column": columns[0], "last_column": columns[1]} if columns else {}
    evidence = Evidence(source, rule, message, confidence, None, details)
    return Observation(path, line, last or line, severity, category, evidence)


@dataclass
class Delta:
    text: str = ""
    finish_reason: str | None = None
    details: dict[str, Any] | None = None


@dataclass
class FakeClient:
    """Reads probabilities from what stands in a line, and writes the answers it was given."""

    wrong: Callable[[str], float] = lambda line: 0.01
    answers: Sequence[str | Mapping[str, Any]] = ()
    chats: bool = True
    context_length: int = 4096
    tokens: Callable[[str], int] = lambda text: len(text) // 4
    asked: list[list[str]] = field(default_factory=list)
    written: list[dict[str, Any]] = field(default_factory=list)
    rewrites: Sequence[Delta] = (Delta("", "stop"),)
    """What the reviewer writes in place of any line."""
    rewritten: list[str] = field(default_factory=list)

    def models(self) -> list[dict[str, Any]]:
        return [
            {
                "id": "judge",
                "name": "judge@0123456789ab",
                "base": "base",
                "chat": self.chats,
                "context_length": self.context_length,
            }
        ]

    def tokenize(self, texts: Sequence[str], model: str | None = None) -> list[list[int]]:
        return [[0] * self.tokens(text) for text in texts]

    def likelihoods(self, texts: Sequence[str], answers: Sequence[str], model: str | None = None) -> list[list[float]]:
        """Each line in two tokens of the same probability, so that with what is known before the probability of
        another line is the one of `wrong`."""
        assert model == "judge@0123456789ab"
        self.asked.append([text + answer for text, answer in zip(texts, answers, strict=True)])
        wrong = [self.wrong(answer.strip()) for answer in answers]
        return [[-math.log1p(one / (1 - one) * len(answers)) / 2] * 2 for one in wrong]

    def _answer(self, prompt: str, **asked: Any) -> Iterator[Delta]:
        answer = self.answers[len(self.written) % len(self.answers)]
        self.written.append({"prompt": prompt, **asked})
        yield Delta(answer if isinstance(answer, str) else json.dumps(answer))

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        model: str | None = None,
        max_tokens: int = 1024,
        temperature: float = 0.2,
        seed: int | None = None,
        stop: Sequence[str] = (),
        json_schema: Mapping[str, Any] | None = None,
    ) -> Iterator[Delta]:
        prompt = messages[0]["content"]
        return self._answer(prompt, model=model, temperature=temperature, seed=seed, schema=json_schema, chat=True)

    def complete(
        self,
        prompt: str | Sequence[int],
        model: str | None = None,
        max_tokens: int = 64,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        parse_special: bool = False,
        json_schema: Mapping[str, Any] | None = None,
    ) -> Iterator[Delta]:
        if json_schema is None:
            assert (model, list(stop), temperature) == ("judge@0123456789ab", ["\n"], 0.0)
            self.rewritten.append(str(prompt))
            return (delta for delta in self.rewrites)
        asked = {"model": model, "temperature": temperature, "seed": seed, "schema": json_schema, "chat": False}
        return self._answer(str(prompt), **asked)


def model_of(client: FakeClient, threshold: float = 0.5) -> Model:
    """A reviewer whose probabilities need no calibration."""

    @contextmanager
    def connect() -> Iterator[FakeClient]:
        yield client

    reviewer = Reviewer(threshold=threshold, precision=0.8, calibration=RAW)
    return Model("judge@0123456789ab", reviewer, connect)
