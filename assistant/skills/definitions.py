"""Where names are defined: functions, classes, types and constants, found in syntax trees."""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from assistant.languages import language_of
from assistant.skills import repository
from assistant.syntax import Syntax, grammar_of, parse

_JAVASCRIPT = """
(function_declaration name: (_) @name)
(generator_function_declaration name: (_) @name)
(class_declaration name: (_) @name)
(method_definition name: (_) @name)
(variable_declarator name: (identifier) @name value: [(arrow_function) (function_expression)])
(program (lexical_declaration (variable_declarator name: (identifier) @name)))
(program (export_statement (lexical_declaration (variable_declarator name: (identifier) @name))))
"""
_TYPESCRIPT = """
(interface_declaration name: (_) @name)
(type_alias_declaration name: (_) @name)
(enum_declaration name: (_) @name)
(abstract_class_declaration name: (_) @name)
(function_signature name: (_) @name)
"""
_C = """
(function_definition declarator: (function_declarator declarator: (_) @name))
(function_definition declarator: (pointer_declarator (function_declarator declarator: (_) @name)))
(struct_specifier name: (_) @name body: (_))
(union_specifier name: (_) @name body: (_))
(enum_specifier name: (_) @name body: (_))
(type_definition declarator: (type_identifier) @name)
(preproc_def name: (_) @name)
(preproc_function_def name: (_) @name)
"""
_QUERIES = {
    "python": """
(function_definition name: (_) @name)
(class_definition name: (_) @name)
(module (expression_statement (assignment left: (identifier) @name)))
""",
    "javascript": _JAVASCRIPT,
    "typescript": _JAVASCRIPT + _TYPESCRIPT,
    "go": """
(function_declaration name: (_) @name)
(method_declaration name: (_) @name)
(type_spec name: (_) @name)
(source_file (const_declaration (const_spec name: (_) @name)))
(source_file (var_declaration (var_spec name: (_) @name)))
""",
    "rust": """
(function_item name: (_) @name)
(struct_item name: (_) @name)
(enum_item name: (_) @name)
(union_item name: (_) @name)
(trait_item name: (_) @name)
(type_item name: (_) @name)
(mod_item name: (_) @name)
(const_item name: (_) @name)
(static_item name: (_) @name)
(macro_definition name: (_) @name)
""",
    "java": """
(class_declaration name: (_) @name)
(interface_declaration name: (_) @name)
(enum_declaration name: (_) @name)
(record_declaration name: (_) @name)
(method_declaration name: (_) @name)
(constructor_declaration name: (_) @name)
""",
    "c": _C,
    "cpp": _C
    + """
(function_definition declarator: (reference_declarator (function_declarator declarator: (_) @name)))
(class_specifier name: (_) @name body: (_))
(namespace_definition name: (_) @name)
""",
}
_AROUND = frozenset({"decorated_definition", "export_statement", "template_declaration"})
"""What a definition is wrapped in: shown with it."""
_GROUPS = frozenset(
    {"expression_statement", "lexical_declaration", "type_declaration", "const_declaration", "var_declaration"}
)
"""May hold several definitions; shown with one that stands alone in it."""
_SCOPES = re.compile(
    r"class\w*|.*_class\w*|struct\w*|trait_item|impl_item|interface_\w+|enum_\w+|record_\w+|namespace\w*"
)


@dataclass(frozen=True)
class Definition:
    name: str
    """With what it is defined in: `Cart.total`."""
    path: str
    first: int
    last: int
    """Lines from 1, the last one included."""


def in_text(path: str, text: str) -> list[Definition]:
    """The definitions of a file in their order; none where there is no grammar for its language."""
    language = language_of(path)
    syntax = parse(text, language.name) if language else None
    if syntax is None or language is None:
        return []
    found = [_definition(node, syntax, path) for node in _names(syntax, language.name)]
    return sorted(set(found), key=lambda one: (one.first, -one.last, one.name))


def in_repository(root: Path, name: str, files: Sequence[str] | None = None) -> list[Definition]:
    """Where `name` is defined in the git-tracked files at or below `root`, in the order of the paths.

    Args:
        name: an identifier, or several joined by dots (`Cart.total`), of which the first ones may be left out.
        files: repository paths to look into; None takes all tracked sources.
    """
    last = name.rpartition(".")[2]
    if not last.isidentifier():
        return []
    word = re.compile(rf"\b{re.escape(last)}\b")
    found: list[Definition] = []
    for path in repository.tracked_sources(root) if files is None else files:
        text = _read(root, path)
        if text is not None and word.search(text):
            found += [one for one in in_text(path, text) if one.name == name or one.name.endswith(f".{name}")]
    return found


def everywhere(root: Path, files: Sequence[str]) -> Iterator[Definition]:
    """The definitions of many files."""
    for path in files:
        text = _read(root, path)
        if text is not None:
            yield from in_text(path, text)


def _names(syntax: Syntax, language: str) -> list[Any]:
    import tree_sitter

    cursor = tree_sitter.QueryCursor(_query(language, syntax.grammar))
    return list(cursor.captures(syntax.root).get("name", ()))


@functools.cache
def _query(language: str, grammar: tuple[str, str]) -> Any:
    import tree_sitter

    # A header that only C++ reads is asked C++'s questions.
    source = _QUERIES["cpp"] if grammar[0] == "tree_sitter_cpp" else _QUERIES[language]
    return tree_sitter.Query(grammar_of(*grammar), source)


def _definition(name: Any, syntax: Syntax, path: str) -> Definition:
    node = name.parent
    while node.parent is not None and node.type.endswith("declarator"):
        node = node.parent
    scopes = _scopes(node)
    while node.parent is not None and (
        node.parent.type in _AROUND or (node.parent.type in _GROUPS and node.parent.named_child_count == 1)
    ):
        node = node.parent
    last = node.end_point[0] + (node.end_point[1] > 0)
    written = syntax.data[name.start_byte : name.end_byte].decode("utf-8", "replace").replace("::", ".")
    return Definition(".".join([*scopes, written]), path, node.start_point[0] + 1, max(last, node.start_point[0] + 1))


def _scopes(node: Any) -> list[str]:
    """The names of the classes, types and namespaces around a node, outermost first."""
    names: list[str] = []
    receiver = node.child_by_field_name("receiver")
    if receiver is not None:
        # Go's methods: `func (c *Cart) Total()`.
        words = re.findall(r"\w+", receiver.text.decode("utf-8", "replace"))
        names += words[-1:]
    parent = node.parent
    while parent is not None:
        if _SCOPES.fullmatch(parent.type):
            named = parent.child_by_field_name("name") or parent.child_by_field_name("type")
            if named is not None:
                names.insert(0, named.text.decode("utf-8", "replace").partition("<")[0])
        parent = parent.parent
    return names


def _read(root: Path, path: str) -> str | None:
    try:
        file = root / path
        if file.stat().st_size > repository.MAX_SOURCE_BYTES:
            return None
        return repository.source_text(file.read_bytes(), path)
    except (OSError, HoneError):
        return None
