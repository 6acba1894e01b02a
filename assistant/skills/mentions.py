"""Mentions in a prompt: `@src/app.py`, `@src/app.py:10-40`, `@src/`, `@diff`, `@diff:staged` and `@Cart.total`.

A mention begins a word. Inside of code (backticks, fences) and in front of a definition (`@property`) an `@` is a part
of the code, and `\\@` is an `@`. `@"a name.py"` is for names with blanks.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from assistant.errors import HoneError, UsageError
from assistant.skills import confine, definitions, diffs, repository
from assistant.skills.material import Material

MAX_FILE_BYTES = 4_000_000
MAX_LINES_BYTES = 256_000_000
"""Of a file of which some lines are named; these too have at most `MAX_FILE_BYTES`."""
MAX_FOLDER_FILES = 400
MAX_FOLDER_BYTES = 400_000
"""Of the contents that follow a folder's listing; far more than a context holds."""
MAX_DEFINITIONS = 5

_MENTION = re.compile(r'(?<![\w@.`\\/])@(?:"(?P<quoted>[^"\n]+)"(?P<range>:[0-9]+(?:-[0-9]+)?)?|(?P<plain>[^\s@"`]+))')
_CODE = re.compile(r"^(?P<mark>`{3,}|~{3,}).*?(?:^(?P=mark)|\Z)|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_DECORATOR = re.compile(
    r"^[ \t]*@[\w.]+(?:\(.*\))?[ \t]*\n(?=(?:[ \t]*@.*\n)*[ \t]*(?:async |export |public |private |protected |static |"
    r"final |abstract |def |class |function |interface |record |void )|[ \t]*@)",
    re.MULTILINE,
)
_LINES = re.compile(r"(?P<path>.+?):(?P<first>[0-9]{1,9})(?:-(?P<last>[0-9]{1,9}))?", re.DOTALL)
_PUNCTUATION = ".,;:!?)]}>'"


@dataclass(frozen=True)
class Mention:
    written: str
    """Without the `@`."""
    start: int
    end: int


@dataclass(frozen=True)
class Place:
    """Where a prompt is written: paths are read from `folder`; `root` is the repository's (`folder` outside of one)."""

    folder: Path
    root: Path
    in_git: bool = True

    @classmethod
    def here(cls) -> "Place":
        folder = Path.cwd()
        root = repository.root_of(folder)
        return cls(folder, root or folder, root is not None)


@dataclass(frozen=True)
class Expanded:
    """A prompt with what it mentions. `text` is what was typed, without the marks that protect an `@`."""

    text: str
    materials: tuple[Material, ...] = field(default=())


def find(prompt: str) -> list[Mention]:
    """The mentions of a prompt, in order; whether they name something is not asked here."""
    code = [match.span() for match in (*_CODE.finditer(prompt), *_DECORATOR.finditer(prompt))]
    found = []
    for match in _MENTION.finditer(prompt):
        if any(start <= match.start() < end for start, end in code):
            continue
        if match["quoted"]:
            found.append(Mention(match["quoted"] + (match["range"] or ""), match.start(), match.end()))
        elif plain := (match["plain"] if match["plain"] in (".", "..") else match["plain"].rstrip(_PUNCTUATION)):
            found.append(Mention(plain, match.start(), match.start() + 1 + len(plain)))
    return found


def expand(prompt: str, place: Place) -> Expanded:
    """Reads what a prompt mentions.

    Raises:
        HoneError: a mention that names nothing (the nearest name is told), that leads out of the repository, or a file
            that holds secrets, is binary or too large.
    """
    materials: dict[str, Material] = {}
    for mention in find(prompt):
        for material in read(mention.written, place):
            materials.setdefault(f"{material.kind} {material.title}", material)
    return Expanded(prompt.replace("\\@", "@"), tuple(materials.values()))


def read(written: str, place: Place) -> list[Material]:
    """What one mention shows.

    Raises:
        HoneError: see `expand`.
    """
    if written == "diff" or written.startswith("diff:"):
        return [_diff(written, place)]
    name, first, last = _range_of(written, place)
    path = confine.inside(name, place.folder, place.root)
    # These answer for what cannot be a file's name, too, as a long word behind an `@`.
    if not os.path.exists(path) and place.folder != place.root and not Path(name).is_absolute():
        path = confine.inside(name, place.root, place.root)
    if os.path.isdir(path):
        if first:
            raise UsageError(f"@{written}: {name} is a folder, which has no lines")
        return folder(path, place)
    if os.path.exists(path):
        return [_file(path, name, first, last, place)]
    if first is None and (found := _symbol(name, place)):
        return found
    raise HoneError(f"@{written} names no file, folder or definition here; {_nearest(name, place)}")


def _range_of(written: str, place: Place) -> tuple[str, int | None, int | None]:
    match = _LINES.fullmatch(written)
    if match is None or os.path.exists(place.folder / written):
        return written, None, None
    first = int(match["first"])
    last = int(match["last"]) if match["last"] else first
    if first < 1 or last < first:
        raise UsageError(f"@{written}: lines count from 1, the first one before the last")
    return match["path"], first, last


def _file(path: Path, written: str, first: int | None, last: int | None, place: Place) -> Material:
    title = shown_path(path, place)
    if first is None or last is None:
        return Material("file", title, read_text(path, written), title, 1)
    text = read_text(path, written, MAX_LINES_BYTES)
    lines = text.split("\n")
    count = len(lines) - (lines[-1] == "")
    if first > count:
        raise UsageError(f"@{written}:{first}: {title} has {count} line{'s' * (count != 1)}")
    last = min(last, count)
    what = f"line {first}" if first == last else f"lines {first}-{last}"
    shown = "\n".join(lines[first - 1 : last]) + "\n"
    if len(shown) > MAX_FILE_BYTES:
        raise HoneError(f"@{written}:{first}-{last} has {len(shown) / 1e6:.1f} MB; name fewer lines")
    return Material("file", f"{title}, {what}", shown, title, first)


def shown_path(path: Path, place: Place) -> str:
    """From the repository's root with `/`; absolute outside of it."""
    root = place.root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def read_text(path: Path, written: str, most_bytes: int = MAX_FILE_BYTES) -> str:
    """The text of a file that may be shown, its line ends as `\\n`.

    Raises:
        HoneError: it holds secrets, is binary or larger than `most_bytes`, or cannot be read.
    """
    if (why := confine.secret_by_name(path) or confine.secret_by_name(Path(written))) is not None:
        raise HoneError(f"@{written} is not shown to the model: {why}")
    try:
        if not path.is_file():
            raise HoneError(f"@{written} is no ordinary file")
        size = path.stat().st_size
        if size > most_bytes:
            hint = f"name some lines of it: @{written}:1-200"
            if size > MAX_LINES_BYTES:
                hint = "copy the part that matters into a file of its own"
            raise HoneError(f"@{written} has {size / 1e6:.1f} MB; {hint}")
        data = path.read_bytes()
    except OSError as error:
        raise HoneError(f"cannot read @{written}: {error.strerror}") from error
    if b"\0" in data:
        raise HoneError(f"@{written} is a binary file; only text can be shown to the model")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise HoneError(f"@{written} is not UTF-8 text (byte {error.start}); convert it first") from error
    if (why := confine.secret_by_content(text)) is not None:
        raise HoneError(f"@{written} is not shown to the model: {why}")
    return text


def folder(path: Path, place: Place) -> list[Material]:
    """The listing of a folder, then the contents of its files: git-tracked ones, outside of git those not hidden."""
    names = repository.files(path) if place.in_git else None
    if names is None:
        names = _walk(path)
    title = shown_path(path, place).rstrip("/") or "."
    if not names:
        raise HoneError(f"@{title} holds no files that can be shown")
    listing = "\n".join(names[:MAX_FOLDER_FILES]) + "\n"
    more = len(names) - MAX_FOLDER_FILES
    found = [Material("folder", f"Files in {title}", listing, title, note=f"{more} more files" if more > 0 else "")]
    size, skipped = 0, 0
    for name in names[:MAX_FOLDER_FILES]:
        try:
            resolved = confine.inside(str(Path(title, name)) if title != "." else name, place.root, place.root)
            if size > MAX_FOLDER_BYTES:
                raise HoneError("enough")
            text = read_text(resolved, name)
        except HoneError:
            skipped += 1
            continue
        size += len(text)
        whole = f"{title}/{name}" if title != "." else name
        found.append(Material("file", whole, text, whole, 1))
    if skipped:
        note = f"{skipped} files are listed only (binary, large, secret, or beyond {MAX_FOLDER_BYTES // 1000} kB)"
        found[0] = replace(found[0], note="; ".join(part for part in (found[0].note, note) if part))
    return found


def _walk(path: Path) -> list[str]:
    names: list[str] = []
    for parent, folders, files in os.walk(path):
        folders[:] = sorted(
            one for one in folders if not one.startswith(".") and one not in ("node_modules", "__pycache__")
        )
        names += [(Path(parent) / one).relative_to(path).as_posix() for one in files if not one.startswith(".")]
        if len(names) > MAX_FOLDER_FILES:
            break
    return sorted(names)


def _symbol(name: str, place: Place) -> list[Material]:
    if not place.in_git:
        return []
    found = definitions.in_repository(place.root, name)
    materials = []
    for one in found[:MAX_DEFINITIONS]:
        try:
            text = read_text(confine.inside(one.path, place.root, place.root), one.path)
        except HoneError:
            continue
        lines = text.split("\n")[one.first - 1 : one.last]
        title = f"{one.name} in {one.path}, lines {one.first}-{one.last}"
        materials.append(Material("symbol", title, "\n".join(lines) + "\n", one.path, one.first))
    if materials and len(found) > MAX_DEFINITIONS:
        note = f"{len(found) - MAX_DEFINITIONS} more definitions of {name} are not shown"
        materials[-1] = replace(materials[-1], note=note)
    return materials


def _diff(written: str, place: Place) -> Material:
    if not place.in_git:
        raise HoneError(f"@{written}: {place.folder} is no git repository")
    which = written.partition(":")[2]
    if which not in ("", "staged"):
        raise UsageError(f"@{written} is unknown; there are @diff (not staged yet) and @diff:staged")
    text = diffs.of_working_tree(place.root, staged=which == "staged")
    shown, left_out = diffs.without_secrets(text)
    if not shown.strip() and not left_out:
        other = "@diff:staged" if not which else "@diff"
        raise HoneError(
            f"@{written}: there are no {'staged' if which else 'unstaged'} changes; {other} shows the others"
        )
    note = f"not shown, since they may hold secrets: {', '.join(left_out)}" if left_out else ""
    return Material("diff", "Staged changes" if which else "Changes", shown, note=note)


def _nearest(name: str, place: Place) -> str:
    names = candidates(place)
    near = nearest(name, [one for one in names if not one.endswith("/")] + ["diff"])
    if near is None and place.in_git:
        last = name.rpartition(".")[2]
        symbols = {one.name for one in definitions.everywhere(place.root, repository.tracked_sources(place.root))}
        near = nearest(last, sorted(symbols | {one.rpartition(".")[2] for one in symbols}))
    return f"did you mean @{near}?" if near else "a plain @ is written \\@"


def candidates(place: Place) -> list[str]:
    """The files and folders (with a `/`) that can be mentioned, from the repository's root."""
    names = (repository.files(place.root) if place.in_git else None) or _walk(place.root)
    shown = [name for name in names if confine.secret_by_name(Path(name)) is None]
    folders = {f"{parent.as_posix()}/" for name in shown for parent in Path(name).parents if parent != Path(".")}
    return sorted([*shown, *folders])


def nearest(name: str, known: Sequence[str], cutoff: float = 0.6) -> str | None:
    """The known name most like a mistyped one: by the whole name, else by the last part of a path."""
    whole = get_close_matches(name, known, n=1, cutoff=cutoff)
    if whole:
        return whole[0]
    ends: dict[str, str] = {}
    for one in known:
        ends.setdefault(_last(one), one)
    found = get_close_matches(_last(name), list(ends), n=1, cutoff=cutoff)
    return ends[found[0]] if found else None


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
