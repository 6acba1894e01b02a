"""A text with its characters reduced to classes, so that what it cannot hold is told by a substring search.

A search for `0000000000000` in such a shape finds thirteen digits in a row at over 1 GB/s, where a regular expression
walks the text at 20 to 30 MB/s.
"""

from collections.abc import Iterator
from functools import cached_property


def _class_of(byte: int) -> int:
    character = chr(byte)
    if byte < 128 and character.isdigit():
        return ord("0")
    if byte < 128 and character.isalpha():
        return ord("A") if character.isupper() else ord("a")
    return byte


def _word_or_blank(byte: int) -> int:
    return ord("w") if byte < 128 and (chr(byte).isalnum() or chr(byte) in "_-") else ord(" ")


_CLASSES = bytes(map(_class_of, range(256)))
_WORDS = bytes(map(_word_or_blank, range(256)))
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class Shape:
    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def lower(self) -> str:
        """The text in lower case, character for character."""
        lower = self.text.lower()
        return lower if len(lower) == len(self.text) else self.text.translate(_ASCII_LOWER)

    def has(self, *shapes: bytes) -> bool:
        """Whether any of the shapes occurs: `0` is any digit, `A` an upper, `a` a lower case letter of ASCII."""
        return any(shape in self._classes for shape in shapes)

    def has_word(self, length: int) -> bool:
        """Whether so many of `A-Za-z0-9_-` stand in a row."""
        return b"w" * length in self._words

    def lines_with_word(self, length: int) -> Iterator[tuple[int, int]]:
        """The spans of the lines that have such a word, in characters."""
        word = b"w" * length
        at = self._words.find(word)
        while at >= 0:
            start = self._bytes.rfind(b"\n", 0, at) + 1
            end = self._bytes.find(b"\n", at)
            end = len(self._bytes) if end < 0 else end
            yield self._characters(start), self._characters(end)
            at = self._words.find(word, end)

    def _characters(self, offset: int) -> int:
        if self.text.isascii():
            return offset
        return len(self._bytes[:offset].decode("utf-8", errors="surrogatepass"))

    @cached_property
    def _bytes(self) -> bytes:
        return self.text.encode("utf-8", errors="surrogatepass")

    @cached_property
    def _classes(self) -> bytes:
        return self._bytes.translate(_CLASSES)

    @cached_property
    def _words(self) -> bytes:
        return self._bytes.translate(_WORDS)
