"""Text of others in one line of ours."""

from tui.inert import inert


def one_line(text: str) -> str:
    """The same, harmless and without line ends and tabs."""
    return inert(text).replace("\n", " ").replace("\t", " ")
