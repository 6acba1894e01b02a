"""The report of `hone tune --dry-run`: what a run would be made of and what it would take."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby, islice

from tuning.corpus.document import Dropped
from tuning.data import Data
from tuning.preflight import Preflight, shortened

SHOWN = 8
"""Files left out that are named for each verdict; `--json` has all."""


@dataclass(frozen=True)
class DryRun:
    name: str
    base: str
    sources: tuple[dict[str, object], ...]
    summary: dict[str, object]
    """`tuning.corpus.assemble.Summary`."""
    dropped: tuple[dict[str, object], ...]
    taken: tuple[dict[str, object], ...]
    """Every file that was taken, with its side, language and licence."""
    examples: dict[str, int]
    """Training examples of each kind."""
    preflight: dict[str, object]
    samples: tuple[str, ...]
    """Three decoded examples, what is learnt between marks."""
    lines: tuple[str, ...]
    """The pre-flight in words."""

    @staticmethod
    def of(name: str, base: str, data: Data, preflight: Preflight) -> "DryRun":
        return DryRun(
            name=name,
            base=base,
            sources=tuple(asdict(source) for source in data.corpus.sources),
            summary=asdict(data.corpus.summary),
            dropped=tuple(asdict(one) for one in data.corpus.dropped()),
            taken=tuple(asdict(one) for one in data.corpus.files()),
            examples=data.counts,
            preflight={**asdict(preflight), "mfu": preflight.mfu},
            samples=preflight.samples,
            lines=tuple(preflight.describe()),
        )

    def text(self) -> str:
        """For people."""
        summary = self.summary
        parts = [
            "Files",
            *_table({"taken": summary["verdicts"]["taken"]}),  # type: ignore[index]
            *_left_out(Dropped(**one) for one in self.dropped),  # type: ignore[arg-type]
            "",
            "Languages   " + _counted(summary["languages"]),
            "Licences    " + _counted(summary["licences"]),
            "Replaced    " + (_counted(summary["redactions"]) or "nothing"),
            "Split       " + _counted(summary["sides"]),
            "Examples    " + _counted(self.examples),
            "",
        ]
        for number, sample in enumerate(self.samples, 1):
            parts += [f"Example {number} of {len(self.samples)} (what is learnt between ⟦ and ⟧)"]
            parts += [f"    {line}" for line in shortened(sample).split("\n")]
            parts += [""]
        return "\n".join([*parts, *self.lines, "nothing was trained"])


def _left_out(dropped: Iterable[Dropped]) -> list[str]:
    lines = []
    ordered = sorted(dropped, key=lambda one: one.verdict)
    for verdict, group in groupby(ordered, key=lambda one: one.verdict):
        files = list(group)
        lines += _table({verdict: len(files)})
        lines += [f"          {one.path}: {one.reason}" for one in islice(files, SHOWN)]
        if len(files) > SHOWN:
            lines.append(f"          and {len(files) - SHOWN:,} more (--json names all)")
    return lines


def _table(counts: Mapping[str, int]) -> list[str]:
    return [f"{count:8,}  {name}" for name, count in counts.items()]


def _counted(counts: object) -> str:
    assert isinstance(counts, Mapping)
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
