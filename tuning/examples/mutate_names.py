"""The wrong name in a Python function: another variable, or another attribute of the same object.

A name is only replaced by one that is bound there and that the function uses in a like way, so that the code reads as
if a programmer had slipped.
"""

import ast
import re
from collections import defaultdict

from tuning.examples.mutate_expressions import Found
from tuning.examples.mutate_python import Function, Scope

_MOST_OTHERS = 3
"""Candidates kept per use, so that long functions do not list every pair of names."""


def wrong_variable(scope: Scope) -> Found:
    """Another variable in scope that is used in a like way."""
    if scope.nodes[ast.Global] or scope.nodes[ast.Nonlocal]:
        return
    features: dict[str, set[str]] = defaultdict(set)
    names = scope.of(ast.Name)
    for name in names:
        features[name.id] |= _features(scope, name)
    bound = _bindings(scope)
    aliases = _aliases(scope)
    for name in names:
        if not isinstance(name.ctx, ast.Load) or name.id not in bound or name.id in ("self", "cls"):
            continue
        parent = scope.parents.get(name)
        if isinstance(parent, ast.Call) and parent.func is name:
            continue
        above = {id(ancestor) for ancestor in scope.ancestors(name)}
        others = [
            other
            for other, places in bound.items()
            if other != name.id
            and other not in ("self", "cls", "_")
            and (name.id, other) not in aliases
            and any(line < name.lineno and id(holder) in above for line, holder in places)
            and _alike(name.id, other, features)
            and not _repeats(scope, name, other)
        ]
        for other in others[-_MOST_OTHERS:]:
            yield (scope.replaced(name, other),), f"uses {other} where {name.id} is meant"


def wrong_attribute(scope: Scope) -> Found:
    """Another attribute of the same object that is used in a like way."""
    features: dict[str, set[str]] = defaultdict(set)
    attributes: dict[str, dict[str, None]] = defaultdict(dict)
    plain = [
        node
        for node in scope.of(ast.Attribute)
        if isinstance(node.value, ast.Name) and not _is_called(scope, node) and not node.attr.startswith("__")
    ]
    modules = {argument.arg for argument in scope.of(ast.arg)} | set(_bindings(scope)) | {"self", "cls"}
    for node in plain:
        features[ast.unparse(node)] |= _features(scope, node)
        attributes[node.value.id][node.attr] = None  # type: ignore[attr-defined]
    for node in plain:
        owner = node.value.id  # type: ignore[attr-defined]
        if not isinstance(node.ctx, ast.Load) or owner not in modules:
            continue
        others = [
            other
            for other in attributes[owner]
            if other != node.attr
            and _alike(f"{owner}.{node.attr}", f"{owner}.{other}", features)
            and not _repeats(scope, node, f"{owner}.{other}")
        ]
        for other in others[:_MOST_OTHERS]:
            text = f"{owner}.{other}"
            yield (scope.replaced(node, text),), f"uses {text} where {owner}.{node.attr} is meant"


def _is_called(scope: Scope, node: ast.AST) -> bool:
    parent = scope.parents.get(node)
    return isinstance(parent, ast.Call) and parent.func is node


def _bindings(scope: Scope) -> dict[str, list[tuple[int, ast.AST]]]:
    """For each local name (line, node): from that line on it is bound below that node."""
    bound: dict[str, list[tuple[int, ast.AST]]] = defaultdict(list)
    for argument in scope.of(ast.arg):
        holder = next(a for a in scope.ancestors(argument) if isinstance(a, Function | ast.Lambda))
        bound[argument.arg].append((argument.lineno - 1, holder))
    for name in scope.of(ast.Name):
        if not isinstance(name.ctx, ast.Store):
            continue
        for ancestor in scope.ancestors(name):
            if isinstance(ancestor, ast.comprehension | ast.Lambda):
                break
            if isinstance(ancestor, ast.For | ast.AsyncFor | ast.With | ast.AsyncWith):
                bound[name.id].append((name.lineno, ancestor))
                break
            if isinstance(ancestor, ast.stmt):
                bound[name.id].append((ancestor.end_lineno or name.lineno, scope.parents[ancestor]))
                break
    return bound


def _aliases(scope: Scope) -> set[tuple[str, str]]:
    """Pairs of names of which one was set to the other."""
    pairs = set()
    for node in scope.of(ast.Assign):
        if isinstance(node.value, ast.Name) and isinstance(node.targets[0], ast.Name):
            one, two = node.value.id, node.targets[0].id
            pairs |= {(one, two), (two, one)}
    return pairs


def _features(scope: Scope, node: ast.AST) -> set[str]:
    """What the place says about the type: how the value is used, or what it is set to."""
    parent = scope.parents.get(node)
    found = set()
    if isinstance(parent, ast.Subscript):
        found.add("indexed" if parent.value is node else "index")
    elif isinstance(parent, ast.Attribute):
        found.add("." + parent.attr)
    elif isinstance(parent, ast.BinOp | ast.AugAssign):
        found.add("operand " + type(parent.op).__name__)
    elif isinstance(parent, ast.Compare):
        found |= {"compared " + type(operator).__name__ for operator in parent.ops}
    elif isinstance(parent, ast.For | ast.comprehension) and parent.iter is node:
        found.add("iterated")
    elif isinstance(parent, ast.Slice):
        found.add("index")
    elif isinstance(parent, ast.Call) and node in parent.args:
        found.add(f"argument {parent.args.index(node)} of {ast.unparse(parent.func)}")
    elif isinstance(parent, ast.Assign) and node in parent.targets:
        value = parent.value
        if isinstance(value, ast.Call):
            found.add("from " + ast.unparse(value.func))
        elif isinstance(value, ast.Constant):
            found.add("from " + type(value.value).__name__)
        else:
            found.add("from " + type(value).__name__)
    elif isinstance(parent, ast.Tuple):
        found.add("in a tuple")
    return found - {"from NoneType"}


def _alike(one: str, two: str, features: dict[str, set[str]]) -> bool:
    if features[one] & features[two]:
        return True
    words = set(_words(one)) & set(_words(two))
    return bool(words)


def _words(name: str) -> list[str]:
    return [
        word.lower() for word in re.findall(r"[A-Za-z][a-z]+|[A-Z]+", name.rsplit(".", maxsplit=1)[-1]) if len(word) > 2
    ]


def _repeats(scope: Scope, node: ast.AST, text: str) -> bool:
    """The replacement would stand beside itself (`a - a`, `f(a, a)`), which reads absurd."""
    parent = scope.parents.get(node)
    if parent is None or isinstance(parent, ast.Assign):
        target = parent.targets[0] if isinstance(parent, ast.Assign) else None
        return target is not None and ast.unparse(target) == text
    return any(
        sibling is not node and isinstance(sibling, type(node)) and ast.unparse(sibling) == text
        for sibling in ast.iter_child_nodes(parent)
    )
