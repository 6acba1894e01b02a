"""A patch from a model's answer: one that applies, that parses, and that changes nothing it was not asked to change."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from assistant.errors import HoneError
from assistant.languages import language_of
from assistant.skills import definitions, diffs
from assistant.skills.blocks import Code, split
from assistant.skills.material import Material
from assistant.skills.tasks import Skill
from assistant.syntax import parse

_UNIFIED = re.compile(r"^(?:diff --git |--- )", re.MULTILINE)


class NoPatchError(HoneError):
    """The answer holds nothing that a patch can be made from; the line says what is missing."""


@dataclass(frozen=True)
class Change:
    """A file before and after; `before` None is a new file. Line ends are the file's own."""

    path: str
    before: str | None
    after: str

    @property
    def diff(self) -> str:
        """Unified, with git's `a/` and `b/`."""
        old, new = f"a/{self.path}", f"b/{self.path}"
        head = "" if self.before is not None else f"diff --git {old} {new}\nnew file mode 100644\n"
        lines = difflib.unified_diff(
            _lines(self.before or ""), _lines(self.after), old if self.before is not None else "/dev/null", new
        )
        marked = (line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)
        return head + "".join(marked)


def from_answer(skill: Skill, answer: str, target: Material, root: Path) -> Change:
    """The change of `target`'s file (or, for tests, of a file beside it) that an answer gives.

    Raises:
        NoPatchError: the answer gives none that could be applied as it is.
    """
    if skill.gives == "words":
        raise NoPatchError(f"{skill.name} gives words, no patch")
    if not target.path or PurePosixPath(target.path).is_absolute():
        raise NoPatchError(f"a patch needs a file of this repository, and {target.title} is none")
    if not target.first:
        raise NoPatchError(f"a patch needs one file, some of its lines or a definition, and {target.title} is more")
    code = [block for block in split(answer) if isinstance(block, Code) and block.text.strip()]
    if not code:
        raise NoPatchError(
            "the model gave no code, so there is no patch; ask again, or read its answer without --patch"
        )
    if skill.gives == "tests":
        change = _tests(code, target, root)
    else:
        change = _unified(code, target, root) or replacement(_longest(code).text, target, root)
        _check_whole(change, target)
    if change.before == change.after:
        raise NoPatchError("the model gave back the same code, so there is no patch")
    _check_syntax(change)
    if skill.name == "docstring" and not same_code(change):
        raise NoPatchError("the model changed the code and not only its documentation, so there is no patch")
    if (why := diffs.applies(root, change.diff)) is not None:
        raise NoPatchError(f"the model's patch does not apply: {why}")
    return change


def replacement(code: str, target: Material, root: Path) -> Change:
    """The target's file with `code` in place of the lines that `target` shows, at their indentation.

    Raises:
        NoPatchError: only a part of the lines was shown, or the file changed meanwhile.
    """
    if target.note:
        raise NoPatchError(f"the model saw only a part of {target.path} ({target.note}); name fewer lines")
    before = _read(root, target.path)
    lines = _lines(before)
    old = lines[target.first - 1 : target.last]
    if "".join(old).replace("\r\n", "\n").rstrip("\n") != target.text.rstrip("\n"):
        raise NoPatchError(f"{target.path} has changed since the model read it; ask again")
    end = "\r\n" if before.count("\r\n") * 2 > before.count("\n") else "\n"
    new = [line + end for line in indented(code.rstrip("\n").split("\n"), old)]
    if old and not old[-1].endswith("\n"):
        new[-1] = new[-1].removesuffix(end)
    return Change(target.path, before, "".join([*lines[: target.first - 1], *new, *lines[target.last :]]))


def same_code(change: Change) -> bool:
    """Whether a change touches comments and docstrings only; False where there is no grammar to tell."""
    before, after = (_leaves(change.path, text) for text in (change.before or "", change.after))
    return before is not None and before == after


def indented(code: Sequence[str], old: Sequence[str]) -> list[str]:
    """Code moved to the indentation of what it replaces: models write methods from the first column."""
    wanted, given = _indent(old), _indent(code)
    if wanted == given:
        return list(code)
    return [wanted + line.removeprefix(given) if line.strip() else "" for line in code]


def _indent(lines: Sequence[str]) -> str:
    first = next((line for line in lines if line.strip()), "")
    return first[: len(first) - len(first.lstrip(" \t"))]


def _tests(code: Sequence[Code], target: Material, root: Path) -> Change:
    path = test_path(target.path, root)
    new = _longest(code).text.rstrip("\n") + "\n"
    if not (root / path).exists():
        return Change(path, None, new)
    before = _read(root, path)
    return Change(path, before, f"{before.rstrip(chr(10))}\n\n\n{new}")


def test_path(path: str, root: Path) -> str:
    """Where tests of a file are kept by its language's custom, beside it where there is none."""
    source = PurePosixPath(path)
    language = language_of(path)
    match language.name if language else "":
        case "python":
            folder = (
                PurePosixPath("tests") if (root / "tests").is_dir() or source.parent == PurePosixPath("src") else None
            )
            return str((folder or source.parent) / f"test_{source.stem}.py")
        case "go":
            return str(source.with_name(f"{source.stem}_test.go"))
        case "java":
            return str(source.with_name(f"{source.stem}Test.java")).replace("src/main/", "src/test/")
        case _:
            return str(source.with_name(f"{source.stem}.test{source.suffix}"))


def _unified(code: Sequence[Code], target: Material, root: Path) -> Change | None:
    """A unified diff of the model's own, when it changes the target's file alone and applies."""
    from unidiff import PatchSet
    from unidiff.errors import UnidiffParseError

    block = next((one for one in code if one.language in ("diff", "patch") or _UNIFIED.match(one.text)), None)
    if block is None:
        return None
    try:
        files = list(PatchSet(block.text))
    except UnidiffParseError as error:
        raise NoPatchError(f"the model's patch cannot be read: {' '.join(str(error).split())}") from error
    if [one.path for one in files] != [target.path] or not files[0].is_modified_file:
        raise NoPatchError(f"the model's patch does not change {target.path} alone")
    before = _read(root, target.path)
    after = _applied(files[0], before)
    if after is None:
        raise NoPatchError("the model's patch does not fit the file")
    return Change(target.path, before, after)


def _applied(file: Any, before: str) -> str | None:
    lines = _lines(before)
    after: list[str] = []
    at = 0
    for hunk in file:
        old = [line.value for line in hunk if not line.is_added]
        start = hunk.source_start - 1 if hunk.source_length else hunk.source_start
        if start < at or lines[start : start + len(old)] != old:
            return None
        after += lines[at:start] + [line.value for line in hunk if not line.is_removed]
        at = start + len(old)
    return "".join(after + lines[at:])


def _check_whole(change: Change, target: Material) -> None:
    """Small models give an excerpt back: what they left out must not be deleted."""
    shown = {one.name for one in definitions.in_text(change.path, change.before or "") if _within(one, target)}
    kept = {one.name for one in definitions.in_text(change.path, change.after)}
    if lost := sorted(shown - kept):
        raise NoPatchError(f"the model's code leaves out {', '.join(lost[:3])}, so there is no patch")


def _within(one: definitions.Definition, target: Material) -> bool:
    return target.first <= one.first and one.last <= target.last


def _check_syntax(change: Change) -> None:
    language = language_of(change.path)
    after = parse(change.after, language.name) if language else None
    before = parse(change.before, language.name) if language and change.before is not None else None
    if after is not None and after.root.has_error and not (before is not None and before.root.has_error):
        raise NoPatchError("the model's code has syntax errors, so there is no patch")


def _leaves(path: str, text: str) -> list[str] | None:
    """The tokens of a program without comments and docstrings."""
    language = language_of(path)
    syntax = parse(text, language.name) if language else None
    if syntax is None:
        return None
    leaves: list[str] = []
    pending = [syntax.root]
    while pending:
        node = pending.pop()
        if "comment" in node.type or _is_docstring(node):
            continue
        if node.child_count:
            pending += reversed(node.children)
        elif node.text:
            leaves.append(node.text.decode("utf-8", "replace"))
    return leaves


def _is_docstring(node: Any) -> bool:
    parent = node.parent
    if node.type != "expression_statement" or parent is None or parent.type not in ("block", "module"):
        return False
    first = next((one for one in parent.named_children if one.type != "comment"), None)
    return first == node and node.named_child_count == 1 and node.named_children[0].type == "string"


def _longest(code: Sequence[Code]) -> Code:
    return max(code, key=lambda block: len(block.text))


def _read(root: Path, path: str) -> str:
    try:
        return (root / path).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NoPatchError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from error


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
