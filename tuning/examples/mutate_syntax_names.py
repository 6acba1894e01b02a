"""Wrong names by syntax trees: another variable in scope, or two arguments the wrong way round.

Where types are written, a variable is only replaced by one of the same type.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tuning.examples.mutate_syntax import Found, Tree, called_text, is_variable

_DECLARATIONS = frozenset(
    [
        "required_parameter",
        "optional_parameter",
        "parameter_declaration",
        "parameter",
        "formal_parameter",
        "local_variable_declaration",
        "declaration",
        "let_declaration",
        "variable_declarator",
        "short_var_declaration",
        "var_spec",
    ]
)
_SYMMETRIC = re.compile(
    r"(^|[.:_>])(max|min|swap|equals?|hypot|gcd|log\w*|push|append|push_back|insert|add|of|asList|concat|all|any|race)$",
    re.IGNORECASE,
)


def swapped_arguments(tree: Tree) -> Found:
    types = {declared.name: declared.type for declared in declarations(tree)}
    for call in tree.of("call_expression", "method_invocation", "new_expression", "object_creation_expression"):
        arguments = call.child_by_field_name("arguments")
        if arguments is None or _SYMMETRIC.search(called_text(tree, call)):
            continue
        given = [child for child in arguments.named_children if "comment" not in child.type]
        for left, right in itertools.pairwise(given):
            one, two = tree.text(left), tree.text(right)
            if one == two or not is_variable(left) or not is_variable(right) or "\n" in one + two:
                continue
            if types.get(one) != types.get(two) and types.get(one) and types.get(two):
                continue
            edits = (tree.replaced(left, two), tree.replaced(right, one))
            yield edits, f"the arguments {one} and {two} are the wrong way round"


def wrong_variable(tree: Tree) -> Found:
    declared = declarations(tree)
    names = {item.name for item in declared}
    for node in tree.of("identifier"):
        text, parent = tree.text(node), node.parent
        if text not in names or parent.type in _NOT_USES or _is_bound_or_called(parent, node):
            continue
        types = {item.type for item in declared if item.name == text}
        for item in declared:
            alike = (item.type and {item.type} == types) or (
                (not item.type or tree.language == "typescript") and set(_words(item.name)) & set(_words(text))
            )
            visible = item.start <= node.start_byte < item.end
            if item.name != text and alike and visible and item.name not in _beside(tree, node):
                yield (tree.replaced(node, item.name),), f"uses {item.name} where {text} is meant"


_NOT_USES = frozenset(
    [
        "required_parameter",
        "optional_parameter",
        "parameter_declaration",
        "parameter",
        "formal_parameter",
        "let_declaration",
        "variable_declarator",
        "init_declarator",
        "pointer_declarator",
        "reference_declarator",
        "array_declarator",
        "labeled_statement",
        "update_expression",
        "inc_statement",
        "dec_statement",
        "keyed_element",
        "shorthand_field_initializer",
    ]
)


def _is_bound_or_called(parent: Any, node: Any) -> bool:
    names = ("left", "name", "function", "field", "pattern", "declarator")
    if parent.type == "expression_list" and parent.parent is not None:
        parent, node = parent.parent, parent
        return bool(parent.child_by_field_name("left") == node)
    if parent.type == "binary_expression":
        return False
    if parent.type == "variable_declarator" and parent.child_by_field_name("value") == node:
        return False
    return any(parent.child_by_field_name(name) == node for name in names)


def _beside(tree: Tree, node: Any) -> set[str]:
    """The texts around a name: with one of them in its place the code would read absurd."""
    outer = node.parent.parent if node.parent.type in ("expression_list", "init_declarator") else node.parent
    return {tree.text(child) for child in (*node.parent.named_children, *outer.named_children)}


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Za-z][a-z]+|[A-Z]+", name) if len(word) > 2]


@dataclass(frozen=True)
class Declared:
    """A parameter or local variable: its type as written (empty if unwritten), and where it can be used."""

    name: str
    type: str
    start: int
    end: int


def declarations(tree: Tree) -> list[Declared]:
    """Parameters and local variables with one declared name each."""
    found = []
    body = tree.function.child_by_field_name("body")
    parameters = tree.function.child_by_field_name("parameters")
    if tree.language == "javascript" and parameters is not None:
        found += [
            Declared(tree.text(name), "", body.start_byte, body.end_byte)
            for name in parameters.named_children
            if name.type == "identifier"
        ]
    for node in _declaring(tree.function):
        name = _declared_name(node)
        if name is None:
            continue
        kind = node.child_by_field_name("type")
        if node.type == "variable_declarator" and kind is None and node.parent.type == "local_variable_declaration":
            kind = node.parent.child_by_field_name("type")
        holder = node.parent
        while holder.type in ("lexical_declaration", "variable_declaration", "local_variable_declaration", "var_spec"):
            holder = holder.parent
        inside = parameters is not None and parameters.start_byte <= node.start_byte < parameters.end_byte
        if inside or holder.type in ("parameter_list", "formal_parameters", "parameters"):
            # Of the function itself; a closure's parameters are bound in the closure only.
            if inside or _within_declarator(tree, node):
                found.append(Declared(tree.text(name), _type_text(tree, kind), body.start_byte, body.end_byte))
            continue
        found.append(Declared(tree.text(name), _type_text(tree, kind), node.end_byte, holder.end_byte))
    return found


def _declaring(function: Any) -> Iterator[Any]:
    stack = [function]
    while stack:
        node = stack.pop()
        if node.type in _DECLARATIONS:
            yield node
        stack += reversed(node.named_children)


def _within_declarator(tree: Tree, node: Any) -> bool:
    declarator = tree.function.child_by_field_name("declarator")
    return declarator is not None and declarator.start_byte <= node.start_byte < declarator.end_byte


def _declared_name(node: Any) -> Any | None:
    """The identifier that a declaration declares, None where it declares several or none."""
    if node.type == "short_var_declaration":
        names = node.child_by_field_name("left").named_children
        return names[0] if len(names) == 1 else None
    for name in ("name", "pattern", "declarator"):
        inner = node.child_by_field_name(name)
        if inner is None:
            continue
        while inner.type in ("init_declarator", "pointer_declarator", "reference_declarator", "array_declarator"):
            following = inner.child_by_field_name("declarator")
            if following is None:
                following = inner.named_children[-1]
            inner = following
        return inner if inner.type == "identifier" else None
    return None


def _type_text(tree: Tree, kind: Any | None) -> str:
    return "" if kind is None else " ".join(tree.text(kind).lstrip(":").split())
