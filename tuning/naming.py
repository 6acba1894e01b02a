"""What an adapter may be called."""

from assistant.errors import UsageError
from assistant.models.catalogue import CATALOGUE
from assistant.models.registry import Registry, check_name


def check_new_name(name: str, base_spec: str) -> None:
    """Raises UsageError for a name that an adapter cannot have, before any work is done."""
    check_name(name, "an adapter's name")
    registry = Registry()
    if name in CATALOGUE or name in registry.aliases():
        raise UsageError(f"{name} is the name of a base model or alias; choose another --name")
    if registry.find(base_spec) is not None:
        raise UsageError(f"--base {base_spec} is an adapter; name a base model (see `hone models`)")
