"""One builder per prompt format, called by training and by the skills, so that the model is asked in the very form
it was trained on.

Three formats: a source document (`document`, and `completion` for a point inside it), fill-in-the-middle (`fim`), and
chat (`chat`, by the model's own template).
"""

import functools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from assistant.errors import HoneError
from assistant.languages import language_of

CompletionMode = Literal["fim", "prefix"]

FimOrder = Literal["psm", "spm"]
"""Prefix-suffix-middle, which completion asks; and suffix-prefix-middle, which training shows beside it."""


@dataclass(frozen=True)
class Snippet:
    """A piece of another file that is shown to the model before the file it completes."""

    path: str
    text: str


def header(path: str) -> str:
    """The line that names a file: its repository path (`/` separated) as a comment of its language."""
    language = language_of(path)
    opening, closing = (language.comment, language.comment_end) if language else ("#", "")
    return f"{opening} {path}{closing}\n"


def document(path: str, text: str) -> str:
    """A file, or a window of it that begins at a line start, as the model is trained on it."""
    return header(path) + text


def completion(path: str, prefix: str, retrieved: Sequence[Snippet] = ()) -> str:
    """Left-to-right completion: other files' snippets, then the beginning of the `document` up to the cursor."""
    return context(retrieved) + document(path, prefix)


def context(retrieved: Sequence[Snippet]) -> str:
    """Snippets in the order given, each a `document` that ends with a newline."""
    return "".join(_closed(document(snippet.path, snippet.text)) for snippet in retrieved)


def _closed(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


@dataclass(frozen=True)
class FimTokens:
    """The tokenizer's own fill-in-the-middle tokens."""

    prefix: str
    suffix: str
    middle: str
    suffix_first: bool = False
    """The family writes the suffix before the prefix and has no middle token in between (Codestral)."""


# (prefix, suffix, middle), as each family's tokenizer spells them.
FIM_FAMILIES = (
    FimTokens("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen2.5-Coder, CodeGemma
    FimTokens("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder2
    FimTokens("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek-Coder
    FimTokens("▁<PRE>", "▁<SUF>", "▁<MID>"),  # CodeLlama
    FimTokens("[PREFIX]", "[SUFFIX]", "[MIDDLE]", suffix_first=True),  # Codestral
)

_FIM_ENDS = (
    "<|endoftext|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<file_sep>",
    "<EOT>",
    "<｜end▁of▁sentence｜>",
)

TAUGHT_FIM = FimTokens("<PRE>", "<SUF>", "<MID>")
"""Sentinels in plain text, for teaching infilling to a base without tokens of its own."""


def find_fim_tokens(vocabulary: Mapping[str, int]) -> FimTokens | None:
    """The fill-in-the-middle tokens that a vocabulary has, None when the model completes left to right."""
    for family in FIM_FAMILIES:
        needed = (
            (family.prefix, family.suffix) if family.suffix_first else (family.prefix, family.suffix, family.middle)
        )
        if all(token in vocabulary for token in needed):
            return family
    return None


def fim_stops(tokens: FimTokens) -> tuple[str, ...]:
    """What no middle holds: the family's own tokens and those that end one, where an engine writes them out as text."""
    own = (tokens.prefix, tokens.suffix, tokens.middle)
    return (*(token for token in own if token), *_FIM_ENDS)


def fim(
    path: str,
    prefix: str,
    suffix: str,
    tokens: FimTokens,
    retrieved: Sequence[Snippet] = (),
    order: FimOrder = "psm",
) -> str:
    """Fill-in-the-middle; snippets and the path go in front of the prefix."""
    return infill(completion(path, prefix, retrieved), suffix, tokens, order)


def infill(before: str, suffix: str, tokens: FimTokens, order: FimOrder = "psm") -> str:
    """Fill-in-the-middle between two texts; the middle follows directly.

    A family that writes the suffix first has one order only, its own. The suffix-prefix-middle form of the others is
    the one that StarCoder was trained on (variant 2 of Bavarian et al., 2022, appendix D): the middle continues the
    prefix with no token in between.
    """
    if tokens.suffix_first:
        return f"{tokens.suffix}{suffix}{tokens.prefix}{before}"
    if order == "spm":
        return f"{tokens.prefix}{tokens.suffix}{suffix}{tokens.middle}{before}"
    return f"{tokens.prefix}{before}{tokens.suffix}{suffix}{tokens.middle}"


def infill_code(before: str, suffix: str, tokens: FimTokens) -> tuple[tuple[int, int], ...]:
    """Where the code stands in `infill`'s prompt: no token that it spells is meant as a control token."""
    first, second = (suffix, before) if tokens.suffix_first else (before, suffix)
    between = tokens.prefix if tokens.suffix_first else tokens.suffix
    start = len(tokens.suffix if tokens.suffix_first else tokens.prefix)
    end = start + len(first)
    spans = ((start, end), (end + len(between), end + len(between) + len(second)))
    return tuple(span for span in spans if span[0] < span[1])


def document_end(vocabulary: Mapping[str, int], end_token: str | None) -> str:
    """The token that ends a document in training: `<|endoftext|>` where the vocabulary has it (the base models'
    own separator), else the tokenizer's end token.

    Raises:
        HoneError: the tokenizer has neither.
    """
    if "<|endoftext|>" in vocabulary:
        return "<|endoftext|>"
    if end_token:
        return end_token
    raise HoneError(
        "this tokenizer has no end-of-text token, so a model tuned with it could never stop; choose another base"
    )


def chat(
    messages: Sequence[Mapping[str, str]],
    template: str,
    special_tokens: Mapping[str, str],
    add_generation_prompt: bool = True,
    fold_system: bool = False,
) -> str:
    """Renders a conversation by the model's own Jinja template, in Jinja's sandbox.

    Args:
        messages: dicts with `role` and `content`.
        template: the tokenizer's chat template.
        special_tokens: `bos_token`, `eos_token` and so on, as templates name them.
        fold_system: where the template refuses a system message (Gemma's and Mistral's first ones do), its text goes in
            front of the first question.

    Raises:
        HoneError: the template is broken or refuses these messages.
    """
    import jinja2

    def render(shown: Sequence[Mapping[str, str]]) -> str:
        values: dict[str, Any] = {
            **special_tokens,
            "messages": list(shown),
            "add_generation_prompt": add_generation_prompt,
        }
        return str(_compiled(template).render(**values))

    # What a template can do wrong: it is a program.
    broken = (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
    try:
        return render(messages)
    except broken as error:
        with suppress(*broken):
            if fold_system and (folded := _without_system(messages)) is not None:
                return render(folded)
        raise HoneError(
            f"the model's chat template cannot render this conversation: {' '.join(str(error).split())}; it comes with "
            "the model's tokenizer (chat_template): repair it there, or choose another model with --model"
        ) from error


def _without_system(messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]] | None:
    """The system message's text in front of the first question; None when there is nothing to move."""
    if len(messages) < 2 or messages[0]["role"] != "system" or messages[1]["role"] != "user":
        return None
    joined = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
    return [joined, *messages[2:]]


@functools.lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    """Compiling takes many times as long as rendering, and training renders every beginning of every conversation."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(template)
