"""Chat examples: conversations in the model's own template, of which only the assistant's answers are learnt, and
prompt/completion records, of which only the completion is."""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assistant import prompts
from assistant.errors import HoneError
from tuning.corpus.document import Turn
from tuning.examples import encode
from tuning.examples.plain import Example


@dataclass(frozen=True)
class ChatFormat:
    """How one tokenizer writes a conversation; made by `chat_format`."""

    tokenizer: Any
    template: str
    special_tokens: Mapping[str, str]
    """As the engines give them to the template."""
    opening: tuple[int, ...]
    control: Mapping[int, str]
    """Ids and spellings of the control tokens."""

    def render(self, turns: Sequence[Turn], ask: bool = False) -> str:
        """The conversation as the template writes it; `ask`: up to where the assistant's next answer begins.

        Raises:
            HoneError: the template refuses these turns.
        """
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        return prompts.chat(messages, self.template, self.special_tokens, add_generation_prompt=ask)


@dataclass(frozen=True)
class Made:
    example: Example | None
    note: str = ""
    """Why there is none, or what was left out of it; empty when the record is in it whole."""


def chat_format(tokenizer: Any) -> ChatFormat:
    """
    Raises:
        HoneError: the tokenizer has no chat template, or one from which the answers cannot be told apart.
    """
    template = tokenizer.chat_template
    if not isinstance(template, str):
        raise HoneError(
            "this base has no chat template, so conversations cannot be written in its form; "
            "choose an instruct model, or give prompt/completion records"
        )
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    form = ChatFormat(
        tokenizer,
        template,
        {name: getattr(tokenizer, name) or "" for name in ("bos_token", "eos_token")},
        tuple(encode.opening(tokenizer)),
        {number: token.content for number, token in added.items() if token.special},
    )
    # A template that cannot be learnt from is refused here, before a corpus is read.
    _tokens(form, [Turn("user", "One?"), Turn("assistant", "1"), Turn("user", "Two?"), Turn("assistant", "2")])
    return form


def conversation(turns: Sequence[Turn], form: ChatFormat, row_length: int) -> Made:
    """A conversation, in which every assistant turn is learnt with its end-of-turn token, and nothing else.

    One that is too long loses turns from its beginning, as many as needed up to a user's turn; a system turn stays.
    An answer is never cut.

    Raises:
        HoneError: the template does not write the beginning of this conversation as the beginning of the whole.
    """
    fault = _fault(turns, form)
    if fault:
        return Made(None, fault)
    kept = list(turns[:1]) if turns[0].role == "system" else []
    body = turns[len(kept) :]
    starts = [0, *(at for at, turn in enumerate(body) if at > 0 and turn.role == "user")]
    starts = [at for at in starts if any(turn.role == "assistant" for turn in body[at:])]

    def made(start: int) -> Example:
        return _tokens(form, [*kept, *body[start:]])

    try:
        form.render(turns)
    except HoneError as error:
        return Made(None, str(error))
    whole = made(0)
    if len(whole.tokens) <= row_length:
        return Made(whole)
    first = bisect.bisect_left(starts, True, lo=1, key=lambda start: len(made(start).tokens) <= row_length)
    size = f"the conversation has {len(whole.tokens)} tokens and a row holds {row_length}"
    if first == len(starts):
        return Made(None, f"{size}; its last answer with its question does not fit either")
    return Made(made(starts[first]), f"the first {starts[first]} turns were left out: {size}")


def completion(prompt: str, answer: str, tokenizer: Any, row_length: int, end_token: int) -> Made:
    """A prompt/completion record: the two texts one after the other, the completion and the end token learnt."""
    if not answer.strip():
        return Made(None, "the completion is empty")
    (asked,) = encode.plain(tokenizer, [prompt])
    before = [*encode.opening(tokenizer), *asked]
    if not before:
        return Made(None, "the prompt is empty")
    tokens = (*before, *encode.continuation(tokenizer, answer), end_token)
    if len(tokens) > row_length:
        return Made(None, f"the record has {len(tokens)} tokens and a row holds {row_length}")
    return Made(Example(tokens, ((len(before), len(tokens)),), len(answer.encode())))


def _fault(turns: Sequence[Turn], form: ChatFormat) -> str:
    if not any(turn.role == "assistant" for turn in turns):
        return "no turn is the assistant's, so there is nothing to learn"
    if next(turn.role for turn in turns if turn.role != "system") == "assistant":
        return "the conversation begins with the assistant's turn, so no question stands before it"
    for number, turn in enumerate(turns, 1):
        if turn.role == "assistant" and not turn.content.strip():
            return f"turn {number}, the assistant's, is empty"
        spelt = next((mark for mark in form.control.values() if mark in turn.content), None)
        if spelt is not None:
            return f"turn {number} spells the model's control token {spelt}, which would be read as that"
    return ""


def _tokens(form: ChatFormat, turns: Sequence[Turn]) -> Example:
    """
    Raises:
        HoneError: see `conversation`; or the template ends an answer with no control token.
    """
    whole = form.render(turns)
    begun = form.special_tokens["bos_token"]
    tokens = [] if begun and whole.startswith(begun) else list(form.opening)
    learnt: list[tuple[int, int]] = []
    size = done = 0
    for number, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        asked, answered = form.render(turns[:number], ask=True), form.render(turns[: number + 1])
        if not (whole.startswith(answered) and answered.startswith(asked) and len(asked) >= done):
            raise HoneError(
                "this base's chat template writes the beginning of a conversation differently once it goes on, so the "
                "answers in it cannot be told apart; choose another base, or give prompt/completion records"
            )
        tokens += _asked(form, whole[done : len(asked)], first=done == 0)
        answer = whole[len(asked) : len(answered)]
        ids, starts = encode.continued(form.tokenizer, answer, parse_special=True)
        said = max(answer.find(turn.content.strip()), 0) + len(turn.content.strip())
        end = next(
            (
                at
                for at, (id_, start) in enumerate(zip(ids, starts, strict=True))
                if id_ in form.control and start >= said
            ),
            None,
        )
        if end is None:
            raise HoneError(
                "this base's chat template writes no control token after an answer, so a model tuned with it would "
                "never learn to stop; choose another base, or give prompt/completion records"
            )
        learnt.append((len(tokens), len(tokens) + end + 1))
        size += len(answer[: starts[end]].encode())
        tokens += ids
        done = len(answered)
    return Example(tuple(tokens), tuple(learnt), size)


def _asked(form: ChatFormat, text: str, first: bool) -> list[int]:
    """Tokens of what stands between two answers, as the engines read a prompt."""
    if not first:
        return encode.continued(form.tokenizer, text, parse_special=True)[0]
    return list(form.tokenizer(text, add_special_tokens=False, split_special_tokens=False).input_ids)
