"""Which tree-sitter grammar colours a file, and the highlight query that comes with it in its wheel."""

import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from assistant.languages import language_of

if TYPE_CHECKING:
    from tree_sitter import Language, Query


@dataclass(frozen=True)
class _Wheel:
    module: str
    function: str = "language"
    queries: tuple[str, ...] = ()
    """`module/path`; the first is the most general. None: the wheel's own."""


_C = "tree_sitter_c/queries/highlights.scm"
_JAVASCRIPT = "tree_sitter_javascript/queries/highlights.scm"
_JSX = "tree_sitter_javascript/queries/highlights-jsx.scm"
_TYPESCRIPT = "tree_sitter_typescript/queries/highlights.scm"
_WHEELS = {
    "bash": _Wheel("tree_sitter_bash"),
    "c": _Wheel("tree_sitter_c"),
    # C++ and TypeScript add to the queries of the language below them.
    "cpp": _Wheel("tree_sitter_cpp", queries=(_C, "tree_sitter_cpp/queries/highlights.scm")),
    "csharp": _Wheel("tree_sitter_c_sharp"),
    "css": _Wheel("tree_sitter_css"),
    "go": _Wheel("tree_sitter_go"),
    "html": _Wheel("tree_sitter_html"),
    "java": _Wheel("tree_sitter_java"),
    "javascript": _Wheel("tree_sitter_javascript", queries=(_JAVASCRIPT, _JSX)),
    "json": _Wheel("tree_sitter_json"),
    "kotlin": _Wheel("tree_sitter_kotlin"),
    "markdown": _Wheel("tree_sitter_markdown", queries=("tree_sitter_markdown/queries/markdown/highlights.scm",)),
    "php": _Wheel("tree_sitter_php", "language_php"),
    "python": _Wheel("tree_sitter_python"),
    "ruby": _Wheel("tree_sitter_ruby"),
    "rust": _Wheel("tree_sitter_rust"),
    "sql": _Wheel("tree_sitter_sql"),
    "toml": _Wheel("tree_sitter_toml"),
    "tsx": _Wheel("tree_sitter_typescript", "language_tsx", (_JAVASCRIPT, _JSX, _TYPESCRIPT)),
    "typescript": _Wheel("tree_sitter_typescript", "language_typescript", (_JAVASCRIPT, _TYPESCRIPT)),
    "xml": _Wheel("tree_sitter_xml", "language_xml", ("tree_sitter_xml/queries/xml/highlights.scm",)),
    "yaml": _Wheel("tree_sitter_yaml"),
}
_SUFFIXES = {
    ".tsx": "tsx",
    ".json": "json",
    ".toml": "toml",
    ".lock": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".md": "markdown",
    ".markdown": "markdown",
    ".xml": "xml",
    ".svg": "xml",
}
_CAPTURES = (
    (re.compile("comment$"), "comment"),
    (re.compile("interpolation$"), "embedded"),
    (re.compile("^(string|char|verbatim|raw|interpolated|multi).*(literal|string_expression)$"), "string"),
    (re.compile("^(integer|real|number|long|hex|bin|float|unsigned).*literal$|^number$"), "number"),
    (re.compile("^(boolean|null|true|false)(_literal)?$"), "constant"),
    (re.compile("^(predefined_type|type_identifier|user_type)$"), "type"),
)
_LANGUAGES = {"shell": "bash"}


@dataclass(frozen=True)
class Grammar:
    name: str
    language: "Language"
    query: "Query"


def grammar_name(path: str) -> str | None:
    """The grammar for a file by its ending, None when there is none."""
    suffix = PurePath(path).suffix.lower()
    language = language_of(path)
    name = _SUFFIXES.get(suffix) or (_LANGUAGES.get(language.name, language.name) if language else None)
    return name if name in _WHEELS else None


@cache
def grammar(name: str) -> Grammar | None:
    """The grammar called so; None when its wheel is not installed."""
    from tree_sitter import Language, Query

    wheel = _WHEELS[name]
    try:
        module: Any = import_module(wheel.module)
    except ImportError:
        return None
    language = Language(getattr(module, wheel.function)())
    queries = wheel.queries or (f"{wheel.module}/queries/highlights.scm",)
    places = [files(query.split("/")[0]).joinpath(query.split("/", 1)[1]) for query in queries]
    text = "\n".join(place.read_text("utf-8") for place in places if place.is_file())
    return Grammar(name, language, Query(language, text or _told_by_names(language)))


def _told_by_names(language: "Language") -> str:
    """A query for a grammar whose wheel has none: its words are keywords, and the names of its nodes tell the rest."""
    kinds = range(language.node_kind_count)
    names = {language.node_kind_for_id(kind) or "" for kind in kinds if language.node_kind_is_visible(kind)}
    named = {language.node_kind_for_id(kind) or "" for kind in kinds if language.node_kind_is_named(kind)} & names
    lines = [f'"{word}" @keyword' for word in sorted(names - named) if word.isalpha()]
    for name in sorted(named):
        capture = next((capture for pattern, capture in _CAPTURES if pattern.search(name)), None)
        if capture is not None:
            lines.append(f"({name}) @{capture}")
    return "\n".join(lines)
