"""What a verb of the screen is done with when the user has chosen only a line."""

from tui.models.compare import Pair
from tui.models.gathered import AdapterDetails, Details, Gathered
from tui.models.rows import Node


def pair(node: Node, gathered: Gathered, marked: str, details: Details | None) -> Pair | None:
    """The two to compare: what is marked, else what is live on the same base, else the base, and the chosen one.

    Of a base that is chosen the other way round: what is live, or newest, is compared with it. None: there is no other.
    """
    on_it = [version for version in gathered.versions if version.adapter.base_name == node.base.name]
    live = [version.id for version in on_it if version.aliases]
    repository = details.repository if isinstance(details, AdapterDetails) else "."
    chosen = node.versions[0].id if node.kind == "adapter" else node.name
    if marked and marked != chosen:
        return Pair(marked, chosen, repository)
    if not node.base.cached:
        return None
    if node.kind == "base":
        newest = [*live, *(version.id for version in on_it)][:1]
        return Pair(chosen, newest[0], repository) if newest else None
    others = [one for one in (*live, node.base.name) if one != chosen]
    return Pair(others[0], chosen, repository)


def tuning(node: Node, details: Details | None) -> tuple[str, ...]:
    """The command line, without the program, of a run like the one that made what is chosen."""
    corpus = details.corpus if isinstance(details, AdapterDetails) else ()
    name = () if node.kind == "base" else ("--name", node.versions[0].adapter.name)
    return ("tune", *name, "--base", node.base.name, "--then", "eval", *corpus)
