"""The chat skill: what is sent to the model for a conversation, and the answer as it streams back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from assistant.errors import HoneError
from assistant.sessions import Message

if TYPE_CHECKING:
    from assistant.client import Client, Delta

SYSTEM_PROMPT = (
    "You are Hone, a coding assistant in the user's terminal. Answer briefly and correctly. "
    "Put code in fenced Markdown blocks that name the language."
)
_TEMPLATE_TOKENS = 8
"""What a chat template adds to each message (role, turn marks, newlines); none of the usual ones adds more."""
_LEAST_ANSWER = 32


@dataclass(frozen=True)
class Options:
    model: str | None = None
    max_tokens: int = 1024
    temperature: float = 0.2
    seed: int | None = None

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
class Prompt:
    """A conversation that fits: the messages sent, how many of the oldest turns did not, and the room for an answer.

    `tokens` is what the messages take, counted text by text: a few more or less than the engine counts.
    """

    messages: tuple[dict[str, str], ...]
    dropped_turns: int
    tokens: int
    max_tokens: int


def with_context(prompt: str, context: str) -> str:
    """A prompt followed by material to look at (standard input), fenced so that it stands apart."""
    if not context.strip():
        return prompt
    if not prompt.strip():
        return context.strip("\n")
    fence = "```"
    while fence in context:
        fence += "`"
    return f"{prompt}\n\n{fence}\n{context.rstrip()}\n{fence}"


def prepare(client: "Client", history: Sequence[Message], options: Options, context_length: int) -> Prompt:
    """Fits a conversation, which ends with the user's message, into `context_length` tokens.

    Raises:
        HoneError: the last message alone leaves no room for an answer.
    """
    history = _answered(history)
    texts = [SYSTEM_PROMPT, *(message.text for message in history)]
    costs = [len(tokens) + _TEMPLATE_TOKENS for tokens in client.tokenize(texts, model=options.model)]
    first = first_that_fits(history, costs[1:], context_length - costs[0], options.max_tokens)
    kept = history[first:]
    used = costs[0] + sum(costs[1 + first :])
    messages = (
        {"role": "system", "content": SYSTEM_PROMPT},
        *({"role": message.role, "content": message.text} for message in kept),
    )
    return Prompt(messages, _turns(history[:first]), used, min(options.max_tokens, context_length - used))


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


def _turns(dropped: Sequence[Message]) -> int:
    return sum(message.role == "user" for message in dropped)


def stream(client: "Client", prompt: Prompt, options: Options) -> Iterator["Delta"]:
    """The answer's deltas; closing the iterator cancels the request."""
    fitted = replace(options, max_tokens=prompt.max_tokens)
    return client.chat(
        list(prompt.messages),
        model=fitted.model,
        max_tokens=fitted.max_tokens,
        temperature=fitted.temperature,
        seed=fitted.seed,
    )
