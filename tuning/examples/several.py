"""Changes with several seeded bugs at once, for a form that learns from each line: a change with one bug teaches
little but that the other lines are as they should be.

As in ELECTRA (Clark et al. 2020): what was replaced is learnt at every place, not at one of a text.
"""

import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from assistant import review_context
from assistant.review_prompt import Finding
from tuning.examples.change import block, changes
from tuning.examples.mutate import OPERATORS, FunctionSpan, Program, known_operators
from tuning.examples.mutate_edit import Site
from tuning.examples.review import Kind, Review, long_enough, parsed

MOST_BUGS = 6
_TIMES = 2
"""That a function is shown, where the changes of its file are fewer than wanted."""
_CLEAN = 0.2
"""Of the changes, those in which every place is right."""
_WRONG = 0.6
"""Of the places in the others."""
_SHOWN = 0.7
"""Of the places of an edit, those where the other line is shown as removed."""
_KINDS: tuple[tuple[Kind, int], ...] = (("added function", 3), ("added block", 3), ("edit", 4))


@dataclass(frozen=True)
class _Bug:
    line: str
    operator: str
    description: str


def reviews(
    path: str,
    text: str,
    language: str,
    generator: random.Random,
    operators: Collection[str] | None = None,
    most: int = 4,
    most_lines: int = review_context.MAX_LINES,
) -> Iterator[Review]:
    """Up to `most` reviews from one file, each of another function, then of each once more with other bugs; the same
    generator state gives the same ones.

    Only bugs that change one line and move none are seeded.

    Args:
        operators: names of `mutate.OPERATORS` that seed; all by default.

    Raises:
        ValueError: an operator is unknown.
    """
    wanted = known_operators(operators)
    program = parsed(text, language)
    if program is None:
        return
    functions = long_enough(program)
    order = [index for _ in range(_TIMES) for index in generator.sample(functions, len(functions))]
    made = 0
    for index in order:
        if made == most:
            return
        bugs = _bugs(program, index, wanted, generator)
        review = _review(path, program, program.functions[index], bugs, generator, most_lines) if bugs else None
        if review is not None:
            made += 1
            yield review


def _bugs(program: Program, function: int, wanted: Collection[str], generator: random.Random) -> dict[int, _Bug]:
    """By line, from 0. An operator is drawn before the place, so that frequent places do not drown the rare ones."""
    places = program.sites(function, wanted)
    good = program.source.text.split("\n")
    most = generator.randint(2, MOST_BUGS)
    found: dict[int, _Bug] = {}
    while places and len(found) < most:
        name = generator.choice(list(places))
        site: Site = places[name].pop(generator.randrange(len(places[name])))
        if not places[name]:
            del places[name]
        lines = {program.source.line_at(edit.start) for edit in site.edits}
        inside = all(program.source.line_at(max(edit.start, edit.end - 1)) in lines for edit in site.edits)
        if len(lines) != 1 or not inside or lines & {at + 1 for at in found}:
            continue
        mutation = program.seeded(function, site)
        if mutation is None:
            continue
        bad = mutation.after.split("\n")
        at = mutation.start_line - 1
        if len(bad) == len(good) and mutation.end_line == mutation.start_line and bad[at].strip():
            found[at] = _Bug(bad[at], site.operator, site.description)
    return found


def _review(
    path: str,
    program: Program,
    span: FunctionSpan,
    bugs: Mapping[int, _Bug],
    generator: random.Random,
    most_lines: int,
) -> Review | None:
    good = program.source.text.split("\n")
    kinds, weights = zip(*_KINDS, strict=True)
    (kind,) = generator.choices(kinds, weights)
    clean = generator.random() < _CLEAN
    if kind == "added function":
        block_lines = range(span.top, span.last + 1)
    elif kind == "added block":
        place = generator.choice(sorted(bugs)) + 1
        block_lines = range(*block(good, place, place, (span.body, span.last), generator))
    else:
        block_lines = range(0)
    # What is wrong is always part of the change: a wrong line of the context would be taught as right.
    touched = [at for at in sorted(bugs) if kind != "edit" or generator.random() < _SHOWN]
    touched = [at for at in touched if kind == "edit" or at + 1 in block_lines]
    wrong = {at for at in touched if not clean and generator.random() < _WRONG}
    new = [bugs[at].line if at in wrong else line for at, line in enumerate(good)]
    added: set[int] = set(block_lines)
    removed: dict[int, list[str]] = {}
    if kind == "edit":
        old = list(new)
        for at in touched:
            old[at] = good[at] if at in wrong else bugs[at].line
        added, removed = changes(old[span.top - 1 : span.last], new[span.top - 1 : span.last], span.top)
    if not added:
        return None
    hunk = review_context.build(path, new, added, removed, most_lines)
    shown = {line.number - 1: index for index, line in enumerate(hunk.lines) if line.marker == "+"}
    if not any(at in shown for at in bugs):
        return None
    findings = tuple(
        Finding(at + 1, at + 1, OPERATORS[bugs[at].operator].bug_class, bugs[at].description, (good[at],))
        for at in sorted(wrong)
        if at in shown
    )
    indices = tuple(shown[at] for at in sorted(wrong) if at in shown)
    place_of = tuple(shown[at] for at in sorted(bugs) if at in shown)
    return Review(hunk, indices, findings, kind, place=place_of)
