"""The changes of a unified diff that somebody hands in: a file, or standard input."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from assistant import attributes, git
from assistant.attributes import Marks
from assistant.errors import HoneError
from assistant.skills.review import from_git, hunks, worth
from assistant.skills.review.changes import Changes, FileChange
from assistant.skills.review.findings import Skipped
from assistant.skills.review.hunks import Lines, Section

_NO_NAME = "a diff without a file name"


def changes(diff: bytes, folder: Path, top: Path | None, paths: Sequence[str] = ()) -> Changes:
    """What a diff changes.

    The whole new content of a file is looked for: among the repository's objects by the id that the diff names, then on
    disk, with the diff applied already or not. Where none fits, the lines that the diff shows have to do, which is
    noted.

    Args:
        folder: what the diff's paths are relative to, where `top` is None.
        top: the root of the repository that the diff is for; None outside of one.
        paths: only these files and folders, relative to `folder`.

    Raises:
        HoneError: it is no unified diff, is damaged, or has a file twice.
    """
    sections = hunks.read(diff.decode("utf-8", "surrogateescape"))
    base = top or folder
    wanted = [from_git.from_top(folder, path, base) for path in paths]
    files: dict[str, FileChange] = {}
    skipped: list[Skipped] = []
    partial: list[str] = []
    with ExitStack() as stack:
        marks: worth.MarksOf = stack.enter_context(attributes.marks(top, None)) if top else lambda path: Marks()
        for section in sections:
            path = _name(section, base)
            if wanted and not any(PurePosixPath(path).is_relative_to(one) for one in wanted):
                continue
            if path in files:
                raise HoneError(f"the diff has {path} more than once; review one change at a time")
            made = _change(path, section, base, top, marks)
            if isinstance(made, Skipped):
                skipped.append(made)
            elif made is not None:
                files[path] = made
                if not made.is_whole:
                    partial.append(path)
    notes: tuple[str, ...] = ()
    if partial:
        named = ", ".join(partial[:3]) + (f" and {len(partial) - 3} more" if len(partial) > 3 else "")
        notes = (f"no content here fits the diff of {named}: analyzers cannot read it, and no fix can be checked",)
    return Changes(
        tuple(sorted(files.values(), key=lambda file: file.path)),
        tuple(sorted(set(skipped), key=lambda one: one.path)),
        notes,
    )


def _name(section: Section, base: Path) -> str:
    """The path of a section's file; git's `a/` and `b/` are taken off unless there is a folder of that name."""
    written = section.new or section.old or ""
    bare = hunks.without_prefix(written)
    if bare != written and worth.is_inside(written) and not (base / bare).exists() and (base / written).is_file():
        return written
    return bare


def _change(
    path: str, section: Section, base: Path, top: Path | None, marks: Callable[[str], Marks]
) -> FileChange | Skipped | None:
    shown = path.encode("utf-8", "replace").decode("utf-8") or _NO_NAME

    def skip(reason: str) -> Skipped:
        return Skipped(shown, reason)

    if section.mode == "160000":
        return skip("a submodule")
    if section.new is None:
        return skip("deleted")
    if section.mode == "120000":
        return skip("a symbolic link")
    if shown != path:
        return skip("its name is not UTF-8")
    reason = worth.by_path(path, marks(path) if worth.is_inside(path) else Marks())
    if reason is not None:
        return skip(reason)
    if section.is_binary:
        return skip("binary")
    if not section.lines.added and not section.lines.removed:
        return None
    data = _content(section, base / path, top)
    lines = section.lines
    is_whole = data is not None
    if data is None:
        last = max(lines.new, default=0)
        data = "".join(lines.new.get(number, "") + "\n" for number in range(1, last + 1)).encode(
            "utf-8", "surrogateescape"
        )
    reason = worth.by_content(path, data, marks(path))
    if reason is not None:
        return skip(reason)
    old = hunks.without_prefix(section.old) if section.old else None
    return FileChange(
        path, data, lines.added, lines.removed, old if old != path else None, section.old is None, is_whole
    )


def _content(section: Section, file: Path, top: Path | None) -> bytes | None:
    """The whole new content, None where nothing at hand fits the diff."""
    lines = section.lines
    if section.old is None:
        return _joined([lines.new[number] for number in sorted(lines.new)], not lines.ends_without_newline)
    if top is not None and section.blob is not None:
        done = git.run(top, "cat-file", "blob", section.blob)
        if done.returncode == 0 and _fits(_split(done.stdout), lines.new):
            return done.stdout
    try:
        data = file.read_bytes() if not file.is_symlink() else b""
    except OSError:
        return None
    found = _split(data)
    if lines.new and _fits(found, lines.new):
        return data
    if _fits(found, lines.old):
        return _applied(data, lines)
    return None


def _split(data: bytes) -> list[str]:
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _fits(found: Sequence[str], shown: dict[int, str]) -> bool:
    """Whether a file has the shown lines at their numbers. A diff may have lost the `\\r` of line ends on its way."""
    return all(
        1 <= number <= len(found) and found[number - 1].removesuffix("\r") == text.removesuffix("\r")
        for number, text in shown.items()
    )


def _applied(data: bytes, lines: Lines) -> bytes:
    """The content with the diff applied; `lines.old` fits it."""
    old = _split(data)
    end = "\r" if old and all(line.endswith("\r") for line in old) else ""
    rest = iter([line for number, line in enumerate(old, 1) if number not in lines.gone])
    made: list[str] = []
    for number in range(1, len(old) - len(lines.gone) + len(lines.added) + 1):
        if number in lines.added:
            text = lines.new[number]
            made.append(text if text.endswith("\r") or not end else text + end)
        else:
            made.append(next(rest))
    shows_end = bool(lines.new) and max(lines.new) == len(made)
    ended = not lines.ends_without_newline if shows_end else data.endswith(b"\n")
    return _joined(made, ended)


def _joined(lines: Sequence[str], ended: bool) -> bytes:
    return ("\n".join(lines) + ("\n" if ended and lines else "")).encode("utf-8", "surrogateescape")
