"""Text from a model or a file, made harmless for a terminal: what a terminal would obey is shown instead of done."""

import re

_C0 = {code: f"^{chr(code ^ 0x40)}" for code in (*range(0x20), 0x7F) if chr(code) not in "\n\t"}
_INVISIBLE = (
    *range(0x80, 0xA0),  # C1 controls: 0x9b alone starts an escape sequence
    0x061C,
    0x200B,
    0x200E,
    0x200F,
    *range(0x2028, 0x202F),  # line separators, bidi embeddings and overrides
    *range(0x2060, 0x2070),  # word joiner, invisible operators, bidi isolates
    0xFEFF,
    *range(0xE0000, 0xE0080),  # tag characters: invisible copies of ASCII
)
_TABLE = {**_C0, ord("\r"): None, **{code: f"<U+{code:04X}>" for code in _INVISIBLE}}
_IN_PLACE = {
    **{code: 0x2400 + code for code in range(0x20) if code != 0x09},  # Unicode's pictures of control characters
    0x7F: 0x2421,
    **dict.fromkeys(_INVISIBLE, 0xFFFD),
}
_SURROGATES = re.compile("[\ud800-\udfff]")


def inert(text: str) -> str:
    """Control characters as `^[`, bidi and invisible ones as `<U+202E>`; carriage returns go.

    Newlines and tabs stay. The result has no character that moves the cursor, recolours, reorders or hides text.
    """
    return _SURROGATES.sub("\ufffd", text).translate(_TABLE)


def inert_in_place(text: str) -> str:
    """One visible character for each character, tabs as they are: columns stay what they were."""
    return text if text.isprintable() else _SURROGATES.sub("\ufffd", text).translate(_IN_PLACE)
