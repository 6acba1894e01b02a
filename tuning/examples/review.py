"""Review pairs: a change to a function with one seeded bug among its changed lines, or the same kind of change clean.

Every kind of change is made for both labels from the same draw of function and bug, so that neither the presence of a
diff, nor its kind, its length or the function it is in tells whether it is wrong.
"""

import itertools
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from assistant import review_context, review_prompt
from assistant.review_prompt import Finding, Hunk
from assistant.review_rewriting import rewriting
from tuning.examples import encode
from tuning.examples.change import block, changes, difference, renamed
from tuning.examples.mutate import OPERATORS, FunctionSpan, Program, draw, known_operators
from tuning.examples.mutate_edit import Mutation
from tuning.examples.plain import Example

Form = Literal["findings", "rewriting"]
Kind = Literal["added function", "added block", "edit", "rename", "commit"]

_KINDS: tuple[tuple[Kind, int], ...] = (("added function", 3), ("added block", 3), ("edit", 2), ("rename", 2))
MIN_LINES = 4
"""A shorter function gives no room for a bug that its name does not tell."""


@dataclass(frozen=True)
class Review:
    """One change with what is wrong with it: nothing when `findings` is empty."""

    hunk: Hunk
    wrong: tuple[int, ...]
    """Indices in `hunk.lines` of the wrong lines."""
    findings: tuple[Finding, ...]
    kind: Kind
    operator: str = ""
    """What seeded the bug; empty for clean changes and for those from a history."""
    place: tuple[int, ...] = ()
    """Indices in `hunk.lines` of the lines that are wrong, or would be if the change were not clean."""

    @property
    def is_clean(self) -> bool:
        return not self.findings


@dataclass(frozen=True)
class Written:
    """A text and the half-open character spans of it that are learnt."""

    text: str
    supervised: tuple[tuple[int, int], ...]


def reviews(
    path: str,
    text: str,
    language: str,
    generator: random.Random,
    operators: Collection[str] | None = None,
    most: int = 4,
    clean_share: float = 0.5,
    most_lines: int = review_context.MAX_LINES,
    twins: bool = False,
) -> Iterator[Review]:
    """Up to `most` reviews from one file, each of another function; the same generator state gives the same ones.

    Args:
        operators: names of `mutate.OPERATORS` that seed; all by default.
        clean_share: probability that a change is clean.
        twins: each change twice, clean and then with its bug, alike in all else; both count as one of `most`.

    Raises:
        ValueError: an operator is unknown.
    """
    wanted = known_operators(operators)
    program = parsed(text, language)
    if program is None:
        return
    order = long_enough(program)
    generator.shuffle(order)
    made = 0
    for index in order:
        if made == most:
            return
        mutation = draw(program, index, program.sites(index, wanted), generator)
        if mutation is None:
            continue
        # Drawn before anything depends on the label.
        clean = generator.random() < clean_share
        state = generator.getstate()
        found = []
        for label in (True, False) if twins else (clean,):
            generator.setstate(state)
            found.append(_review(path, mutation, program.functions[index], generator, label, most_lines))
        # A place that only one twin shows would tell the label.
        whole = [review for review in found if review is not None]
        if len(whole) == len(found):
            made += 1
            yield from whole


def parsed(text: str, language: str) -> Program | None:
    """None where no bug can be seeded."""
    try:
        return Program(text, language)
    except ValueError:
        return None


def long_enough(program: Program) -> list[int]:
    """Indices of the functions that have room for a bug."""
    return [index for index, span in enumerate(program.functions) if span.last - span.first + 1 >= MIN_LINES]


def _review(
    path: str, mutation: Mutation, span: FunctionSpan, generator: random.Random, clean: bool, most_lines: int
) -> Review | None:
    kinds, weights = zip(*_KINDS, strict=True)
    (kind,) = generator.choices(kinds, weights)
    good, bad = mutation.before.split("\n"), mutation.after.split("\n")
    new, other = (good, bad) if clean else (bad, good)
    first, last = mutation.original_lines if clean else (mutation.start_line, mutation.end_line)
    end, bad_last = span.last + len(new) - len(good), span.last + len(bad) - len(good)
    markers = {marker for marker, _ in difference(good[span.top - 1 : span.last], bad[span.top - 1 : bad_last])}
    rewritten = {"+", "-"} <= markers
    if kind in ("edit", "rename") and not rewritten:
        # Lines were only removed: that the change removes a guard would be all there is to see.
        kind = "added block"
    removed: dict[int, list[str]] = {}
    if kind == "added function":
        added = set(range(span.top, end + 1))
    elif kind == "added block":
        added = set(range(*block(new, first, last, (span.body, end), generator)))
    else:
        base = other if kind == "edit" else generator.choice([good, bad])
        old_end = span.last + len(base) - len(good)
        old = base[span.top - 1 : old_end]
        if kind == "rename":
            former = renamed(old, generator)
            if former is None and base is new:
                return None
            old = former or old
        added, removed = changes(old, new[span.top - 1 : end], span.top)
    if not added:
        return None
    hunk = review_context.build(path, new, added, removed, most_lines)
    wrong = tuple(i for i, line in enumerate(hunk.lines) if line.number == first and line.marker != "-")
    if not wrong or hunk.lines[wrong[0]].marker != "+" or not hunk.lines[wrong[0]].text.strip():
        # The place is cut off, blank or not part of the change: dropped for either label.
        return None
    if clean:
        return Review(hunk, (), (), kind, place=wrong)
    low, high = mutation.original_lines
    bug_class = OPERATORS[mutation.operator].bug_class
    finding = Finding(first, last, bug_class, mutation.description, tuple(good[low - 1 : high]))
    return Review(hunk, wrong, (finding,), kind, mutation.operator, wrong)


def written(review: Review, form: Form) -> Written:
    """The text of a review in one of the two forms, with what is learnt: the whole answer, or the lines as they should
    be."""
    if form == "rewriting":
        made = rewriting(review.hunk, _fixes(review))
        return Written(made.text, made.spans)
    prompt = review_prompt.findings_prompt(review.hunk)
    answer = review_prompt.findings_answer(review.findings)
    return Written(prompt + answer, ((len(prompt), len(prompt) + len(answer)),))


def _fixes(review: Review) -> dict[int, Sequence[str]]:
    """What should stand in place of lines of the hunk, by index: a line for each where there are as many, else all at
    the first."""
    fixes: dict[int, Sequence[str]] = {}
    for finding in review.findings:
        inside = [
            index
            for index, line in enumerate(review.hunk.lines)
            if line.marker != "-" and finding.line <= line.number <= finding.last
        ]
        wrong = [index for index in inside if index in review.wrong] or inside
        fix = [line for line in finding.fix if line.strip()]
        if len(fix) == len(wrong):
            fixes |= {index: (line,) for index, line in zip(wrong, fix, strict=True)}
        else:
            fixes |= dict.fromkeys(wrong[:1], fix) | dict.fromkeys(wrong[1:], ())
    return fixes


def tokenized(piece: Written, tokenizer: Any, end_token: int) -> Example:
    """Token ids with the learnt spans; the end token follows and is learnt too.

    The text is tokenized piece by piece, cut at the bounds of the spans, so that no token crosses one.
    """
    bounds = [0, *(bound for span in piece.supervised for bound in span), len(piece.text)]
    tokens = encode.opening(tokenizer)
    supervised: list[tuple[int, int]] = []
    text_bytes = 0
    for index, (start, end) in enumerate(itertools.pairwise(bounds)):
        text = piece.text[start:end]
        if not text:
            continue
        ids = encode.plain(tokenizer, [text])[0] if index == 0 else encode.continuation(tokenizer, text)
        if (start, end) in piece.supervised:
            supervised.append((len(tokens), len(tokens) + len(ids)))
            text_bytes += len(text.encode())
        tokens += ids
    if supervised and supervised[-1][1] == len(tokens):
        supervised[-1] = (supervised[-1][0], len(tokens) + 1)
    else:
        supervised.append((len(tokens), len(tokens) + 1))
    return Example((*tokens, end_token), tuple(supervised), text_bytes)


def example(review: Review, form: Form, tokenizer: Any, end_token: int, row_length: int) -> Example | None:
    """The example of a review in at most `row_length` tokens: context goes first, then lines at the end of the change;
    None where the line that is wrong, or would be, would have to go."""
    short = review
    most = len(review.hunk.lines)
    while True:
        found = tokenized(written(short, form), tokenizer, end_token)
        if len(found.tokens) <= row_length:
            return found
        # Tokens grow with lines, so the excess says about how many must go.
        most = min(most - 1, most * row_length // len(found.tokens))
        if most < 1:
            return None
        cut = _shortened(short, most)
        if cut is None:
            return None
        short = cut


def _shortened(review: Review, most: int) -> Review | None:
    """The review with at most `most` lines; None where nothing is asked any more, or not of `place`."""
    hunk = review_context.shortened(review.hunk, most)

    def kept(indices: tuple[int, ...]) -> tuple[int, ...]:
        marked = [review.hunk.lines[index] for index in indices]
        return tuple(index for index, line in enumerate(hunk.lines) if any(line is other for other in marked))

    wrong, place = kept(review.wrong), kept(review.place)
    if len(wrong) < len(review.wrong) or len(place) < len(review.place) or not hunk.changed:
        return None
    return replace(review, hunk=hunk, wrong=wrong, place=place)
