"""Replaces secrets by typed placeholders before anything is tokenized.

The patterns are detect-secrets'. Whole matches are replaced: its own scanner returns only the first group of a match,
which for a GitHub token is the letters `ghp`. Its entropy, keyword and IP detectors are left out, since they fire on
ordinary code (hashes in lock data, `password = input()`).
"""

import re
from functools import cache

_LEFT_OUT = frozenset(
    {"Base64HighEntropyString", "HexHighEntropyString", "KeywordDetector", "IPPublicDetector", "PrivateKeyDetector"}
)
_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY[A-Z ]*)-----.*?(?:-----END \1-----|\Z)", re.DOTALL)


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    found = []
    for kind, plugin in get_mapping_from_secret_type_to_class().items():
        if plugin.__name__ not in _LEFT_OUT:
            found += [(kind, pattern) for pattern in plugin().denylist]
    return tuple(found)


def redact(text: str) -> tuple[str, list[str]]:
    """The text with each secret replaced by `<KIND>`, and the kinds that were found, one per replacement."""
    kinds: list[str] = []

    def replace(kind: str) -> str:
        kinds.append(kind)
        return f"<{kind.upper().replace(' ', '_')}>"

    text = _PRIVATE_KEY.sub(lambda _: replace("Private Key"), text)
    for kind, pattern in _patterns():
        text = pattern.sub(lambda match, kind=kind: replace(kind) if match.group(0).strip() else match.group(0), text)  # type: ignore[misc]
    return text, kinds
