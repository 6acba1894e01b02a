"""The files of a PEFT adapter."""

import json
from pathlib import Path
from typing import Any

from assistant.errors import HoneError

WEIGHTS = "adapter_model.safetensors"
CONFIGURATION = "adapter_config.json"


def read_configuration(adapter: Path) -> dict[str, Any]:
    """The parsed adapter_config.json.

    Raises:
        HoneError: missing, or no JSON object.
    """
    file = adapter / CONFIGURATION
    try:
        loaded = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise HoneError(f"cannot read {file}: {error}") from error
    if not isinstance(loaded, dict):
        raise HoneError(f"{file} is not a JSON object")
    return loaded
