"""Prompts for what stands between a prefix and a suffix: the model's own fill-in-the-middle form, or left to right."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from assistant import prompts
from assistant.gateway.serving import Lease
from assistant.prompts import CompletionMode, FimTokens, Snippet
from assistant.skills import window

_SPARE = 16
"""Tokens that joining the parts may cost, those of the form included."""
_LEAST_ANSWER = 64
"""Tokens kept for an answer without a limit of its own."""


@dataclass(frozen=True)
class Around:
    """What stands around the cursor.

    Args:
        path: of the file, None when the client does not say.
        snippets: of other files, the least important first.
    """

    prefix: str
    suffix: str
    path: str | None = None
    snippets: tuple[Snippet, ...] = ()


@dataclass(frozen=True)
class Prompt:
    text: str
    mode: CompletionMode
    truncated: bool
    """Not all of it fitted the model's context."""
    code: tuple[tuple[int, int], ...] = ()
    """Where it is not the form's own tokens; see `prompts.infill_code`."""

    @property
    def parse_special(self) -> bool:
        return self.mode == "fim"


def build(around: Around, tokens: FimTokens | None) -> Prompt:
    """In prefix mode the suffix is not shown to the model, nor when the code spells the very tokens of the form."""
    shown = (around.prefix, around.suffix, *(snippet.text for snippet in around.snippets))
    if tokens is None or any(_spells(tokens, text) for text in shown):
        before = prompts.context(around.snippets) + _named(around)
        return Prompt(before, "prefix", truncated=False)
    before = prompts.context(around.snippets) + _named(around)
    code = prompts.infill_code(before, around.suffix, tokens)
    return Prompt(prompts.infill(before, around.suffix, tokens), "fim", truncated=False, code=code)


async def build_fitting(around: Around, lease: Lease, max_tokens: int | None) -> Prompt:
    """`build`, of as much as fits the model's context beside the answer: the oldest snippets go first, then the far
    ends of prefix and suffix, by whole lines."""
    room = lease.context_length - min(max_tokens or _LEAST_ANSWER, lease.context_length // 2) - _SPARE
    # No token is shorter than a byte, so most requests need no counting.
    if _bytes(around) <= room:
        return build(around, lease.fim_tokens)
    fitted = await asyncio.to_thread(_fit, around, lease, room)
    return replace(build(fitted, lease.fim_tokens), truncated=fitted != around)


def _fit(around: Around, lease: Lease, room: int) -> Around:
    def count(texts: Sequence[str]) -> list[int]:
        return [len(tokens) for tokens in lease.engine.tokenize_all(texts)] if texts else []

    named = replace(around, prefix="")
    room -= sum(count([_named(named)]))
    suffix = around.suffix
    if lease.fim_tokens is not None:
        suffix = window.fit_suffix(suffix, room // 4, count)
        room -= sum(count([suffix]))
    prefix = window.fit_prefix(around.prefix, room, count) if around.prefix else ""
    room -= sum(count([prefix]))
    kept: list[Snippet] = []
    costs = count([prompts.context([snippet]) for snippet in around.snippets])
    for snippet, cost in reversed(list(zip(around.snippets, costs, strict=True))):
        if cost > room:
            break
        room -= cost
        kept.append(snippet)
    return Around(prefix, suffix, around.path, tuple(reversed(kept)))


def _named(around: Around) -> str:
    return prompts.document(around.path, around.prefix) if around.path else around.prefix


def _bytes(around: Around) -> int:
    texts = (around.path or "", around.prefix, around.suffix)
    return sum(len(text.encode()) for text in (*texts, prompts.context(around.snippets)))


def _spells(tokens: FimTokens, text: str) -> bool:
    return any(token and token in text for token in (tokens.prefix, tokens.suffix, tokens.middle))
