"""What a figure depends on besides the models: versions, machine, load."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from assistant.models.store import BaseModel

_PACKAGES = ("hone-assistant", "xllamacpp", "torch", "transformers", "peft", "numpy")


def describe(engine: str | None = None) -> dict[str, Any]:
    """JSON-ready. The load average is of this moment (1, 5 and 15 minutes); `threads` is what a gateway started by this
    evaluation uses.

    Args:
        engine: as `describe_engine` or `describe_torch` says, or the server that is not ours; None: what serves here.
    """
    import psutil

    from assistant import cores
    from assistant.config import load_settings

    return {
        "engine": engine or describe_engine(),
        "threads": load_settings().threads or cores.physical(),
        "versions": {"python": platform.python_version()}
        | {name: found for name in _PACKAGES if (found := _version(name))},
        "platform": platform.platform(terse=True),
        "processor": _processor(),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor()


def describe_engine() -> str:
    """The engine that generates, with its version: another one may answer otherwise."""
    return f"xllamacpp {_version('xllamacpp')}"


def describe_serving(base: BaseModel) -> str:
    """The engine that serves a base on this machine."""
    return describe_engine() if base.gguf else describe_torch("float32")


def describe_torch(dtype: str) -> str:
    """The engine of batched measurements, its versions, its number format, and the GPU where there is one."""
    import torch

    gpu = f" on {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"transformers {_version('transformers')} torch {_version('torch')} {dtype}{gpu}"
