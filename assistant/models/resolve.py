"""From what the user wrote after `--model` to the base and adapter that will answer."""

import difflib
from dataclasses import dataclass

from assistant.errors import HoneError, UnknownModel, WrongBase
from assistant.models import store
from assistant.models.catalogue import CATALOGUE
from assistant.models.identity import adapter_digest, base_identity
from assistant.models.registry import AdapterVersion, Registry
from assistant.models.store import BaseModel
from assistant.models.transfer import Progress


@dataclass(frozen=True)
class ServedModel:
    """A base model, with an adapter or without."""

    asked: str
    base: BaseModel
    adapter: AdapterVersion | None

    @property
    def name(self) -> str:
        """Immutable: the base's name, or the adapter's NAME@DIGEST."""
        return self.adapter.id if self.adapter else self.base.name


def resolve(spec: str, fetch_missing: bool = True, progress: Progress | None = None) -> ServedModel:
    """What `spec` means now: an alias, an adapter (NAME or NAME@DIGEST), a base name, a path or a hub id.

    An adapter is checked against its base and against its own digest, so what is served is what was tuned.

    Args:
        fetch_missing: download a base that is not on this disk.

    Raises:
        UnknownModel: nothing has that name (near names are suggested), or the base is not here and may not be fetched.
        WrongBase: the base is not the one the adapter was trained on.
        HoneError: the adapter's files were changed, or a model is damaged.
    """
    registry = Registry()
    adapter = registry.find(spec)
    if adapter is None:
        return ServedModel(spec, _base(spec, registry, fetch_missing, progress), None)
    base = _base(adapter.base_name, registry, fetch_missing, progress)
    verify(adapter, base)
    return ServedModel(spec, base, adapter)


def verify(adapter: AdapterVersion, base: BaseModel) -> None:
    """Checks that `adapter` belongs to `base` and is unchanged.

    Raises:
        WrongBase: trained on other weights, another tokenizer or another template.
        HoneError: its files are missing or were changed.
    """
    found = base_identity(base).digest
    if found != adapter.base_digest:
        raise WrongBase(
            f"{adapter.id} was trained on base {adapter.base_digest[:12]} ({adapter.base_name}), "
            f"but {base.name} is {found[:12]}; use its own base or tune again"
        )
    digest = adapter_digest(adapter.folder, found)
    if digest != adapter.digest:
        raise HoneError(
            f"the files of {adapter.id} in {adapter.folder} were changed (digest now {digest[:12]}), "
            "so it is not used: tune again or promote another version"
        )


def _base(spec: str, registry: Registry, fetch_missing: bool, progress: Progress | None) -> BaseModel:
    found = store.find(spec)
    if found:
        return found
    if not store.is_fetchable(spec):
        raise UnknownModel(f"no model is called {spec}; {_suggestion(spec, registry)}")
    if not fetch_missing:
        raise UnknownModel(f"{spec} is not on this disk yet; `hone models pull {spec}` fetches it")
    return store.fetch(spec, progress)


def _suggestion(spec: str, registry: Registry) -> str:
    names = {*CATALOGUE, *store.cached_names(), *registry.aliases()}
    for version in registry.versions():
        names |= {version.name, version.id}
    near = difflib.get_close_matches(spec, sorted(names), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else "`hone models` lists the ones there are"
