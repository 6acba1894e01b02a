"""The tree of models: base models, the adapters on them, their versions; one line each."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from textual.content import Content

from tui.columns import Column, fit, joined
from tui.inert import inert
from tui.jobs.described import size
from tui.jobs.rows import bar
from tui.models.described import Base
from tui.models.gathered import Gathered, Version

MARK = "◆"
_DIM = "$foreground 60%"
_SIZE = 65
"""The list's width from which on there is a column of sizes."""
_COLUMNS = (
    Column("live as", 11, 0),
    Column("bits/byte", 14, 0),
    Column("size", 7, _SIZE, right=True),
    Column("tuned", 10, 80),
)
_CORPUS = 98
"""The list's width from which on it tells the corpus."""


@dataclass(frozen=True)
class Node:
    """A line of the tree."""

    kind: Literal["base", "adapter", "version"]
    base: Base
    name: str
    """The base's, the adapter's, or a version's NAME@DIGEST: what the command line takes."""
    versions: tuple[Version, ...] = ()
    """Below it, newest first; of a version itself."""
    folded: bool = False

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.name}:{self.base.name}"

    @property
    def version(self) -> Version | None:
        """None of a base and of an adapter."""
        return self.versions[0] if self.kind == "version" else None


def tree(gathered: Gathered, folded: Collection[str]) -> list[Node]:
    """All that is shown, in order.

    Args:
        folded: keys of nodes whose children are hidden.
    """
    nodes = []
    for base in gathered.bases:
        on_it = tuple(version for version in gathered.versions if version.adapter.base_name == base.name)
        top = Node("base", base, base.name, on_it)
        nodes.append(replace(top, folded=top.key in folded))
        if top.key in folded:
            continue
        # Newest first, and so are the adapters by their newest versions.
        names = dict.fromkeys(version.adapter.name for version in on_it)
        for name in names:
            versions = tuple(version for version in on_it if version.adapter.name == name)
            adapter = Node("adapter", base, name, versions)
            nodes.append(replace(adapter, folded=adapter.key in folded))
            if adapter.key not in folded:
                nodes += [Node("version", base, version.id, (version,)) for version in versions]
    return nodes


def header(width: int) -> Content:
    """The titles of the columns."""
    cells = [fit(Content("model"), _name_width(width))]
    cells += [fit(Content(column.title), column.width, column.right) for column in _columns(width)]
    cells += [Content("corpus")] if width >= _CORPUS else []
    return joined(cells, width).stylize(_DIM)


def line(node: Node, width: int, marked: bool = False, pulled: float | None = None) -> Content:
    """One line of at most `width` cells.

    Args:
        marked: it is the one that others are compared with.
        pulled: the share of a download under way.
    """
    if node.kind == "base":
        texts, last = _base(node, width, pulled), _about(node)
    elif node.kind == "adapter":
        texts, last = {}, Content("")
        count = len(node.versions)
        texts["live as"] = Content("1 version" if count == 1 else f"{count} versions").stylize(_DIM)
    else:
        texts, last = _version(node.versions[0]), Content(one_line(node.versions[0].corpus))
    cells = [fit(_name(node, marked), _name_width(width))]
    cells += [fit(texts.get(column.title, Content("")), column.width, column.right) for column in _columns(width)]
    cells += [last.stylize(_DIM)] if width >= _CORPUS else []
    return joined(cells, width)


def _name(node: Node, marked: bool) -> Content:
    mark = (MARK, "$accent")
    if node.kind == "base":
        fold = "  " if not node.versions else "▸ " if node.folded else "▾ "
        sign = mark if marked else ("●", "$text-success") if node.base.cached else ("○", _DIM)
        return Content.assemble((fold, _DIM), sign, " ", (one_line(short(node.name)), "bold"))
    if node.kind == "adapter":
        return Content.assemble(("  ▸ " if node.folded else "  ▾ ", _DIM), one_line(node.name))
    version = node.versions[0]
    sign = mark if marked else ("★", "$primary") if version.aliases else ("·", _DIM)
    if not version.bytes:
        sign = ("!", "$text-error")
    return Content.assemble("      ", sign, " ", version.adapter.digest[:12])


def _base(node: Node, width: int, pulled: float | None) -> dict[str, Content]:
    base = node.base
    if pulled is not None:
        return {"live as": Content(""), "bits/byte": bar(pulled)}
    if base.cached:
        return {
            "live as": Content("ready").stylize("$text-success"),
            "bits/byte": Content(one_line(base.licence or "")).stylize(_DIM),
            "size": Content(size(base.bytes or 0)),
        }
    amount = size(base.download_bytes or 0)
    # Where the column of sizes is left out the amount stands here.
    told = f"{amount} to fetch" if amount and width < _SIZE else "to fetch" if amount else ""
    return {
        "live as": Content("not here").stylize(_DIM),
        "bits/byte": Content(told).stylize(_DIM),
        "size": Content(amount).stylize(_DIM),
    }


def _about(node: Node) -> Content:
    """The beginning of what it is: all of it stands in the facts."""
    summary = node.base.summary.partition(",")[0] if node.base.summary else ""
    return Content(one_line(summary or (node.name if short(node.name) != node.name else "")))


def _version(version: Version) -> dict[str, Content]:
    after, before = version.figure("validation_after"), version.figure("validation_before")
    return {
        "live as": Content(one_line(", ".join(version.aliases))).stylize("$text-primary"),
        "bits/byte": gain(before, after),
        "size": Content(size(version.bytes)) if version.bytes else Content("gone").stylize("$text-error"),
        "tuned": Content(version.adapter.created[:10]).stylize(_DIM),
    }


def gain(before: float | None, after: float | None) -> Content:
    """Bits per byte after tuning, and by how much they changed: less is better."""
    if after is None:
        return Content("")
    if not before:
        return Content(f"{after:.3f}")
    change = after / before - 1
    style = "$text-success" if change < 0 else "$text-error"
    return Content.assemble(f"{after:.3f}  ", (f"{change:+.0%}".replace("-", "−"), style))


def one_line(text: str) -> str:
    return inert(" ".join(text.split()))


def short(name: str) -> str:
    """A base's name for a list: of a path its last part."""
    return f"…/{Path(name).name}" if name.startswith("/") else name


def _columns(width: int) -> list[Column]:
    return [column for column in _COLUMNS if width >= column.least]


def _name_width(width: int) -> int:
    return 26 if width < _SIZE else 27 if width < 80 else 30 if width < _CORPUS else 34


def summary(gathered: Gathered) -> list[str]:
    """What there is, in a few words each."""
    names = {version.adapter.name for version in gathered.versions}
    count = len(gathered.versions)
    used = sum(base.bytes or 0 for base in gathered.bases) + sum(version.bytes for version in gathered.versions)
    told = [f"{len(names)} adapters" if len(names) != 1 else "1 adapter"] if names else ["no adapter yet"]
    told += [f"{count} versions"] if count > len(names) else []
    told += [f"{size(used)} on disk"] if used else []
    return told
