"""Which of given tokens llama.cpp is made to generate together, so that it tells their probabilities.

Its server tells none of a prompt's tokens. A grammar that names tokens by their ids forces it to draw just these.
"""

from collections.abc import Sequence

from assistant.engines.likelihoods import Reading, Span

MOST = 64
"""Tokens of a run; a reading is cancelled between two of them. Computed one by one, as any answer is."""

GAP = 3
"""Tokens of a text between two answers that are rather forced than read in the next prompt.

A request costs about a token more, but a prompt's tokens are computed many at a time. Measured with 12 such texts, one
thread and the embedded model, in seconds, forced and in prompts: of 2 tokens 2.1 and 2.1, of 4 tokens 2.6 and 2.4, of 8
tokens 3.8 and 2.5.
"""


def forced_runs(reading: Reading, unnamed: frozenset[int]) -> list[Span]:
    """Runs in `reading.tokens` that hold all answers, in order, none over another.

    Args:
        unnamed: tokens that no grammar can force; each one in an answer is a run of its own, none is in another.
    """
    runs: list[Span] = []
    open_ended = False
    for position in (position for start, end in reading.spans for position in range(start, end)):
        named = reading.tokens[position] not in unnamed
        start, end = runs[-1] if runs else (0, 0)
        near = position - end <= GAP and position < start + MOST
        if open_ended and named and near and unnamed.isdisjoint(reading.tokens[end:position]):
            runs[-1] = (start, position + 1)
        else:
            runs.append((position, position + 1))
        open_ended = named
    return runs


def grammar_of(tokens: Sequence[int]) -> str:
    """In llama.cpp's notation: these tokens and no others."""
    return "root ::= " + " ".join(f"<[{token}]>" for token in tokens)
