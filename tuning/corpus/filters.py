"""Which files are taken: by their name, by what their authors say of them, and by their content."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from assistant import handwritten
from assistant.attributes import Marks
from assistant.errors import HoneError
from assistant.languages import language_of
from tuning.corpus import gitignore, licence
from tuning.corpus.document import Document, Dropped, Verdict

MAX_BYTES = 1_000_000
"""A larger source file is data or generated."""


@dataclass(frozen=True)
class Filters:
    """What is taken. Globs are of gitignore syntax, against paths from the root.

    Languages, lines and globs judge files; records of JSONL and datasets are judged by size and licence only.

    Raises:
        HoneError: a language is not known, a licence is no SPDX identifier, a glob matches nothing, or the bounds
            contradict each other.
    """

    languages: frozenset[str] | None = None
    """Names as in `assistant.languages`; None takes all."""
    min_bytes: int = 0
    max_bytes: int = MAX_BYTES
    max_line: int = handwritten.MAX_LINE_CHARACTERS
    """In characters."""
    licences: frozenset[str] | None = None
    """The only ones allowed (SPDX identifiers); then a file whose licence is unknown is left out. None allows all."""
    excluded_licences: frozenset[str] = frozenset()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    dates: bool = False
    """Find the last commit of every file (one pass over the history)."""

    def __post_init__(self) -> None:
        if self.min_bytes < 0 or self.max_bytes < max(1, self.min_bytes) or self.max_line < 1:
            raise HoneError(
                f"no file can have at least {self.min_bytes} and at most {self.max_bytes} bytes in lines of at most "
                f"{self.max_line} characters; change these bounds"
            )
        known = known_languages()
        for language in sorted(self.languages or ()):
            if language not in known:
                raise HoneError(f"{language} is no language that Hone knows; choose from {', '.join(sorted(known))}")
        if self.languages is not None and not self.languages:
            raise HoneError("the list of languages is empty, so nothing could be taken; name one or leave it out")
        for glob in (*self.include, *self.exclude):
            _pattern(glob)
        for identifier in sorted((self.licences or frozenset()) | self.excluded_licences):
            licence.check_identifier(identifier)


def known_languages() -> frozenset[str]:
    from assistant.languages import names

    return names()


def by_path(options: Filters, source: int, path: str) -> Dropped | None:
    """Judges by the path alone."""

    def dropped(verdict: Verdict, reason: str) -> Dropped:
        return Dropped(source, path, verdict, reason)

    excluded = _matching(options.exclude, path)
    if excluded is not None:
        return dropped("not source", f"excluded by {excluded}")
    if options.include and _matching(options.include, path) is None:
        return dropped("not source", f"not among the included {', '.join(options.include)}")
    if handwritten.is_lock_file(path):
        return dropped("generated", "a lock file")
    language = language_of(path)
    if language is None:
        return dropped("not source", "not source code")
    if options.languages is not None and language.name not in options.languages:
        return dropped("wrong language", f"{language.name}; wanted are {', '.join(sorted(options.languages))}")
    if handwritten.is_minified_name(path):
        return dropped("minified", "minified by its name")
    return None


def by_marks(source: int, path: str, marks: Marks) -> Dropped | None:
    """Judges by .gitattributes, and by the folder where those say nothing."""
    if marks.documentation:
        return Dropped(source, path, "not source", "marked linguist-documentation in .gitattributes")
    if marks.vendored:
        return Dropped(source, path, "vendored", "marked linguist-vendored in .gitattributes")
    if marks.generated:
        return Dropped(source, path, "generated", "marked linguist-generated in .gitattributes")
    folder = handwritten.vendored_folder(path)
    if folder is not None and marks.vendored is None:
        return Dropped(source, path, "vendored", f"in a folder {folder}/")
    return None


def by_size(options: Filters, source: int, path: str, size: int) -> Dropped | None:
    if size > options.max_bytes:
        return Dropped(source, path, "too long", f"{size:,} bytes, at most {options.max_bytes:,} are taken")
    if size < options.min_bytes:
        return Dropped(source, path, "too short", f"{size:,} bytes, at least {options.min_bytes:,} are wanted")
    return None


def by_licence(options: Filters, source: int, path: str, found: str | None) -> Dropped | None:
    if found is None:
        if options.licences is None:
            return None
        return Dropped(source, path, "unknown licence", "no licence was found")
    if options.licences is not None and not licence.allowed(found, options.licences):
        return Dropped(source, path, "excluded licence", f"{found} is not among the allowed licences")
    if options.excluded_licences and licence.excluded(found, options.excluded_licences):
        return Dropped(source, path, "excluded licence", f"{found} is excluded")
    return None


def decode(options: Filters, source: int, path: str, raw: bytes, generated: bool | None = None) -> Document | Dropped:
    """Decodes one source file's bytes, or says why it is no training document.

    `generated` False, as its authors may mark it, takes a file that looks generated.
    """

    def dropped(verdict: Verdict, reason: str) -> Dropped:
        return Dropped(source, path, verdict, reason)

    language = language_of(path)
    assert language is not None
    if b"\0" in raw:
        return dropped("binary", "binary")
    if raw.startswith(b"version https://git-lfs"):
        return dropped("lfs", "a pointer of git LFS")
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        return dropped("not UTF-8", f"not UTF-8 (byte {error.start})")
    if not text.strip():
        return dropped("empty", "empty")
    dense = handwritten.dense(text, language.name, options.max_line)
    if dense is not None:
        return dropped("minified", f"minified or data: {dense}")
    if generated is not False and handwritten.says_generated(text):
        return dropped("generated", "it says that it is generated")
    return Document(source, path, text, language.name, None, hashlib.sha256(raw).hexdigest(), len(raw))


def _matching(globs: tuple[str, ...], path: str) -> str | None:
    return next((glob for glob in globs if _pattern(glob).covers(path)), None)


@lru_cache(256)
def _pattern(glob: str) -> gitignore.Pattern:
    pattern = gitignore.parse(glob)
    if pattern is None or pattern.negated:
        raise HoneError(f"the pattern {glob!r} matches nothing; write one such as docs/ or *.sql")
    return pattern
