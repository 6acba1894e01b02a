"""What an archive says of how its LoRA is computed: the settings that Hone itself trains with, and no others.

peft imports modules that some settings name (`megatron_core`, `auto_mapping`), and others change the base.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

_KEPT = frozenset(
    {"r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern"}
    | {"bias", "init_lora_weights"}
)
_SAID_ANYWAY = frozenset({"base_model_name_or_path", "inference_mode", "peft_type", "task_type", "peft_version"})
_MODULE = re.compile(r"[\w.]{1,200}")
_MOST_RANK = 1 << 16


def plain(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A peft configuration without what is at its default.

    Raises:
        ValueError: it is of another type, or says something that Hone never does.
    """
    from peft import LoraConfig

    usual = LoraConfig(task_type="CAUSAL_LM").to_dict()
    for key, value in configuration.items():
        unset = value is None or value is False or value in ({}, [])
        if key not in _KEPT | _SAID_ANYWAY and not unset and value != usual.get(key):
            raise ValueError(f"sets {key}, which Hone never does")
    if configuration.get("peft_type") != "LORA":
        raise ValueError(f"is of type {configuration.get('peft_type')!r}, not LORA")
    kept = {key: value for key, value in configuration.items() if key in _KEPT}
    _check(kept)
    return {"peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": True, **kept}


def _check(kept: Mapping[str, Any]) -> None:
    ranks, alphas = kept.get("rank_pattern") or {}, kept.get("alpha_pattern") or {}
    if not isinstance(ranks, dict) or not isinstance(alphas, dict):
        raise ValueError("has patterns that are none")
    for rank in (kept.get("r"), *ranks.values()):
        if not isinstance(rank, int) or isinstance(rank, bool) or not 0 < rank <= _MOST_RANK:
            raise ValueError(f"has the rank {rank!r}")
    for alpha in (kept.get("lora_alpha"), *alphas.values(), kept.get("lora_dropout", 0)):
        if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not math.isfinite(alpha) or alpha < 0:
            raise ValueError(f"has the alpha or dropout {alpha!r}")
    targets = kept.get("target_modules")
    names = targets if isinstance(targets, list) and targets else [None]
    # peft reads a text, and the keys of patterns, as regular expressions.
    for name in (*(() if targets == "all-linear" else names), *ranks, *alphas):
        if not isinstance(name, str) or not _MODULE.fullmatch(name):
            raise ValueError(f"has {name!r} for the name of a module")
    if kept.get("bias", "none") != "none":
        raise ValueError("has trained biases")
    for key in ("use_rslora", "use_dora"):
        if not isinstance(kept.get(key, False), bool):
            raise ValueError(f"has {key} {kept[key]!r}")
    if not isinstance(kept.get("init_lora_weights", True), bool | str):
        raise ValueError("has a start that is none")
