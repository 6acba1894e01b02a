"""Which changed files are reviewed: source code that somebody wrote by hand and that can be read."""

from collections.abc import Callable

from assistant import handwritten
from assistant.attributes import Marks
from assistant.languages import language_of

MAX_BYTES = 1_000_000
"""A larger source file is data or generated."""

MarksOf = Callable[[str], Marks]


def by_path(path: str, marks: Marks) -> str | None:
    """Why a file is left out, told from its path and what its authors say of it; None where nothing speaks against."""
    if not is_inside(path):
        return "a path that leaves the repository"
    if handwritten.is_lock_file(path):
        return "a lock file"
    if language_of(path) is None:
        return "not source code"
    if marks.vendored:
        return "marked linguist-vendored in .gitattributes"
    if marks.generated:
        return "marked linguist-generated in .gitattributes"
    folder = handwritten.vendored_folder(path)
    if folder is not None and marks.vendored is None:
        return f"vendored, in a folder {folder}/"
    if handwritten.is_minified_name(path):
        return "minified by its name"
    return None


def by_content(path: str, data: bytes, marks: Marks) -> str | None:
    """Why a file is left out, told from its new content."""
    language = language_of(path)
    if language is None:
        return "not source code"
    if len(data) > MAX_BYTES:
        return f"{len(data):,} bytes, at most {MAX_BYTES:,} are reviewed"
    if b"\0" in data:
        return "binary"
    if data.startswith(b"version https://git-lfs"):
        return "a pointer of git LFS"
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        return f"not UTF-8 (byte {error.start})"
    dense = handwritten.dense(text, language.name)
    if dense is not None:
        return f"minified or data: {dense}"
    if marks.generated is None and handwritten.says_generated(text):
        return "it says that it is generated"
    return None


def is_inside(path: str) -> bool:
    """Whether a path from a diff stays below the folder that it is relative to, and out of git's own folder."""
    parts = path.lower().split("/")
    return "\\" not in path and "\0" not in path and not {"", ".", "..", ".git"}.intersection(parts)
