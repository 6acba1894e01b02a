"""Where a bug can be seeded into a function by its tree-sitter syntax tree: JavaScript, TypeScript, Go, Rust, Java, C
and C++.

Types are unknown here, so an operator only does what keeps code of that kind compiling as a rule.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tuning.examples.mutate_edit import Edit, Source

Found = Iterator[tuple[tuple[Edit, ...], str]]

FUNCTIONS = {
    "javascript": frozenset({"function_declaration", "method_definition", "generator_function_declaration"}),
    "typescript": frozenset({"function_declaration", "method_definition", "generator_function_declaration"}),
    "go": frozenset({"function_declaration", "method_declaration"}),
    "rust": frozenset({"function_item"}),
    "java": frozenset({"method_declaration", "constructor_declaration"}),
    "c": frozenset({"function_definition"}),
    "cpp": frozenset({"function_definition"}),
}
_LOOPS = frozenset(
    [
        "for_statement",
        "for_in_statement",
        "while_statement",
        "do_statement",
        "enhanced_for_statement",
        "for_expression",
        "while_expression",
        "loop_expression",
        "for_range_loop",
    ]
)
_SWITCHES = frozenset(
    [
        "switch_statement",
        "switch_expression",
        "expression_switch_statement",
        "type_switch_statement",
        "select_statement",
    ]
)
_FUNCTION_LIKE = re.compile(r"function|lambda|closure|func_literal|method_d")
_CALLS = frozenset({"call_expression", "method_invocation"})
_LEFT_OUT = re.compile(
    r"comment|string|char_literal|attribute|annotation|preproc|decorator|^throw_|macro_invocation|static_assert|"
    r"^type_|_type$|_types$|parameters$|^const_|template_argument_list|^ERROR$"
)
_TALK = re.compile(
    r"(^|[.:])(console|log|logger|fmt|print\w*|[fsv]*n?printf|puts|fputs|error[fln]*|warn\w*|info\w*|debug\w*|trace\w*|"
    r"fatal\w*|panic\w*|assert\w*|expect|describe|it|test|require)([.:]|$)",
    re.IGNORECASE,
)
_VARIABLES = frozenset(
    [
        "identifier",
        "member_expression",
        "field_expression",
        "selector_expression",
        "field_access",
        "subscript_expression",
        "index_expression",
        "array_access",
    ]
)
_LEAVES = frozenset(
    [
        "return_statement",
        "throw_statement",
        "break_statement",
        "continue_statement",
        "return_expression",
        "break_expression",
        "continue_expression",
    ]
)


@dataclass
class Tree:
    """One function's nodes by type, and what the operators ask about them.

    Left out: comments, strings, annotations, types, thrown errors, and calls that print or log.
    """

    source: Source
    language: str
    function: Any
    nodes: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))

    def of(self, *kinds: str) -> Iterator[Any]:
        for kind in kinds:
            yield from self.nodes[kind]

    def text(self, node: Any) -> str:
        return self.source.slice(node.start_byte, node.end_byte)

    def replaced(self, node: Any, text: str) -> Edit:
        return Edit(node.start_byte, node.end_byte, text)

    def statement_lines(self, node: Any) -> tuple[int, int] | None:
        """The lines that a statement shares with nothing else, the comments right above it included."""
        if not self.source.alone(node.start_byte, node.end_byte):
            return None
        top = node.start_point[0] + 1
        indent = self.source.indent(top)
        while top > 1 and self.source.line(top - 1).startswith(indent + "//"):
            top -= 1
        return top, node.end_point[0] + 1


def errors(root: Any) -> int:
    """ERROR and MISSING nodes of a tree."""
    count = 0
    stack = [root] if root.has_error else []
    while stack:
        node = stack.pop()
        count += node.is_error or node.is_missing
        stack += [child for child in node.children if child.has_error or child.is_missing]
    return count


def leaf_texts(root: Any) -> list[bytes]:
    """What a tree says: its words and signs, without comments and blanks."""
    pieces = []
    stack = [root]
    while stack:
        node = stack.pop()
        if not node.children and "comment" not in node.type:
            pieces.append(node.text)
        stack += reversed(node.children)
    return pieces


def functions(root: Any, language: str) -> Iterator[Any]:
    """Function nodes that stand in no other function, in order."""
    stack = [root]
    while stack:
        node = stack.pop()
        if node.type in FUNCTIONS[language] and node.child_by_field_name("body") is not None:
            yield node
        elif node.type not in FUNCTIONS[language]:
            stack += reversed(node.named_children)


def tree_of(source: Source, language: str, function: Any) -> Tree:
    tree = Tree(source, language, function)
    stack = [function]
    while stack:
        node = stack.pop()
        tree.nodes[node.type].append(node)
        if node.type in _CALLS and _TALK.search(called_text(tree, node)):
            continue
        stack += reversed([child for child in node.children if not _LEFT_OUT.search(child.type)])
    return tree


def called_text(tree: Tree, call: Any) -> str:
    """What is called: `a.b` for `a.b(c)`."""
    if call.type == "method_invocation":
        owner, name = call.child_by_field_name("object"), call.child_by_field_name("name")
        return (tree.text(owner) + "." if owner else "") + tree.text(name)
    target = call.child_by_field_name("function")
    return tree.text(target) if target else ""


def siblings(node: Any) -> list[Any]:
    """The statements of the block that a statement stands in, comments left out."""
    return [child for child in node.parent.named_children if "comment" not in child.type]


def is_last_of_function(tree: Tree, node: Any) -> bool:
    """No statement of the function follows."""
    current = node
    while current != tree.function.child_by_field_name("body"):
        if current.parent is None or siblings(current)[-1] != current or current.type in _LOOPS:
            return False
        current = current.parent
    return True


def jumps_out_of_loop(node: Any) -> bool:
    """The nearest loop or switch around a `break` is a loop."""
    current = node.parent
    while current is not None and not _FUNCTION_LIKE.search(current.type):
        if current.type in _LOOPS:
            return True
        if current.type in _SWITCHES:
            return False
        current = current.parent
    return False


def leaves(node: Any) -> bool:
    """A statement after which control does not go on."""
    inner = node.named_children[0] if node.type == "expression_statement" and node.named_children else node
    return inner.type in _LEAVES


def guard_body(node: Any) -> Any | None:
    """The one leaving statement of an `if` without `else`, None for any other statement."""
    body = node.child_by_field_name("consequence")
    if body is None or node.child_by_field_name("alternative") is not None:
        return None
    inner = [child for child in _flat(body) if "comment" not in child.type]
    if leaves(body):
        return body
    return inner[0] if len(inner) == 1 and leaves(inner[0]) else None


def _flat(body: Any) -> list[Any]:
    children: list[Any] = body.named_children
    if len(children) == 1 and children[0].type == "statement_list":
        return list(children[0].named_children)
    return children


def statement_of_if(node: Any) -> Any:
    """The statement that an `if` is: in Rust it is an expression inside one."""
    return node.parent if node.parent is not None and node.parent.type == "expression_statement" else node


def condition(node: Any) -> Any | None:
    """The condition of an `if` without its brackets."""
    test = node.child_by_field_name("condition")
    while test is not None and test.type in ("parenthesized_expression", "condition_clause"):
        inner = [child for child in test.named_children if "comment" not in child.type]
        if len(inner) != 1:
            return None
        test = inner[0]
    return test


def is_variable(node: Any) -> bool:
    """A name, an attribute of something, or an element."""
    return node.type in _VARIABLES
