"""The models that the chat can switch to, and the check of a name before the switch."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelTarget:
    """What a model name means now."""

    asked: str
    base: str
    adapter: str | None = None

    @property
    def label(self) -> str:
        return self.base if self.adapter is None else f"{self.base} + {self.adapter}"


@dataclass(frozen=True)
class ModelRow:
    kind: str
    """base, adapter or alias."""
    name: str
    note: str


def rows() -> list[ModelRow]:
    """Base models of the catalogue and of the cache, adapters, aliases."""
    from assistant.models import store
    from assistant.models.catalogue import CATALOGUE
    from assistant.models.registry import Registry

    cached = store.cached_names()
    found = [
        ModelRow("base", name, "ready" if name in cached else f"not fetched; `hone models pull {name}`")
        for name in dict.fromkeys([*CATALOGUE, *cached])
    ]
    registry = Registry()
    found += [ModelRow("adapter", version.id, f"on {version.base_name}") for version in registry.versions()]
    found += [ModelRow("alias", alias, f"is {version.id}") for alias, version in sorted(registry.aliases().items())]
    return found


def check(name: str, may_fetch: bool = False) -> ModelTarget:
    """What `name` means. Nothing is fetched here; with `may_fetch` a base that is not on this disk yet is let through.

    Raises:
        HoneError: unknown (near names are suggested), not fetched yet, or an adapter on a wrong base.
    """
    from assistant.models import store
    from assistant.models.registry import Registry
    from assistant.models.resolve import resolve

    if may_fetch and Registry().find(name) is None and store.find(name) is None and store.is_fetchable(name):
        return ModelTarget(name, name)
    served = resolve(name, fetch_missing=False)
    return ModelTarget(name, served.base.name, served.adapter.id if served.adapter else None)


def table(found: Sequence[ModelRow], current: str) -> str:
    """The rows as text, the current model marked."""
    width = max((len(row.name) for row in found), default=0)
    lines = []
    for kind, title in (("base", "Base models"), ("adapter", "Adapters"), ("alias", "Aliases")):
        rows_of_kind = [row for row in found if row.kind == kind]
        if rows_of_kind:
            lines.append(title)
            lines += [f"{'●' if row.name == current else ' '} {row.name:<{width}}  {row.note}" for row in rows_of_kind]
        elif kind == "adapter":
            lines += ["Adapters", "  none yet; `hone tune PATH --name NAME` makes one"]
    return "\n".join([*lines, "Switch with /model NAME"])
