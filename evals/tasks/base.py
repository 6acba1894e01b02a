"""What every task is made of: questions, what a model is asked, what it answered, and the verdict on it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from assistant import prompts
from assistant.gateway.conversation import Conversation
from evals.sandbox.outcome import ErrorClass

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox


@dataclass(frozen=True)
class Item:
    """One question of a task."""

    id: str
    """Unique in the task: `HumanEval/0`."""
    group: str
    """Items of one group are not independent of each other (one problem, one file): intervals resample groups."""
    data: Mapping[str, Any]
    """JSON-ready."""


@dataclass(frozen=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True)
class Ask:
    """What a model is asked: exactly one of a raw prompt and a conversation.

    `stop` only saves time: a task cuts every answer itself, so a server that ignores stop strings gets the same
    verdicts. It has at most four strings, which is as many as OpenAI's API takes.

    Raises:
        ValueError: both or none of the two, or too many stop strings.
    """

    prompt: str | None
    messages: tuple[Message, ...]
    stop: tuple[str, ...]
    max_tokens: int
    parse_special: bool = False
    """Control tokens spelled in the prompt are read as such."""

    def __post_init__(self) -> None:
        if (self.prompt is None) == (not self.messages):
            raise ValueError("an ask has a prompt or messages, and not both")
        if len(self.stop) > MAX_STOP_STRINGS:
            raise ValueError(f"an ask has at most {MAX_STOP_STRINGS} stop strings")


MAX_STOP_STRINGS = 4


@dataclass(frozen=True)
class Answer:
    """What a model said."""

    text: str
    finish_reason: str
    """`stop`, or `length` where the token limit ended it."""
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    first_token_seconds: float | None
    rendered: Conversation | None = None
    """The conversation as the model's own template wrote it out; None of a raw prompt, which nobody renders, and where
    a server that is not ours rendered it and does not say how."""
    refused: tuple[str, ...] = ()
    """Of `seed` and `top_p`, what the server did not take; it decided on that itself."""
    retries: int = 0
    """How often the request had failed before."""


@dataclass(frozen=True)
class Verdict:
    value: float
    """0 to 1."""
    error: ErrorClass | None
    """None: right, or the task knows no errors."""
    detail: str
    """One line: `want [1, 2], got [1]`."""
    extracted: str
    """The code that was judged."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further figures of the task, JSON-ready."""


class Task(Protocol):
    """A benchmark. Its methods are pure but for the sandbox, and may be called from several threads at a time."""

    @property
    def name(self) -> str:
        """`humaneval`."""

    @property
    def version(self) -> str:
        """`humaneval@1`; changes whenever the same answer could get another verdict."""

    @property
    def needs_sandbox(self) -> bool: ...

    @property
    def samples_per_item(self) -> int: ...

    @property
    def temperature(self) -> float:
        """0 is greedy."""

    def items(self) -> Sequence[Item]: ...

    def ask(self, item: Item, fim: prompts.FimTokens | None) -> Ask:
        """What the model is asked.

        Args:
            fim: the model's own fill-in-the-middle tokens, None when it has none.
        """

    def judge(self, item: Item, answer: Answer, sandbox: "Sandbox | None") -> Verdict:
        """The verdict on one answer.

        Raises:
            HarnessError: the task needs a sandbox and has none, or the sandbox fails.
        """

    def references(self) -> Iterable[tuple[Item, str, bool]]:
        """(item, answer, must it pass): known good and known bad answers, judged before a model is asked."""
