"""Why an answer reads as it does: which of its tokens the model was unsure of, and what the model was shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assistant.engines.base import TokenLogprob
from assistant.skills.instructions import Instructions
from assistant.skills.material import Material

if TYPE_CHECKING:
    from assistant.skills.chat import Prompt

ALTERNATIVES = 3
"""Tokens that are asked for at each place, the drawn one among them."""
UNSURE = 0.3
"""A token that was less probable than this is marked. The probability is the model's own, before temperature."""
MOST_LISTED = 8
_BEFORE_CHARACTERS = 40


@dataclass(frozen=True)
class Doubt:
    """A token that the model was unsure of."""

    line: int
    """Of the answer, from 1."""
    before: str
    """What stands before it on its line, the last of it."""
    text: str
    probability: float
    instead: tuple[tuple[str, float], ...]
    """Other tokens at this place with their probabilities, the likeliest first."""

    def as_json(self) -> dict[str, Any]:
        instead = [{"text": text, "probability": round(share, 4)} for text, share in self.instead]
        return {"line": self.line, "text": self.text, "probability": round(self.probability, 4), "instead": instead}


@dataclass(frozen=True)
class Why:
    shown: tuple[str, ...]
    """The materials and the instruction file that were in the prompt, each with what was cut from it."""
    tokens: int
    """With a probability; 0 when the engine tells none."""
    typical: float
    """The geometric mean of the tokens' probabilities."""
    doubts: tuple[Doubt, ...]
    """In the order of the answer."""

    def as_json(self) -> dict[str, Any]:
        return {
            "shown": list(self.shown),
            "tokens": self.tokens,
            "typical_probability": round(self.typical, 4) if self.tokens else None,
            "unsure_below": UNSURE,
            "unsure": [doubt.as_json() for doubt in self.doubts],
        }


def explain(tokens: Sequence[TokenLogprob], prompt: "Prompt", materials: Sequence[Material], told: Instructions) -> Why:
    """
    Args:
        tokens: of the answer, each with its likeliest alternatives.
        materials: of the question, as the prompt shows them.
        told: the instructions that were in the prompt.
    """
    titles = [(one.title or "Standard input", one.note) for one in materials]
    if told.text:
        # `chat.prepare` tells of this part only when it was cut.
        cut = next((part.note for part in prompt.parts if part.name == "instructions"), "")
        titles.append((f"{told.file} (instructions)", cut))
    shown = tuple(f"{title} ({note})" if note else title for title, note in titles)
    typical = math.exp(sum(token.logprob for token in tokens) / len(tokens)) if tokens else 0.0
    return Why(shown, len(tokens), typical, doubts_of(tokens))


def unsure(token: TokenLogprob) -> bool:
    return math.exp(token.logprob) < UNSURE


def doubts_of(tokens: Sequence[TokenLogprob]) -> tuple[Doubt, ...]:
    found = []
    line, before = 1, b""
    for token in tokens:
        own = bytes(token.bytes)
        if unsure(token):
            others = ((one.text, math.exp(one.logprob)) for one in token.top if one.token != token.token)
            found.append(Doubt(line, _shortened(before), _text(token), math.exp(token.logprob), tuple(others)))
        # Only whole lines are sure to be whole characters.
        line += own.count(b"\n")
        before = (before + own).rpartition(b"\n")[2]
    return tuple(found)


def _shortened(line: bytes) -> str:
    text = line.decode("utf-8", "replace")
    if len(text) <= _BEFORE_CHARACTERS:
        return text
    end = text[-_BEFORE_CHARACTERS:]
    # From a whole word on, where there is one.
    return "…" + (end.partition(" ")[2] or end)


def lines(why: Why) -> list[str]:
    """For a person: what was shown, how sure the model was, and the places it was least sure of."""
    shown = [
        f"the model was shown {'; '.join(why.shown)}" if why.shown else "the model was shown nothing but the words"
    ]
    if not why.tokens:
        return [*shown, "this engine tells no probabilities"]
    count = len(why.doubts)
    tokens = f"{why.tokens} token{'s' * (why.tokens != 1)}, typically {_percent(why.typical)} probable"
    if not count:
        return [*shown, f"{tokens}; none below {_percent(UNSURE)}"]
    least = sorted(why.doubts, key=lambda doubt: doubt.probability)[:MOST_LISTED]
    which = "the least probable" if count > len(least) else "these"
    head = f"{tokens}; {count} below {_percent(UNSURE)}, {which}:"
    return [*shown, head, *(_line(doubt) for doubt in why.doubts if doubt in least)]


def _line(doubt: Doubt) -> str:
    others = ", ".join(f"{_quoted(text)} {_percent(share)}" for text, share in doubt.instead)
    place = f"  line {doubt.line}, {_percent(doubt.probability):>4}: {doubt.before.lstrip()}{_quoted(doubt.text)}"
    return f"{place}  (others: {others})" if others else place


def _quoted(text: str) -> str:
    """Blanks and line ends are tokens too, and must be seen."""
    return "«" + text.replace("\n", "↵").replace("\t", "⇥") + "»"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else "<1 %"


def _text(token: TokenLogprob) -> str:
    return bytes(token.bytes).decode("utf-8", "replace")
