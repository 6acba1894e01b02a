"""Fill-in-the-middle examples: a window of a document whose middle is learnt from what stands around it.

The transform is applied to windows that already fit a row (context level: Bavarian et al., 2022, section 4.2), so no
middle is ever cut from its prefix or suffix. Spans are characters, not tokens; prefix-suffix-middle and
suffix-prefix-middle are half and half; the rate of 0.5 is theirs too.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from assistant import prompts
from assistant.syntax import Syntax, parse
from tuning.examples import encode, spans
from tuning.examples.plain import Example, Window, cut


@dataclass(frozen=True)
class Options:
    rate: float = 0.5
    """Share of the windows that become fill-in-the-middle."""
    spm: float = 0.5
    """Share of those in suffix-prefix-middle order, in the families that have both orders."""
    aligned: float = 0.5
    """Share of the middles that follow lines or syntax nodes."""
    learn_context: bool = True
    """Learn the prefix and the suffix too, as those models were pre-trained, and not the middle and its end alone."""
    max_middle: int = spans.MAX_CHARACTERS
    """Characters."""


@dataclass(frozen=True)
class Format:
    """How one tokenizer writes a fill-in-the-middle prompt; made by `own` or `taught`."""

    tokenizer: Any
    tokens: prompts.FimTokens
    stand_ins: prompts.FimTokens | None
    """Marks that `marker` reads as tokens, in place of the family's own; None for sentinels in plain text."""
    marker: Any
    """A `tokenizers.Tokenizer` that reads only the stand-ins as control tokens, and no spelling in a file."""
    ids: dict[int, int]
    """A stand-in's id to that of the family's token."""

    def encode(
        self, before: str, suffix: str, order: prompts.FimOrder
    ) -> tuple[list[int], list[tuple[int, int]], str, prompts.FimTokens]:
        """Token ids of `prompts.infill`, their spans in the rendered text, that text, and the marks in it."""
        marks = self.stand_ins or self.tokens
        rendered = prompts.infill(before, suffix, marks, order)
        if self.stand_ins is None:
            encoded = self.tokenizer(
                rendered, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
            )
            return list(encoded.input_ids), list(encoded.offset_mapping), rendered, marks
        encoded = self.marker.encode(rendered, add_special_tokens=False)
        return [self.ids.get(token, token) for token in encoded.ids], encoded.offsets, rendered, marks


def own(tokenizer: Any, tokens: prompts.FimTokens) -> Format:
    """For a base with fill-in-the-middle tokens of its own.

    The tokens must be read as control tokens, and the same spelling in a file must not. So a copy of the tokenizer
    gets three stand-ins that no file holds, which split the text exactly as the family's tokens do; only those are
    read as tokens. The tokenizer itself is protected, see `encode.protect`.
    """
    from tokenizers import AddedToken, Tokenizer

    encode.protect(tokenizer.backend_tokenizer)
    marker = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    # As every call of the tokenizer sets it; the state it was left in does not matter.
    marker.no_truncation()
    marker.no_padding()
    vocabulary = tokenizer.get_vocab()
    known = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    ids: dict[int, int] = {}
    names: dict[str, str] = {}
    for role in ("prefix", "suffix", "middle"):
        token = getattr(tokens, role)
        if token not in vocabulary:
            continue
        names[role] = f"\ue000fim-{role}\ue001"
        original = known.get(vocabulary[token])
        marker.add_tokens(
            [
                AddedToken(
                    names[role],
                    lstrip=bool(original and original.lstrip),
                    rstrip=bool(original and original.rstrip),
                    normalized=False,
                    special=False,
                )
            ]
        )
        number = marker.token_to_id(names[role])
        assert number is not None
        ids[number] = vocabulary[token]
    marker.encode_special_tokens = True
    stand_ins = prompts.FimTokens(names["prefix"], names["suffix"], names.get("middle", ""), tokens.suffix_first)
    return Format(tokenizer, tokens, stand_ins, marker, ids)


def taught(tokenizer: Any) -> Format:
    """For teaching infilling to a base without such tokens: sentinels in plain text."""
    return Format(tokenizer, prompts.TAUGHT_FIM, None, None, {})


def examples(
    path: str,
    text: str,
    language: str,
    form: Format,
    row_length: int,
    end_token: int,
    seed: int,
    options: Options = Options(),
) -> list[Example]:
    """The windows of a document, some of them turned into fill-in-the-middle.

    Which ones, and where they are cut, is a function of the text and the seed alone. A window in which no middle is
    found stays plain, and so does a document that spells the marks of the format.
    """
    windows = cut(path, text, form.tokenizer, row_length, end_token)
    marks = form.stand_ins or form.tokens
    if any(mark and mark in path + text for mark in (marks.prefix, marks.suffix, marks.middle)):
        return [window.example for window in windows]
    random = Random(hashlib.sha256(f"{seed}\0{text}".encode()).digest())
    chosen = [random.random() < options.rate for _ in windows]
    syntax = parse(text, language) if any(chosen) and options.aligned > 0 else None
    found = []
    for window, turn in zip(windows, chosen, strict=True):
        turned = _turn(path, text, window, syntax, form, row_length, end_token, random, options) if turn else None
        found.append(turned or window.example)
    return found


def _turn(
    path: str,
    text: str,
    window: Window,
    syntax: Syntax | None,
    form: Format,
    row_length: int,
    end_token: int,
    random: Random,
    options: Options,
) -> Example | None:
    within = (window.start, window.start + len(window.text))
    order: prompts.FimOrder = "spm" if random.random() < options.spm and not form.tokens.suffix_first else "psm"
    span = spans.choose(text, within, syntax, random, options.aligned, options.max_middle)
    if span is None:
        return None
    start, end = span
    return example(
        path,
        text[within[0] : start],
        text[start:end],
        text[end : within[1]],
        form,
        order,
        row_length,
        end_token,
        options.learn_context,
    )


def example(
    path: str,
    prefix: str,
    middle: str,
    suffix: str,
    form: Format,
    order: prompts.FimOrder,
    row_length: int,
    end_token: int,
    learn_context: bool = False,
) -> Example | None:
    """One example: the prompt that completion asks with, the middle, the end token.

    Where they do not fit a row, the prefix loses lines from its beginning and the suffix from its end, as completion
    shortens them. None when they still do not fit.

    The middle is tokenized by itself, so that the prompt's tokens are those of the prompt alone.
    """
    opening = encode.opening(form.tokenizer)
    answer = [*encode.continuation(form.tokenizer, middle), end_token]
    room = row_length - len(opening) - len(answer)
    while True:
        before = prompts.completion(path, prefix)
        ids, offsets, rendered, marks = form.encode(before, suffix, order)
        in_prefix, in_suffix = _places(rendered, marks, order, len(before), len(prefix), len(suffix))
        over = len(ids) - room
        if over <= 0:
            break
        shorter = _shortened(prefix, suffix, _inside(offsets, in_prefix), _inside(offsets, in_suffix), offsets, over)
        if shorter is None:
            return None
        prefix, suffix = shorter
    prompt_length = len(opening) + len(ids)
    tokens = (*opening, *ids, *answer)
    learnt = [(prompt_length, len(tokens))]
    size = len(middle.encode())
    if learn_context:
        learnt += [
            (len(opening) + first, len(opening) + last)
            for first, last in (_inside(offsets, in_prefix), _inside(offsets, in_suffix))
            if first < last
        ]
        size += len(prefix.encode()) + len(suffix.encode())
    return Example(tokens, _joined(learnt), size)


def _places(
    rendered: str, marks: prompts.FimTokens, order: prompts.FimOrder, before: int, prefix: int, suffix: int
) -> tuple[spans.Span, spans.Span]:
    """Where the file's prefix (without the path header) and suffix lie in a rendered prompt."""
    after = marks.middle if order == "spm" and not marks.suffix_first else marks.prefix
    start = rendered.index(after) + len(after) + before - prefix
    second = rendered.index(marks.suffix) + len(marks.suffix)
    return (start, start + prefix), (second, second + suffix)


def _inside(offsets: Sequence[tuple[int, int]], place: spans.Span) -> spans.Span:
    """The tokens inside a place of the text; one that also holds what stands before or after it is left out."""
    at = [index for index, (start, end) in enumerate(offsets) if place[0] <= start < end <= place[1]]
    return (at[0], at[-1] + 1) if at else (0, 0)


def _shortened(
    prefix: str,
    suffix: str,
    in_prefix: spans.Span,
    in_suffix: spans.Span,
    offsets: Sequence[tuple[int, int]],
    over: int,
) -> tuple[str, str] | None:
    """Takes at least `over` tokens off the longer side, or as many whole lines as it has; None when neither has any.

    The line of the cursor stays on both sides.
    """
    last_line = prefix.rfind("\n") + 1
    first_line = suffix.find("\n") + 1 or len(suffix)
    longer_prefix = in_prefix[1] - in_prefix[0] >= in_suffix[1] - in_suffix[0]
    if last_line and (longer_prefix or first_line == len(suffix)):
        target = in_prefix[0] + over
        wanted = offsets[target][0] - offsets[in_prefix[0]][0] if target < in_prefix[1] else len(prefix)
        newline = prefix.find("\n", max(wanted - 1, 0), last_line)
        return prefix[newline + 1 if newline >= 0 else last_line :], suffix
    if first_line < len(suffix):
        target = in_suffix[1] - over
        kept = offsets[target][0] - offsets[in_suffix[0]][0] if target > in_suffix[0] else 0
        return prefix, suffix[: suffix.rfind("\n", first_line - 1, max(kept, first_line)) + 1]
    return None


def _joined(learnt: list[spans.Span]) -> tuple[spans.Span, ...]:
    """In order; spans that touch become one."""
    found: list[spans.Span] = []
    for start, end in sorted(learnt):
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return tuple(found)
