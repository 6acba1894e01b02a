"""One answer with its verdict, and its lines in `samples.jsonl`: the answer as it comes, then the sample."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from assistant.gateway.conversation import Conversation
from evals import samples
from evals.server import TOP_P
from evals.subjects import Subject
from evals.tasks.base import Answer, Ask, Item, Verdict

_ANSWER = ("finish_reason", "prompt_tokens", "completion_tokens", "seconds", "first_token_seconds")
"""What a line holds of an answer besides its text."""


@dataclass(frozen=True)
class Sampled:
    """One answer of a model to one item, and its verdict."""

    item: Item
    attempt: int
    """From 0."""
    ask: Ask
    answer: Answer
    verdict: Verdict
    key: str


@dataclass(frozen=True)
class Job:
    """A sample to be had."""

    item: Item
    attempt: int
    ask: Ask
    temperature: float
    seed: int
    key: str


def job(task: str, subject: Subject, item: Item, attempt: int, ask: Ask, temperature: float, seed: int) -> Job:
    """
    Args:
        task: its version.
        seed: of the whole run.
    """
    own = request_seed(seed, item.id, attempt)
    key = samples.key(
        task=task,
        item=item.id,
        # A custom task's tests may change without its version.
        data=_sha256(json.dumps(item.data, sort_keys=True)),
        attempt=attempt,
        model=subject.digest,
        prompt=prompt_hash(ask),
        stop=list(ask.stop),
        max_tokens=ask.max_tokens,
        parse_special=ask.parse_special,
        temperature=temperature,
        seed=own,
        engine=subject.engine,
        # Left out of a server's, whose samples of before then still count.
        **({} if subject.form is None else {"served": subject.form}),
    )
    return Job(item, attempt, ask, temperature, own, key)


def request_seed(seed: int, item: str, attempt: int) -> int:
    """The seed that goes to the server, 31 bits: of the item and the attempt, not of the order they are asked in."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{item}:{attempt}".encode()).digest()[:4], "big") >> 1


def prompt_hash(ask: Ask) -> str:
    """sha256 (hex) of what the model is shown."""
    if ask.prompt is not None:
        return _sha256(ask.prompt)
    return _sha256(json.dumps([asdict(message) for message in ask.messages]))


def answer_row(job: Job, answer: Answer, task: str, subject: Subject) -> dict[str, Any]:
    """The line of an answer that has no verdict yet, JSON-ready.

    Args:
        task: its version.
    """
    ask = job.ask
    shown: dict[str, Any] = {"prompt": ask.prompt}
    if ask.prompt is None:
        # `rendered` is None where a server rendered them that is not ours.
        rendered = None if answer.rendered is None else asdict(answer.rendered)
        shown = {"messages": [asdict(message) for message in ask.messages], "rendered": rendered}
    decoding: dict[str, Any] = {"temperature": job.temperature, "seed": job.seed}
    if job.temperature > 0:
        decoding["top_p"] = TOP_P
    if answer.refused:
        decoding["refused"] = list(answer.refused)
    return {
        "key": job.key,
        "task": task,
        "item": job.item.id,
        "group": job.item.group,
        "attempt": job.attempt,
        "model": subject.digest,
        "name": subject.name,
        "ask": shown
        | {"stop": list(ask.stop), "max_tokens": ask.max_tokens, "parse_special": ask.parse_special}
        | decoding,
        "prompt_sha256": prompt_hash(ask),
        "text": answer.text,
        "text_sha256": _sha256(answer.text),
        "retries": answer.retries,
        **{name: getattr(answer, name) for name in _ANSWER},
    }


def to_row(sampled: Sampled, job: Job, task: str, subject: Subject, rung: str | None) -> dict[str, Any]:
    """The line of a sample, JSON-ready: that of its answer, and the verdict.

    Args:
        task: its version.
        rung: of the sandbox that its verdict rests on, None when nothing was run.
    """
    verdict = sampled.verdict
    return answer_row(job, sampled.answer, task, subject) | {
        "extracted": verdict.extracted,
        "verdict": {
            "value": verdict.value,
            "error": verdict.error,
            "detail": verdict.detail,
            "extra": dict(verdict.extra),
        },
        "sandbox": rung,
    }


def is_judged(row: Mapping[str, Any], rung: str | None) -> bool:
    """Whether a line has a verdict that rests on this rung of the sandbox. One of another rung does not count, what
    the model wrote does."""
    return "verdict" in row and row["sandbox"] == rung


def answer_of(row: Mapping[str, Any]) -> Answer:
    rendered = row["ask"].get("rendered")
    conversation = None if rendered is None else Conversation(rendered["prompt"], _spans(rendered["verbatim"]))
    # What earlier versions did not keep.
    refused, retries = tuple(row["ask"].get("refused", ())), row.get("retries", 0)
    told = {name: row[name] for name in _ANSWER}
    return Answer(text=row["text"], rendered=conversation, refused=refused, retries=retries, **told)


def recall(job: Job, row: Mapping[str, Any]) -> Sampled:
    """The sample that a line keeps."""
    verdict = Verdict(extracted=row["extracted"], **row["verdict"])
    return Sampled(job.item, job.attempt, job.ask, answer_of(row), verdict, job.key)


def _spans(found: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((start, end) for start, end in found)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
