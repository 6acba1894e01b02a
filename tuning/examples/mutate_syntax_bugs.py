"""The bugs that can be seeded by syntax trees. Each function gives (edits, what is then wrong) for every place."""

import re
from collections.abc import Iterator
from typing import Any

from tuning.examples.mutate_edit import Edit
from tuning.examples.mutate_syntax import (
    Found,
    Tree,
    called_text,
    condition,
    guard_body,
    is_last_of_function,
    is_variable,
    jumps_out_of_loop,
    leaves,
    siblings,
    statement_of_if,
)

_BOUNDARY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_DIRECTION = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_NEGATION = {"==": "!=", "!=": "==", "===": "!==", "!==": "==="}
_BOOLEAN = {"&&": "||", "||": "&&"}
_ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*", "%": "/"}
_NUMBER = re.compile(
    r"^\d+$|^(.*[._])?(len|length|size|count|index|idx|offset|pos|i|j|n)(\(\))?$|^len\(", re.IGNORECASE
)
_NULL = re.compile(r"^(null|nil|NULL|nullptr|undefined|None)$")
_STRICT = frozenset({"go", "rust", "java"})
"""A function of these that ends without a result does not compile."""


def _binary(tree: Tree, swaps: dict[str, str]) -> Iterator[tuple[Any, str, Edit]]:
    for node in tree.of("binary_expression"):
        operator = node.child_by_field_name("operator")
        new = swaps.get(operator.type) if operator is not None else None
        if new:
            yield node, new, tree.replaced(operator, new)


def _sides(node: Any) -> tuple[Any, Any]:
    return node.child_by_field_name("left"), node.child_by_field_name("right")


def comparison_boundary(tree: Tree) -> Found:
    for node, new, edit in _binary(tree, _BOUNDARY):
        if not any(re.search(r"\d\.\d|time|version", tree.text(side), re.IGNORECASE) for side in _sides(node)):
            old = _BOUNDARY[new]
            yield (edit,), f"compares with `{new}` where `{old}` is meant, so the bound itself goes wrong"


def comparison_direction(tree: Tree) -> Found:
    for _, new, edit in _binary(tree, _DIRECTION):
        yield (edit,), f"compares with `{new}` where `{_DIRECTION[new]}` is meant"


def negated_comparison(tree: Tree) -> Found:
    for _, new, edit in _binary(tree, _NEGATION):
        yield (edit,), f"tests `{new}` where `{_NEGATION[new]}` is meant, so the condition is the wrong way round"


def swapped_boolean(tree: Tree) -> Found:
    for _, new, edit in _binary(tree, _BOOLEAN):
        yield (edit,), f"joins the conditions with `{new}` where `{_BOOLEAN[new]}` is meant"


def swapped_arithmetic(tree: Tree) -> Found:
    for node, new, edit in _binary(tree, _ARITHMETIC):
        if any(_NUMBER.match(tree.text(side)) for side in _sides(node)):
            old = tree.text(node.child_by_field_name("operator"))
            yield (edit,), f"uses `{new}` where `{old}` is meant"


def shifted_bound(tree: Tree) -> Found:
    for node in tree.of("binary_expression"):
        left, right = _sides(node)
        operator = node.child_by_field_name("operator")
        by_one = operator is not None and operator.type in ("+", "-") and tree.text(right) == "1"
        if by_one and left.type not in ("binary_expression", "string_literal", "string"):
            yield (tree.replaced(node, tree.text(left)),), f"{tree.text(node)} is meant: off by one"


def wrong_index(tree: Tree) -> Found:
    for node in tree.of("subscript_expression", "index_expression", "array_access"):
        index = node.child_by_field_name("index") or node.named_children[-1]
        if index.type == "subscript_argument_list" and len(index.named_children) == 1:
            index = index.named_children[0]
        text = tree.text(index)
        if re.fullmatch(r"\d{1,3}", text):
            new = int(text) - 1 if int(text) else 1
            yield (tree.replaced(index, str(new)),), f"reads element {new} where element {text} is meant"


def negated_condition(tree: Tree) -> Found:
    for node in tree.of("if_statement", "if_expression"):
        test = condition(node)
        operands = [] if test is None else _operands(test)
        for operand in operands:
            if operand.type in ("identifier", "member_expression", "field_expression", "selector_expression",
                                "field_access", "call_expression", "method_invocation"):  # fmt: skip
                edit = Edit(operand.start_byte, operand.start_byte, "!")
                yield (edit,), "the condition is the wrong way round: there must be no `!`"


def _operands(test: Any) -> list[Any]:
    operator = test.child_by_field_name("operator") if test.type == "binary_expression" else None
    if operator is not None and operator.type in _BOOLEAN:
        return [operand for side in _sides(test) for operand in _operands(side)]
    return [test]


def missing_not(tree: Tree) -> Found:
    for node in tree.of("unary_expression"):
        bang = node.children[0]
        toggles = node.parent.child_by_field_name("left")
        if toggles is not None and tree.text(toggles) == tree.text(node.children[1]):
            # `x = !x` would be left as `x = x`.
            continue
        if bang.type == "!" and node.children[1].type != "unary_expression":
            edit = Edit(bang.start_byte, node.children[1].start_byte, "")
            yield (edit,), "`!` is missing, so the condition is the wrong way round"


def missing_none_check(tree: Tree) -> Found:
    for node in tree.of("if_statement", "if_expression"):
        test = condition(node)
        checked = _null_checked(tree, test) if test is not None else ""
        if checked and not (tree.language == "go" and checked.endswith("err")):
            yield from _removed_guard(tree, node, f"{checked} may be null here and is not checked")


def missing_guard(tree: Tree) -> Found:
    for node in tree.of("if_statement", "if_expression"):
        test = condition(node)
        if test is not None and test.type != "let_condition" and not _null_checked(tree, test):
            if tree.language == "go" and re.search(r"\berr\b", tree.text(test)):
                continue
            text = " ".join(tree.text(test).split())
            yield from _removed_guard(tree, node, f"the case `{text}` is not handled")


def _null_checked(tree: Tree, test: Any) -> str:
    """What a test finds to be null, empty where it is no such test."""
    if test.type == "binary_expression":
        left, right = _sides(test)
        operator = test.child_by_field_name("operator").type
        return tree.text(left) if operator in ("==", "===") and _NULL.match(tree.text(right)) else ""
    if test.type == "unary_expression" and tree.text(test).startswith("!") and tree.language in ("c", "cpp"):
        operand = test.children[1]
        return tree.text(operand) if is_variable(operand) else ""
    if tree.language == "rust" and test.type == "call_expression" and called_text(tree, test).endswith(".is_none"):
        return called_text(tree, test).removesuffix(".is_none")
    return ""


def _removed_guard(tree: Tree, node: Any, description: str) -> Found:
    statement = statement_of_if(node)
    if guard_body(node) is None or node.child_by_field_name("initializer") is not None:
        return
    block = siblings(statement) if statement.parent is not None else []
    lines = tree.statement_lines(statement)
    if lines and len(block) > 1 and statement.parent.type not in ("if_statement", "else_clause", "if_expression"):
        yield (tree.source.without_lines(*lines),), description


def missing_guard_operand(tree: Tree) -> Found:
    for node in tree.of("binary_expression"):
        operator = node.child_by_field_name("operator")
        guard, used = _sides(node)
        if operator is None or operator.type != "&&":
            continue
        start, end = guard.start_byte, used.start_byte
        inner = guard.child_by_field_name("operator") if guard.type == "binary_expression" else None
        if inner is not None and inner.type == "&&":
            # `a && b && b.c` is `(a && b) && b.c`: the guard is the last of the left side.
            before, guard = _sides(guard)
            start, end = before.end_byte, guard.end_byte
        name = _guarded(tree, guard)
        reads = name and re.search(rf"(?<![\w.]){re.escape(name)}\b", tree.text(used))
        if reads and "\n" not in tree.source.slice(start, end):
            yield (Edit(start, end, ""),), f"{name} is not checked before it is used"


def _guarded(tree: Tree, guard: Any) -> str:
    """What `x != null` or a bare `x` finds to be there, empty for any other condition."""
    if guard.type == "binary_expression" and guard.child_by_field_name("operator").type in ("!=", "!=="):
        name, null = _sides(guard)
        return tree.text(name) if is_variable(name) and _NULL.match(tree.text(null)) else ""
    return tree.text(guard) if is_variable(guard) else ""


def missing_return(tree: Tree) -> Found:
    for node in tree.of("return_statement", "return_expression"):
        value = [child for child in node.named_children if "comment" not in child.type]
        if value and value[0].type == "expression_list":
            value = value[0].named_children
        if len(value) != 1:
            continue
        last = is_last_of_function(tree, statement_of_if(node))
        if value[0].type in ("call_expression", "method_invocation", "await_expression"):
            if not (last and tree.language in _STRICT):
                edit = Edit(node.start_byte, value[0].start_byte, "")
                yield (edit,), "the result is not returned: `return` is missing"
        elif last and tree.language not in _STRICT and value[0].type in ("identifier", "member_expression"):
            lines = tree.statement_lines(node)
            if lines and len(siblings(node)) > 1 and node.parent == tree.function.child_by_field_name("body"):
                edit = tree.source.without_lines(*lines)
                yield (edit,), f"the function ends without returning {tree.text(value[0])}"


def swallowed_exception(tree: Tree) -> Found:
    for clause in tree.of("catch_clause"):
        body = clause.child_by_field_name("body")
        if body is not None and body.named_children and body.end_point[0] - body.start_point[0] <= 6:
            yield (tree.replaced(body, "{}"),), "the exception is swallowed: nobody learns of the failure"
    if tree.language == "rust":
        for statement in tree.of("expression_statement"):
            tried = statement.named_children[0]
            if tried.type == "try_expression" and tried.start_point[0] == tried.end_point[0]:
                inner = tree.text(tried.named_children[0])
                yield (tree.replaced(statement, f"let _ = {inner};"),), "the error is dropped: `?` is meant"
    if tree.language == "go":
        yield from _dropped_error(tree)


def _dropped_error(tree: Tree) -> Found:
    """`if err != nil { return err }` removed, and `err` made `_` where nothing else reads it."""
    for node in tree.of("if_statement"):
        test = condition(node)
        lines = tree.statement_lines(node)
        if test is None or tree.text(test) != "err != nil" or guard_body(node) is None or not lines:
            continue
        before = node.prev_named_sibling
        if node.child_by_field_name("initializer") is not None or before is None:
            continue
        left = before.child_by_field_name("left")
        end = tree.function.end_byte
        if left is None or before.type not in ("short_var_declaration", "assignment_statement"):
            continue
        name = left.named_children[-1]
        edits: tuple[Edit, ...] = (tree.source.without_lines(*lines),)
        if not re.search(r"\berr\b", tree.source.slice(node.end_byte, end)):
            if tree.text(name) != "err" or (len(left.named_children) == 1 and before.type != "short_var_declaration"):
                continue
            blank = tree.replaced(name, "_")
            if len(left.named_children) == 1:
                blank = Edit(left.start_byte, before.child_by_field_name("right").start_byte, "_ = ")
            edits = (blank, *edits)
        yield edits, "the error is not checked"


def wrong_constant(tree: Tree) -> Found:
    for node in tree.of("true", "false", "boolean_literal"):
        old = tree.text(node)
        new = {"true": "false", "false": "true"}.get(old)
        loops = node.parent.type in ("while_statement", "parenthesized_expression", "do_statement")
        if new and not loops:
            yield (tree.replaced(node, new),), f"{new} where {old} is meant"


def missing_await(tree: Tree) -> Found:
    if tree.language in ("javascript", "typescript"):
        for node in tree.of("await_expression"):
            edit = Edit(node.start_byte, node.named_children[0].start_byte, "")
            yield (edit,), "the promise is not awaited"


def wrong_jump(tree: Tree) -> Found:
    for node in tree.of("break_statement", "break_expression"):
        if not node.named_children and jumps_out_of_loop(node):
            keyword = node.children[0]
            yield (tree.replaced(keyword, "continue"),), "goes on with the loop where it must end"
    for node in tree.of("continue_statement", "continue_expression"):
        if not node.named_children and jumps_out_of_loop(node):
            yield (tree.replaced(node.children[0], "break"),), "ends the loop where only this step must be skipped"


def lost_update(tree: Tree) -> Found:
    for node in tree.of(
        "augmented_assignment_expression", "assignment_expression", "compound_assignment_expr", "assignment_statement"
    ):
        operator = node.child_by_field_name("operator")
        if operator is not None and tree.text(operator) in ("+=", "-=", "*=", "|=", "&="):
            yield (tree.replaced(operator, "="),), f"overwrites the value: `{tree.text(operator)}` is meant"


def separate_if(tree: Tree) -> Found:
    """`if` for `else if`, where the chain ends in an `else` that then runs after the first branch too."""
    for node in tree.of("if_statement"):
        alternative = node.child_by_field_name("alternative")
        if alternative is None:
            continue
        nested = alternative
        if alternative.type == "else_clause":
            nested = alternative.named_children[0]
        if nested.type != "if_statement" or nested.child_by_field_name("alternative") is None:
            continue
        body = node.child_by_field_name("consequence")
        inner = body.named_children
        inner = inner[0].named_children if len(inner) == 1 and inner[0].type == "statement_list" else inner
        if not inner or leaves(inner[-1]) or node.parent.type in ("else_clause", "if_statement"):
            continue
        keyword = tree.source.slice(body.end_byte, nested.start_byte)
        if keyword.split() == ["else"]:
            indent = tree.source.indent(node.start_point[0] + 1)
            edit = Edit(body.end_byte, nested.start_byte, "\n" + indent)
            yield (edit,), "`else if` is meant: after the branch above, this `else` runs too"
