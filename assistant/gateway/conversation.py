"""A conversation as a prompt, in which only the template's own control tokens are control tokens.

A message, or a file that it shows, may spell one (`<|im_end|>`): read as such it would end its turn and could speak as
the system or as the assistant.
"""

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assistant import prompts
from assistant.engines.base import Engine

_LIKE_CONTROL = re.compile(r"(?=(▁?<[^\s<>]{1,64}>|\[[^\s\[\]]{1,64}\]))")
"""How all families spell theirs: `<|im_end|>`, `</s>`, `▁<PRE>`, `[INST]`; also one inside of the other. Most of what
looks so is code."""


@dataclass(frozen=True)
class Conversation:
    """A rendered conversation."""

    prompt: str
    verbatim: tuple[tuple[int, int], ...]
    """Where it spells control tokens that stay text; see `engines.base.Request`."""


async def render(messages: Sequence[Mapping[str, str]], template: str, engine: Engine) -> Conversation:
    """
    Raises:
        HoneError: the template is broken or refuses these messages.
    """
    marks = await control_tokens([message["content"] for message in messages], engine)
    if not marks:
        return Conversation(prompts.chat(messages, template, engine.special_tokens, fold_system=True), ())
    # In the place of each mark the template gets a word that nobody can have written, and so writes one wherever it
    # writes the message.
    word = f"\ue000{secrets.token_hex(8)}:"
    spelled = re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True))))
    hidden = [
        {**message, "content": spelled.sub(lambda found: f"{word}{marks.index(found[0])}\ue001", message["content"])}
        for message in messages
    ]
    rendered = prompts.chat(hidden, template, engine.special_tokens, fold_system=True)
    # No pattern: each request has a word of its own, so it would be compiled anew and push others out of re's cache.
    text, *pieces = rendered.split(word)
    spans = []
    for piece in pieces:
        number, closed, rest = piece.partition("\ue001")
        if not closed or not number.isdecimal():
            # The template cut it off.
            text += word + piece
            continue
        spans.append((len(text), len(text) + len(marks[int(number)])))
        text += marks[int(number)] + rest
    return Conversation(text, tuple(spans))


async def control_tokens(texts: Sequence[str], engine: Engine) -> list[str]:
    """The control tokens that texts spell."""
    like = {match for text in texts for match in _LIKE_CONTROL.findall(text)}
    # More than any context holds, so the engine will refuse the prompt: each is a token at least, and at most two of
    # them share one (`[<s>]`).
    fits = len(like) <= 2 * engine.context_length
    return await asyncio.to_thread(_control, sorted(like), engine) if like and fits else []


def _control(spellings: Sequence[str], engine: Engine) -> list[str]:
    """Those that the tokenizer can read as control tokens."""
    meant, plain = (engine.tokenize_all(spellings, parse_special) for parse_special in (True, False))
    return [text for text, one, other in zip(spellings, meant, plain, strict=True) if one != other]
