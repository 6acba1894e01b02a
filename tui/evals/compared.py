"""Two models' answers as a change from one to the other, for the diff view."""

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assistant.skills.review.changes import FileChange


def change_between(before: str, after: str, path: str) -> "FileChange":
    """
    Args:
        path: its ending says which language colours the answers.
    """
    from assistant.skills.review.changes import FileChange

    # Half of a surrogate pair, which a model may write, is no text that UTF-8 can hold.
    data = (after if after.endswith("\n") or not after else after + "\n").encode("utf-8", "replace")
    whole = FileChange(path, data, frozenset(), {})
    old = before.encode("utf-8", "replace").decode().replace("\r\n", "\n").split("\n")
    old = old[:-1] if old[-1] == "" else old
    added: set[int] = set()
    removed: dict[int, tuple[str, ...]] = {}
    for kind, first, last, begin, end in SequenceMatcher(None, old, whole.lines).get_opcodes():
        if kind != "equal":
            added.update(range(begin + 1, end + 1))
            if last > first:
                removed[begin + 1] = tuple(old[first:last])
    return FileChange(path, data, frozenset(added), removed)
