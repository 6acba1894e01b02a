"""What is wrong with a line, in words, and what should stand there: written by a model whose answer must be JSON of a
schema."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from assistant import review_prompt
from assistant.review_prompt import Hunk
from assistant.review_rewriting import rewriting
from assistant.skills.review.observations import Suggestion, TextEdit

if TYPE_CHECKING:
    from assistant.client import Delta

CLASSES = (
    "wrong-condition",
    "off-by-one",
    "wrong-operator",
    "wrong-variable",
    "wrong-value",
    "wrong-call",
    "missing-check",
    "missing-code",
    "resource-leak",
    "concurrency",
    "security",
    "other",
)
MAX_TOKENS = 256
_TEMPERATURE = 0.7
"""Of several samples; a single one is greedy."""
_MAX_REASON, _MAX_LINE, _MAX_LINES = 200, 160, 6

_ANSWER: dict[str, Any] = {
    "reason": {"type": "string", "maxLength": _MAX_REASON},
    "class": {"type": "string", "enum": list(CLASSES)},
    "fix": {"type": "array", "items": {"type": "string", "maxLength": _MAX_LINE}, "maxItems": _MAX_LINES},
}
_VOTE = {"verdict": {"type": "string", "enum": ["wrong", "fine"]}}


class Writer(Protocol):
    """What generates; `assistant.client.Client` does, through the gateway."""

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        model: str | None = None,
        max_tokens: int = 1024,
        temperature: float = 0.2,
        seed: int | None = None,
        *,
        json_schema: Mapping[str, Any] | None = None,
    ) -> "Iterator[Delta]": ...

    def complete(
        self,
        prompt: str | Sequence[int],
        model: str | None = None,
        max_tokens: int = 64,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        *,
        seed: int | None = None,
        json_schema: Mapping[str, Any] | None = None,
    ) -> "Iterator[Delta]": ...


@dataclass(frozen=True)
class Author:
    """Who explains."""

    model: str
    """For the gateway. A reviewer has learnt to write lines again and nothing else, so it is its base that explains."""
    chats: bool


@dataclass(frozen=True)
class Explanation:
    """What the samples agree on."""

    bug_class: str
    reason: str
    """Empty where the answer only repeats what was asked, as small models do."""
    lines: tuple[str, ...]
    """To stand in place of the line; empty where no fix is suggested."""
    wrong: int
    """Samples that find the line wrong."""
    samples: int
    """That could be read."""


def explain(writer: Writer, author: Author, hunk: Hunk, index: int, samples: int) -> Explanation | None:
    """None when no answer could be read.

    One sample is not asked whether the line is wrong, since the reviewer has said so. Several are, and the caller
    decides by the count: class, reason and fix are those of the most frequent class among the samples that find it
    wrong, of equal ones the first.

    Args:
        index: of the line in `hunk.lines`.

    Raises:
        HoneError: the gateway fails, or its engine cannot enforce a schema.
    """
    voting = samples > 1
    schema = {
        "type": "object",
        "properties": {**(_VOTE if voting else {}), **_ANSWER},
        "required": [*(_VOTE if voting else ()), *_ANSWER],
        "additionalProperties": False,
    }
    question = _question(hunk, index, voting)
    read: list[dict[str, Any]] = []
    for number in range(samples):
        text = _ask(writer, author, question, schema, _TEMPERATURE if voting else 0.0, number + 1)
        answer = _read(text, voting)
        if answer is not None:
            read.append(answer)
    if not read:
        return None
    wrong = [answer for answer in read if answer.get("verdict", "wrong") == "wrong"]
    if not wrong:
        return Explanation(read[0]["class"], _own(read[0]["reason"], question), (), 0, len(read))
    (winner, _), *_ = Counter(answer["class"] for answer in wrong).most_common()
    chosen = next(answer for answer in wrong if answer["class"] == winner)
    return Explanation(winner, _own(chosen["reason"], question), tuple(chosen["fix"]), len(wrong), len(read))


def rewritten(writer: Writer, reviewer: str, hunk: Hunk, index: int) -> Suggestion | None:
    """The line that a reviewer would write in place of an added one, as it was taught to; None where it is the one that
    stands there, or does not end.

    Args:
        reviewer: its name, for the gateway.
        index: of the line in `hunk.lines`.

    Raises:
        HoneError: the gateway fails.
    """
    made = rewriting(hunk)
    if hunk.lines[index].marker != "+" or index not in made.asked:
        return None
    start, _ = made.spans[made.asked.index(index)]
    with closing(writer.complete(made.text[:start], reviewer, _MAX_LINE, 0.0, ["\n"])) as stream:  # type: ignore[type-var]
        deltas = list(stream)
    line = "".join(delta.text for delta in deltas).removeprefix(" ").rstrip()
    ended = bool(deltas) and deltas[-1].finish_reason == "stop"
    if not ended or not line.strip() or line == hunk.lines[index].text.rstrip():
        return None
    return _in_place(hunk, index, line, "as the reviewer would write it")


def suggestion(hunk: Hunk, index: int, explanation: Explanation) -> Suggestion | None:
    """The fix as a change of the whole line; None where there is none, or the line was removed."""
    line = hunk.lines[index]
    lines = explanation.lines
    if not lines or line.marker != "+" or not any(text.strip() for text in lines):
        return None
    indent = line.text[: len(line.text) - len(line.text.lstrip())]
    if not lines[0].startswith((" ", "\t")):
        # Models write a line from its first character.
        lines = tuple(indent + text if text.strip() else "" for text in lines)
    text = "\n".join(text.rstrip() for text in lines)
    return _in_place(hunk, index, text, explanation.reason or "as the model suggests")


def _in_place(hunk: Hunk, index: int, text: str, description: str) -> Suggestion:
    line = hunk.lines[index]
    return Suggestion(description, (TextEdit(line.number, 1, line.number, len(line.text) + 1, text),))


def _question(hunk: Hunk, index: int, voting: bool) -> str:
    line = hunk.lines[index]
    what = "The removal of the line" if line.marker == "-" else f"Line {line.number} of this change,"
    claim = (
        "Say whether it is wrong or fine, and if it is wrong, why" if voting else "Say in one sentence what is wrong"
    )
    return (
        f"{review_prompt.hunk_text(hunk)}\n"
        f"{what} `{line.text.strip()}` is probably a mistake. {claim}, what class of mistake it is, and the lines of "
        "code that should stand in its place. Answer as JSON.\n"
    )


def _own(reason: str, question: str) -> str:
    return "" if reason.strip(" .,:;").lower() in " ".join(question.split()).lower() else reason


def _ask(
    writer: Writer, author: Author, question: str, schema: Mapping[str, Any], temperature: float, seed: int
) -> str:
    if author.chats:
        message = {"role": "user", "content": question}
        stream = writer.chat([message], author.model, MAX_TOKENS, temperature, seed, json_schema=schema)
    else:
        stream = writer.complete(question, author.model, MAX_TOKENS, temperature, seed=seed, json_schema=schema)
    with closing(stream):  # type: ignore[type-var]
        return "".join(delta.text for delta in stream)


def _read(text: str, voting: bool) -> dict[str, Any] | None:
    """The answer; None where it was cut off. The schema holds for what an engine wrote, and is checked all the same:
    an engine is another program."""
    try:
        answer = json.loads(text)
        kept = {
            "reason": " ".join(str(answer["reason"]).split())[:_MAX_REASON],
            "class": answer["class"],
            "fix": [str(line) for line in answer["fix"]],
        }
        if voting:
            kept["verdict"] = answer["verdict"]
    except (ValueError, KeyError, TypeError):
        return None
    whole = kept["class"] in CLASSES and len(kept["fix"]) <= _MAX_LINES
    fits = not any("\n" in line or "\r" in line or len(line) > _MAX_LINE for line in kept["fix"])
    return kept if whole and fits and kept.get("verdict", "wrong") in ("wrong", "fine") else None
