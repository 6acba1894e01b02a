"""Changes that the benchmarks of reviewing train on and ask about.

Training pairs (a change with its seeded bug, and the same change without) and those for calibration come from the
installed packages; what is asked comes from repositories that are none of them, with bugs of operators that seeded no
training example, half of the changes clean.
"""

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks import corpora
from benchmarks.review_forms import Pair
from tuning.examples.mutate import OPERATORS

_BY_HASH = sorted(OPERATORS, key=lambda name: hashlib.sha256(name.encode()).digest())
HELD_OUT = tuple(_BY_HASH[:8])
"""Bug operators that seed no training example: the eight of the smallest hashes, so that nobody chose them."""
REPOSITORIES = ("mistral-vibe", "strands-agents")
"""Of corpora.toml, published after the base's training data; no installed package."""
VALIDATION_SHARE = 10
"""One file in so many is for the calibration."""
VALIDATED = 240
"""Changes that the calibration reads, as after `hone tune`."""
VALIDATION_PER_FILE = 14


@dataclass(frozen=True)
class Run:
    form: str = "verdicts"
    steps: int = 60
    pairs: int = 0
    """Different pairs; 0: as many as the steps see."""
    rank: int = 32
    rate: float = 1e-3
    batch: int = 2
    """Pairs of a step."""
    lines: int = 30
    """Of a training change, context included."""
    twins: bool = True
    """Both changes of a pair are in one step; else each stands beside another one."""
    several: bool = False
    """In place of three of four pairs, two changes with several bugs at once."""
    kinds: int = 0
    """Bug operators that seed, of those that are not held out; 0: all. Fewer are the first by their hash."""
    own: str = ""
    """`asked`: asked is about half of the files of the repositories; `shown`: and every fourth document of the training
    is of the other half, as where a reviewer is tuned on the code that it will review."""
    seed: int = 0
    test: int = 240
    """Changes with bugs of held-out operators that are asked about; and half as many with bugs of those shown."""

    @property
    def operators(self) -> list[str]:
        """Those that seed training changes."""
        shown = [name for name in _BY_HASH if name not in HELD_OUT]
        return shown[: self.kinds] if self.kinds else shown

    @property
    def wanted(self) -> int:
        return self.pairs or self.steps * self.batch


def pairs(run: Run) -> Iterator[Pair]:
    """Training pairs, one of each file in turn, always in the same order for a seed."""
    from tuning.examples import review

    trained = run.operators
    streams = []
    for document in _documents(run, validation=False):
        generator = random.Random(f"{run.seed}/{document.path}")
        streams.append(
            review.reviews(
                document.path, document.text, "python", generator, trained, 100, most_lines=run.lines, twins=True
            )
        )
    while streams:
        going = []
        for stream in streams:
            clean, wrong = next(stream, None), next(stream, None)
            if clean is not None and wrong is not None:
                going.append(stream)
                yield Pair(clean, wrong)
        streams = going


def mixed(run: Run) -> Iterator[Pair]:
    """Some bugs remove lines, which only pairs have."""
    one_by_one = pairs(run)
    for number, pair in enumerate(severally(run)):
        yield (next(one_by_one, pair) if number % 4 == 3 else pair)


def severally(run: Run) -> Iterator[Pair]:
    """Changes with several bugs, two and two, one of each file in turn, again and again with other bugs."""
    from tuning.examples import several

    trained = run.operators
    documents = _documents(run, validation=False)
    for turn in itertools.count():
        waiting = []
        for document in documents:
            generator = random.Random(f"{run.seed}/several/{turn}/{document.path}")
            # Most files have one function that is left and more: those of one turn come one after the other.
            for one in several.reviews(document.path, document.text, "python", generator, trained, 1, run.lines):
                waiting.append(one)
                if len(waiting) == 2:
                    yield Pair(*waiting)
                    waiting = []


def validation(run: Run) -> list[Any]:
    from tuning.examples import review

    found: list[Any] = []
    for document in _documents(run, validation=True):
        generator = random.Random(f"{run.seed}/validation/{document.path}")
        found += review.reviews(document.path, document.text, "python", generator, run.operators, VALIDATION_PER_FILE)
    random.Random(run.seed).shuffle(found)
    return found[:VALIDATED]


def _documents(run: Run, validation: bool) -> list[Any]:
    """Python files of the installed packages, and of the repositories where their own code is shown, in an order of
    their own."""
    found = [
        (hashlib.sha256(f"{run.seed}/{item.path}".encode()).digest(), item)
        for item in installed()
        if item.language == "python"
    ]
    found.sort(key=lambda one: one[0])
    general = [item for digest, item in found if (digest[-1] % VALIDATION_SHARE == 0) == validation]
    if run.own != "shown" or validation:
        return general
    own = [one for name in REPOSITORIES for one in files_of(name) if not _is_asked(one)]
    own.sort(key=lambda one: hashlib.sha256(f"{run.seed}/{one.path}".encode()).digest())
    mixed = []
    for at, item in enumerate(general):
        mixed += [item, *(own[at // 3 : at // 3 + 1] if at % 3 == 2 else ())]
    return mixed


def installed() -> list[Any]:
    from tuning.corpus import collect, sources
    from tuning.corpus.document import Document

    source = sources.resolve(sources.parse("installed:all"))
    return [item for item in collect.read([source]) if isinstance(item, Document)]


def cases_of(wanted: int, seed: int, operators: Sequence[str], half: bool = False) -> list[Any]:
    """Of each repository as many; a case's group is its repository and its file.

    Args:
        half: of the files that no training shows.
    """
    from evals.tasks import review_data

    found = []
    for name in REPOSITORIES:
        files = [one for one in files_of(name) if not half or _is_asked(one)]
        made = review_data.seeded(files, wanted // len(REPOSITORIES), seed, (), operators)
        found += [replace(case, group=f"{name}/{case.group}") for case in made]
    return found


def _is_asked(file: Any) -> bool:
    return hashlib.sha256(file.path.encode()).digest()[0] % 2 == 0


def files_of(name: str) -> list[Any]:
    """The source files of a repository, with their paths."""
    from evals.tasks import review_data

    root = corpora.prepare(name)
    while not (root / ".git").exists():
        root = root.parent
    return review_data.unseen_files(root, [])
