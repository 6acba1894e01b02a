"""Texts of known similarity."""

import random
import string

from tuning.corpus import minhash
from tuning.corpus.document import Document


def document(text: str, path: str = "a.py", source: int = 0) -> Document:
    return Document(source, path, text, "python", None, "", len(text.encode()))


def code(seed: int, words: int) -> list[str]:
    """Distinct identifiers, so that texts of two seeds have nothing in common."""
    chosen = random.Random(seed)
    return ["".join(chosen.choices(string.ascii_lowercase, k=8)) for _ in range(words)]


def jaccard(first: str, second: str, length: int = minhash.SHINGLE) -> float:
    """By the definition, on strings."""
    sets = []
    for text in (first, second):
        words = "".join(letter if letter.isalnum() or letter == "_" else " " for letter in text).split()
        sets.append({tuple(words[start : start + length]) for start in range(len(words) - length + 1)} or {text})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def with_changes(words: list[str], count: int, seed: int) -> str:
    """`count` words replaced, far enough apart that each costs a known number of shingles."""
    changed = list(words)
    for place in range(count):
        changed[place * len(words) // count] = f"changed_{seed}_{place}"
    return "\n".join(changed)
