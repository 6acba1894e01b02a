"""The chat skill: what is sent to the model for a conversation, and the answer as it streams back."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.conversations import Message
from assistant.errors import HoneError, UnknownModel
from assistant.skills import loops, material, window
from assistant.skills.instructions import Instructions
from assistant.skills.material import Material

if TYPE_CHECKING:
    from assistant.client import Cancellation, Client, Delta

REPETITION = "repetition"
"""The finish reason of an answer that ran into a loop."""
_TEMPLATE_TOKENS = 8
"""What a chat template adds to each message (role, turn marks, newlines); none of the usual ones adds more."""
_LEAST_ANSWER = 32
_INSTRUCTIONS_SHARE = 8
"""An instruction file gets at most this part of the context."""
_MOST_CHARACTERS_PER_TOKEN = 16
"""More than any tokenizer packs on average over a message: what is longer cannot fit."""


@dataclass(frozen=True)
class Options:
    model: str | None = None
    max_tokens: int = 1024
    temperature: float = 0.2
    seed: int | None = None
    logprobs: int | None = None
    """How many of the likeliest tokens come with each token of the answer; None asks for no probabilities."""

    def checked(self) -> "Options":
        """Itself.

        Raises:
            HoneError: a value outside of its range, named with the range.
        """
        if self.max_tokens < 1:
            raise HoneError(f"--max-tokens must be at least 1, not {self.max_tokens}")
        if not 0 <= self.temperature <= 2:
            raise HoneError(f"--temperature must be between 0 and 2, not {self.temperature:g}")
        return self


@dataclass(frozen=True)
class Part:
    """One part of a prompt: tokens, and what was left out of it."""

    name: str
    tokens: int
    note: str = ""


@dataclass(frozen=True)
class Prompt:
    """A conversation that fits: the messages sent, how many of the oldest turns did not, and the room for an answer.

    `tokens` is what the messages take, counted text by text: a few more or less than the engine counts.
    """

    messages: tuple[dict[str, str], ...]
    dropped_turns: int
    tokens: int
    max_tokens: int
    parts: tuple[Part, ...] = ()

    @property
    def cuts(self) -> list[str]:
        """What the model does not get to see, a line each."""
        return [f"{part.name}: {part.note}" for part in self.parts if part.note]


def check_template(client: "Client", model: str | None) -> None:
    """
    Raises:
        HoneError: the model has no chat template, so it was never taught to answer.
    """
    entries = client.models()
    entry = next((one for one in entries if one["id"] == model), entries[0] if entries and model is None else None)
    if entry is not None and not entry.get("chat", True):
        raise UnknownModel(
            f"{entry['id']} has no chat template, so it continues text but answers no questions; choose a model made "
            "for chat (often called -Instruct) with --model, or use this one with `hone complete`"
        )


def fit_materials(
    client: "Client",
    question: str,
    materials: Sequence[Material],
    options: Options,
    context_length: int,
    instructions: Instructions | None = None,
) -> list[Material]:
    """What a question shows, cut to what the model can read beside the question and the answer."""
    if not materials:
        return []
    instructions = instructions or Instructions()
    count = _counter(client, options)
    system, _ = _system(instructions, context_length, count)
    fixed = sum(count([system, question])) + 2 * _TEMPLATE_TOKENS
    budget = context_length - fixed
    reserve = min(options.max_tokens, budget // 2)
    return material.fit(materials, budget - reserve, count)


def prepare(
    client: "Client",
    history: Sequence[Message],
    options: Options,
    context_length: int,
    instructions: Instructions | None = None,
) -> Prompt:
    """Fits a conversation, which ends with the user's message, into `context_length` tokens.

    Raises:
        HoneError: the last message alone leaves no room for an answer.
    """
    answered = _answered(history)
    recent = _recent(answered, context_length)
    count = _counter(client, options)
    system, cut = _system(instructions or Instructions(), context_length, count)
    costs = [tokens + _TEMPLATE_TOKENS for tokens in count([system, *(message.content for message in recent)])]
    first = first_that_fits(recent, costs[1:], context_length - costs[0], options.max_tokens)
    kept = recent[first:]
    used = costs[0] + sum(costs[1 + first :])
    messages = (
        {"role": "system", "content": system},
        *({"role": message.role, "content": message.content} for message in kept),
    )
    dropped = _turns(answered[: len(answered) - len(kept)])
    parts = _parts(kept, costs[0], costs[1 + first :], cut, dropped)
    return Prompt(messages, dropped, used, min(options.max_tokens, context_length - used), parts)


def _counter(client: "Client", options: Options) -> material.TokenCounts:
    return lambda texts: [len(tokens) for tokens in client.tokenize(texts, model=options.model)]


def _system(instructions: Instructions, context_length: int, count: material.TokenCounts) -> tuple[str, str]:
    """The system message, and what was cut from the instruction file."""
    if not instructions.text:
        return instructions.system, ""
    limit = context_length // _INSTRUCTIONS_SHARE
    text = instructions.text + "\n"
    shown = window.fit_suffix(text, limit, count)
    lines, all_lines = shown.count("\n"), text.count("\n")
    cut = f"the first {lines} of {all_lines} lines are used (at most {limit} tokens)" if lines < all_lines else ""
    if not shown.strip():
        return instructions.system, cut
    return f"{instructions.system}\n\nThe repository's {instructions.file} says:\n{shown.rstrip()}", cut


def _parts(
    kept: Sequence[Message], system: int, costs: Sequence[int], instructions_cut: str, dropped: int
) -> tuple[Part, ...]:
    left_out = f"the {dropped} oldest turns do not fit" if dropped > 1 else "the oldest turn does not fit"
    note = left_out if dropped else ""
    parts = [Part("instructions", system, instructions_cut)]
    if dropped or len(kept) > 1:
        parts.append(Part(f"{_turns(kept) - 1} earlier turns", sum(costs[:-1]), note))
    parts.append(Part("question", costs[-1]))
    parts += [Part(one.title, 0, one.note) for one in kept[-1].materials if one.note]
    return tuple(parts)


def meter(prompt: Prompt, context_length: int) -> str:
    """A prompt's tokens by part, what was left out, and the room for the answer, as lines."""
    lines = [f"{prompt.tokens} of {context_length} tokens, {prompt.max_tokens} left for the answer"]
    for part in prompt.parts:
        tokens = f"{part.tokens:>6}  " if part.tokens else " " * 8
        lines.append(f"{tokens}{part.name}{': ' + part.note if part.note else ''}")
    return "\n".join(lines)


def first_that_fits(history: Sequence[Message], costs: Sequence[int], budget: int, max_tokens: int) -> int:
    """The index of the oldest message to send: whole turns (a question with its answer) are dropped from the front.

    Room for the answer is kept: `max_tokens`, but not more than half of the budget.

    Args:
        costs: tokens of each message.
        budget: tokens for messages and answer together.

    Raises:
        HoneError: the last turn alone is over the budget.
    """
    starts = [index for index, message in enumerate(history) if message.role == "user"]
    if not starts:
        raise HoneError("there is nothing to answer: the conversation has no message from you")
    reserve = min(max_tokens, budget // 2)
    for start in starts:
        if sum(costs[start:]) <= budget - reserve:
            return start
    last = starts[-1]
    needed = sum(costs[last:])
    if needed > budget - min(max_tokens, _LEAST_ANSWER):
        raise HoneError(f"this message is {needed} tokens and the model takes about {max(budget, 0)}; make it shorter")
    return last


def _recent(history: list[Message], context_length: int) -> list[Message]:
    """Without the oldest messages that cannot fit whatever their tokens: they need not be counted."""
    room = context_length * _MOST_CHARACTERS_PER_TOKEN
    first = len(history)
    while first > 0 and (room := room - len(history[first - 1].content)) >= 0:
        first -= 1
    return history[min(first, max(len(history) - 1, 0)) :]


def _answered(history: Sequence[Message]) -> list[Message]:
    """Without the questions that got no answer (stopped, broken off), since templates want turns to alternate."""
    kept: list[Message] = []
    for message in history:
        if message.role == "assistant" and not message.text.strip():
            continue
        if kept and kept[-1].role == message.role:
            kept.pop()
        kept.append(message)
    return kept


def _turns(messages: Sequence[Message]) -> int:
    return sum(message.role == "user" for message in messages)


def stream(
    client: "Client", prompt: Prompt, options: Options, cancel: "Cancellation | None" = None
) -> Iterator["Delta"]:
    """The answer's deltas; closing the iterator cancels the request, and so does `cancel` from another thread. An
    answer that runs into a loop is ended, with the finish reason `REPETITION` and without the gateway's counts."""
    from assistant.client import Delta

    deltas = client.chat(
        list(prompt.messages),
        model=options.model,
        max_tokens=prompt.max_tokens,
        temperature=options.temperature,
        seed=options.seed,
        logprobs=options.logprobs,
        cancel=cancel,
    )
    loops_with = loops.watch()
    with closing(deltas):  # type: ignore[type-var]
        for delta in deltas:
            yield delta
            if delta.finish_reason is None and loops_with(delta.text):
                yield Delta(finish_reason=REPETITION)
                return
