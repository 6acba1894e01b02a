"""Replaces secrets by typed placeholders before anything is tokenized.

The patterns are detect-secrets'. Whole matches are replaced: its own scanner returns only the first group of a match,
which for a GitHub token is the letters `ghp`. Its entropy, keyword and IP detectors are left out, since they fire on
ordinary code (hashes in lock data, `password = input()`).
"""

import re
from functools import cache
from typing import Any

_LEFT_OUT = frozenset(
    {"Base64HighEntropyString", "HexHighEntropyString", "KeywordDetector", "IPPublicDetector", "PrivateKeyDetector"}
)
_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY[A-Z ]*)-----.*?(?:-----END \1-----|\Z)", re.DOTALL)


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    plugins: dict[str, Any] = get_mapping_from_secret_type_to_class()
    found = []
    for kind, plugin in plugins.items():
        if plugin.__name__ not in _LEFT_OUT:
            found += [(kind, pattern) for pattern in plugin().denylist]
    return tuple(found)


def redact(text: str) -> tuple[str, list[str]]:
    """The text with each secret replaced by `<KIND>`, and the kinds that were found, one per replacement."""
    kinds: list[str] = []
    for kind, pattern in (("Private Key", _PRIVATE_KEY), *_patterns()):
        text = _replace(pattern, kind, text, kinds)
    return text, kinds


def _replace(pattern: re.Pattern[str], kind: str, text: str, kinds: list[str]) -> str:
    placeholder = f"<{kind.upper().replace(' ', '_')}>"

    def placed(match: re.Match[str]) -> str:
        if not match.group(0).strip():
            return match.group(0)
        kinds.append(kind)
        return placeholder

    return pattern.sub(placed, text)
