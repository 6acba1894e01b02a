"""Text to token ids, as the engines tokenize a prompt: what training shows is what completion and chat ask."""

import re
from typing import Any

from assistant import prompts

_CONTROL = re.compile(r"<[|｜].+[|｜]>", re.DOTALL)
_GUARDS = ("☺", "\n", ";", "a")
"""Written before a text that continues another, and taken off again; see `continued`."""


def protect(backend: Any) -> None:
    """Makes every control token of a `tokenizers.Tokenizer` special, so that a file that spells one stays text.

    `split_special_tokens` splits only those that the tokenizer's files call special, and some families do not call
    their own fill-in-the-middle tokens so (Qwen2.5-Coder). Whitespace and words that are added tokens stay as they are.
    """
    from tokenizers import AddedToken

    families = {mark for tokens in prompts.FIM_FAMILIES for mark in (tokens.prefix, tokens.suffix, tokens.middle)}
    backend.add_special_tokens(
        [
            AddedToken(
                token.content,
                single_word=token.single_word,
                lstrip=token.lstrip,
                rstrip=token.rstrip,
                normalized=token.normalized,
                special=True,
            )
            for token in backend.get_added_tokens_decoder().values()
            if not token.special and (token.content in families or _CONTROL.fullmatch(token.content))
        ]
    )


def plain(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Token ids of source texts; special tokens that a file happens to spell are plain text in it."""
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False, split_special_tokens=True).input_ids
    return ids


def opening(tokenizer: Any) -> list[int]:
    """What the tokenizer itself writes before every prompt: the beginning token of the families that have one.

    The engines add it to a prompt, so a model must be tuned with it too.
    """
    text = "a"
    bare = tokenizer(text, add_special_tokens=False).input_ids
    whole = tokenizer(text, add_special_tokens=True).input_ids
    starts = [at for at in range(len(whole) - len(bare) + 1) if whole[at : at + len(bare)] == bare]
    return list(whole[: starts[0]]) if starts else []


def continuation(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text that directly follows another one; control tokens that it spells stay text.

    Raises:
        ValueError: see `continued`.
    """
    return continued(tokenizer, text)[0]


def continued(tokenizer: Any, text: str, parse_special: bool = False) -> tuple[list[int], list[int]]:
    """Token ids of a text that directly follows another one, and the character at which each begins.

    Sentencepiece tokenizers write a space before a text of its own, which a text generated after a prompt must not
    have. So the text is tokenized behind a rare character, which is taken off again (as in Code Llama's
    `encode_infilling`, with the same character).

    Args:
        parse_special: read the spellings of control tokens as those.

    Raises:
        ValueError: the tokenizer joins every character that was tried with the text.
    """
    for guard in _GUARDS:
        encoded = tokenizer(
            guard + text,
            add_special_tokens=False,
            split_special_tokens=not parse_special,
            return_offsets_mapping=True,
        )
        starts, ends = zip(*encoded.offset_mapping, strict=True)
        first = next((index for index, end in enumerate(ends) if end > len(guard)), len(ends))
        if first == len(ends) or starts[first] >= len(guard):
            return list(encoded.input_ids[first:]), [start - len(guard) for start in starts[first:]]
    raise ValueError("the tokenizer gives no token boundary before a continued text")
