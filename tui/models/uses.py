"""What uses a model on this machine, so that nobody deletes what is needed."""

from collections.abc import Callable
from dataclasses import dataclass

from assistant.models.registry import AdapterVersion, Registry


@dataclass(frozen=True)
class Use:
    text: str
    """A clause: `live as champion`."""
    holds: bool
    """The model must not be deleted while this is so; else it is the user's decision."""


def of_version(version: AdapterVersion, registry: Registry) -> list[Use]:
    """
    Raises:
        HoneError: the registry, the jobs or the settings cannot be read.
    """
    newest = registry.find(version.name) == version

    def means(word: str) -> bool:
        name, at, digest = word.partition("@")
        if not at:
            return newest and word == version.name
        return name == version.name and len(digest) >= 6 and version.digest.startswith(digest)

    live = [alias for alias, target in registry.aliases().items() if target == version]
    found = [Use(f"live as {alias}", True) for alias in live]
    found += _served(lambda asked: registry.find(asked) == version)
    found += _jobs(lambda words: any(map(means, words)) or bool(set(live) & words))
    return found + _configured(lambda asked: registry.find(asked) == version)


def of_base(name: str, registry: Registry) -> list[Use]:
    """
    Raises:
        HoneError: as `of_version`.
    """
    versions = [version for version in registry.versions() if version.base_name == name]
    aliases = {alias: target for alias, target in registry.aliases().items() if target in versions}

    def serves(asked: str) -> bool:
        return asked == name or registry.find(asked) in versions

    def works(words: frozenset[str]) -> bool:
        from assistant.models.catalogue import DEFAULT

        default = name == DEFAULT and "tune" in words and not any(word.startswith("--base") for word in words)
        named = {each for version in versions for each in (version.id, version.name)} | {name, *aliases}
        return default or bool(named & words)

    found = [Use(f"{target.id}, which is live as {alias}, needs it", True) for alias, target in aliases.items()]
    found += _served(serves)
    found += _jobs(works)
    if versions:
        count = "1 adapter version needs" if len(versions) == 1 else f"{len(versions)} adapter versions need"
        found.append(Use(f"{count} it", False))
    return found + _configured(lambda asked: asked == name)


def _served(means: Callable[[str], bool]) -> list[Use]:
    from assistant.gateway.process import find_running

    running = find_running()
    if running is None or not means(running.model):
        return []
    return [Use(f"the gateway at {running.uds or running.url} serves it", True)]


def _jobs(works: Callable[[frozenset[str]], bool]) -> list[Use]:
    """Jobs that have not ended and whose command lines have such words."""
    from tuning.jobs import job as jobs_of
    from tuning.jobs import state

    found = []
    for status in state.statuses(jobs_of.active(jobs_of.folder()), state.look):
        words = {*status.spec.command, *(word for step in status.spec.steps for word in step.argv)}
        if status.is_active and works(frozenset(words)):
            found.append(Use(f"job {status.job.id} ({status.spec.name}) works with it", True))
    return found


def _configured(means: Callable[[str], bool]) -> list[Use]:
    from assistant.config import load_settings

    model = load_settings().model
    return [Use(f"{model} is the model that is asked when none is named", False)] if means(model) else []
