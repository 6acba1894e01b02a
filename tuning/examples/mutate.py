"""Seeds one bug into code that still parses: every other byte of the file stays as it was.

An operator knows one kind of slip and the places where it fits. Operators of one `bug_class` make the bugs that a
reviewer would call by one name; an evaluation can hold out some operators of a class, or a whole class.
"""

import ast
import random
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from assistant.syntax import parse
from tuning.examples import mutate_expressions as expressions
from tuning.examples import mutate_names as names
from tuning.examples import mutate_omissions as omissions
from tuning.examples import mutate_python, mutate_syntax
from tuning.examples import mutate_statements as statements
from tuning.examples import mutate_syntax_bugs as syntax
from tuning.examples import mutate_syntax_names as t_names
from tuning.examples.mutate_edit import Edit, Mutation, Site, Source, apply, changed_lines

Finder = Callable[[Any], Iterator[tuple[tuple[Edit, ...], str]]]

_SYNTAX_LANGUAGES = ("javascript", "typescript", "go", "rust", "java", "c", "cpp")
LANGUAGES = ("python", *_SYNTAX_LANGUAGES)


@dataclass(frozen=True)
class Operator:
    name: str
    bug_class: str
    """A stable name, used in labels."""
    languages: tuple[str, ...]
    python: Finder | None = None
    syntax: Finder | None = None


def _operators() -> Iterator[Operator]:
    everywhere = LANGUAGES
    only_python = ("python",)
    two = ("python", "javascript", "typescript")
    caught = ("python", "javascript", "typescript", "go", "rust", "java", "cpp")
    linked = tuple(language for language in everywhere if language not in ("go", "rust"))
    e, s, t, o = expressions, statements, syntax, omissions
    yield Operator("comparison-boundary", "off-by-one", everywhere, e.comparison_boundary, t.comparison_boundary)
    yield Operator("shifted-bound", "off-by-one", everywhere, e.shifted_bound, t.shifted_bound)
    yield Operator("wrong-index", "wrong-index", everywhere, e.wrong_index, t.wrong_index)
    yield Operator("comparison-direction", "wrong-operator", everywhere, e.comparison_direction, t.comparison_direction)
    yield Operator("swapped-arithmetic", "wrong-operator", everywhere, e.swapped_arithmetic, t.swapped_arithmetic)
    yield Operator("swapped-boolean", "wrong-operator", everywhere, e.swapped_boolean, t.swapped_boolean)
    yield Operator("identity-comparison", "identity-comparison", only_python, e.identity_comparison)
    yield Operator("negated-comparison", "inverted-condition", everywhere, e.negated_comparison, t.negated_comparison)
    yield Operator("negated-condition", "inverted-condition", everywhere, e.negated_condition, t.negated_condition)
    yield Operator("missing-not", "inverted-condition", everywhere, e.missing_not, t.missing_not)
    yield Operator("swapped-branches", "inverted-condition", only_python, e.swapped_branches)
    yield Operator("swapped-arguments", "swapped-arguments", everywhere, e.swapped_arguments, t_names.swapped_arguments)
    yield Operator("swapped-targets", "swapped-names", only_python, e.swapped_targets)
    yield Operator("missing-none-check", "missing-check", everywhere, s.missing_none_check, t.missing_none_check)
    yield Operator("missing-guard", "missing-check", everywhere, s.missing_guard, t.missing_guard)
    yield Operator(
        "missing-guard-operand", "missing-check", everywhere, e.missing_guard_operand, t.missing_guard_operand
    )
    yield Operator("wrong-variable", "wrong-variable", everywhere, names.wrong_variable, t_names.wrong_variable)
    yield Operator("wrong-attribute", "wrong-variable", only_python, names.wrong_attribute)
    yield Operator("wrong-key", "wrong-key", only_python, e.wrong_key)
    yield Operator("wrong-constant", "wrong-constant", everywhere, e.wrong_constant, t.wrong_constant)
    yield Operator("missing-return", "missing-return", everywhere, s.missing_return, t.missing_return)
    yield Operator("early-return", "early-return", only_python, s.early_return)
    yield Operator("mutable-default", "mutable-default", only_python, s.mutable_default)
    yield Operator("hoisted-container", "mutable-default", only_python, s.hoisted_container)
    yield Operator("unclosed-resource", "resource-leak", only_python, s.unclosed_resource)
    yield Operator("missing-lock", "missing-lock", only_python, s.missing_lock)
    yield Operator("swallowed-exception", "exception-swallowed", caught, s.swallowed_exception, t.swallowed_exception)
    yield Operator("wrong-jump", "wrong-jump", everywhere, s.wrong_jump, t.wrong_jump)
    yield Operator("separate-if", "wrong-branch", linked, s.separate_if, t.separate_if)
    yield Operator("missing-await", "missing-await", two, e.missing_await, t.missing_await)
    yield Operator("lost-update", "lost-update", everywhere, s.lost_update, t.lost_update)
    yield Operator("missing-self", "lost-update", only_python, s.missing_self)
    yield Operator("missing-super", "missing-call", only_python, s.missing_super)
    yield Operator("missing-method", "missing-call", only_python, o.missing_method)
    yield Operator("missing-conversion", "missing-call", only_python, o.missing_conversion)
    yield Operator("missing-parentheses", "missing-call", only_python, o.missing_parentheses)
    yield Operator("missing-argument", "missing-argument", only_python, o.missing_argument)
    yield Operator("missing-star", "missing-argument", only_python, o.missing_star)
    yield Operator("missing-subscript", "missing-operand", only_python, o.missing_subscript)
    yield Operator("missing-operand", "missing-operand", only_python, o.missing_operand)
    yield Operator("missing-minus", "missing-operand", only_python, o.missing_minus)
    yield Operator("missing-yield", "missing-return", only_python, o.missing_yield)
    yield Operator("missing-raise", "exception-swallowed", only_python, o.missing_raise)
    yield Operator("missing-prefix", "missing-prefix", only_python, o.missing_prefix)


OPERATORS: Mapping[str, Operator] = {operator.name: operator for operator in _operators()}
BUG_CLASSES = tuple(dict.fromkeys(operator.bug_class for operator in OPERATORS.values()))


@dataclass(frozen=True)
class FunctionSpan:
    """An outermost function and its lines, from 1, both inclusive."""

    name: str
    top: int
    """The line of its first decorator, or `first`."""
    first: int
    body: int
    """The line of its first statement, a docstring passed over."""
    last: int


class Program:
    """A parsed file that bugs can be seeded into.

    Raises:
        ValueError: the file does not parse, or nothing can be seeded into its language.
    """

    def __init__(self, text: str, language: str) -> None:
        if language not in LANGUAGES:
            raise ValueError(f"no bug can be seeded into {language}")
        self.language = language
        self.source = Source(text)
        self._scopes: list[tuple[FunctionSpan, Any]] = []
        if language == "python":
            self._read_python(text)
        else:
            self._read_syntax()

    @property
    def functions(self) -> list[FunctionSpan]:
        return [span for span, _ in self._scopes]

    def _read_python(self, text: str) -> None:
        if "\r" in text or "\f" in text or "\0" in text:
            # Python ends lines at these where we do not.
            raise ValueError("line ends other than a newline")
        tree = _python_tree(text)
        for scope in mutate_python.scopes(self.source, tree):
            function = scope.function
            first, last = function.lineno, function.end_lineno or function.lineno
            top = min([first, *(decorator.lineno for decorator in function.decorator_list)])
            body = mutate_python.body_start(function)
            span = FunctionSpan(function.name, top, first, body, last)
            self._scopes.append((span, scope))

    def _read_syntax(self) -> None:
        syntax = parse(self.source.text, self.language)
        if syntax is None:
            raise ValueError(f"no grammar for {self.language}")
        self._root = syntax.root
        self._errors = mutate_syntax.errors(self._root)
        for node in mutate_syntax.functions(self._root, self.language):
            if node.has_error:
                continue
            name = node.child_by_field_name("name") or node.child_by_field_name("declarator")
            named = self.source.slice(name.start_byte, name.end_byte) if name is not None else ""
            first, last = node.start_point[0] + 1, node.end_point[0] + 1
            inside = node.child_by_field_name("body").named_children
            body = inside[0].start_point[0] + 1 if inside else last
            span = FunctionSpan(named.split("(", maxsplit=1)[0], first, first, body, last)
            self._scopes.append((span, node))

    def sites(self, function: int, operators: Collection[str]) -> dict[str, list[Site]]:
        """The places in one function (its index in `functions`), by operator; operators without any are left out."""
        scope = self._scopes[function][1]
        if self.language != "python":
            scope = mutate_syntax.tree_of(self.source, self.language, scope)
        found = {}
        for name in OPERATORS:
            operator = OPERATORS[name]
            if name not in operators or self.language not in operator.languages:
                continue
            finder = operator.python if self.language == "python" else operator.syntax
            sites = [Site(name, edits, description) for edits, description in finder(scope)] if finder else []
            if sites:
                found[name] = sites
        return found

    def seeded(self, function: int, site: Site) -> Mutation | None:
        """The file with the bug, None when it would no longer parse or would mean the same."""
        after = apply(self.source.data, site.edits)
        span, scope = self._scopes[function]
        if self.language == "python":
            if not self._still_python(scope.function, span, site, after):
                return None
        elif not self._still_parses(after.decode()):
            return None
        text = after.decode()
        first, last = changed_lines(self.source.text.split("\n"), text.split("\n"))
        return Mutation(site.operator, self.source.text, text, first, last, site.description)

    def _still_python(self, function: Any, span: FunctionSpan, site: Site, after: bytes) -> bool:
        # Only the function is parsed again: it is whole lines, and what is around it has not changed.
        start, end = self.source.whole_lines(span.first, span.last)
        if site.edits[0].start < start or site.edits[-1].end > end:
            return False
        grown = len(after) - len(self.source.data)
        segment = after[start : end + grown].decode()
        if segment[:1] in " \t":
            segment = "if 1:\n" + segment
        try:
            tree = _python_tree(segment)
        except ValueError:
            return False
        body = tree.body[0].body if segment.startswith("if 1:\n") else tree.body  # type: ignore[attr-defined]
        alone = len(tree.body) == 1 and len(body) == 1
        return alone and _dump(body[0]) != _dump(function)

    def _still_parses(self, after: str) -> bool:
        syntax = parse(after, self.language)
        if syntax is None or mutate_syntax.errors(syntax.root) > self._errors:
            return False
        return mutate_syntax.leaf_texts(syntax.root) != mutate_syntax.leaf_texts(self._root)


def mutations(
    text: str,
    language: str,
    generator: random.Random,
    operators: Collection[str] | None = None,
    most: int = 1,
) -> list[Mutation]:
    """Up to `most` different bugs, each seeded alone into the text; none for a text that does not parse.

    The function is drawn first (by its length), then the operator among those that fit it, then the place: frequent
    kinds of places do not drown the rare ones. The same text and generator state give the same bugs.

    Args:
        operators: names from `OPERATORS`; all of them by default.

    Raises:
        ValueError: an operator is unknown.
    """
    wanted = known_operators(operators)
    try:
        program = Program(text, language)
    except ValueError:
        return []
    places = {index: program.sites(index, wanted) for index in range(len(program.functions))}
    found: list[Mutation] = []
    while len(found) < most:
        open_places = [index for index, sites in places.items() if sites]
        if not open_places:
            break
        lengths = [program.functions[index].last - program.functions[index].first + 1 for index in open_places]
        (index,) = generator.choices(open_places, lengths)
        mutation = draw(program, index, places[index], generator)
        if mutation and all(mutation.after != other.after for other in found):
            found.append(mutation)
    return found


def draw(program: Program, function: int, sites: dict[str, list[Site]], generator: random.Random) -> Mutation | None:
    """Seeds one bug at one of the places, which are used up as they are tried; None when none is left."""
    while sites:
        name = generator.choice(list(sites))
        site = sites[name].pop(generator.randrange(len(sites[name])))
        if not sites[name]:
            del sites[name]
        mutation = program.seeded(function, site)
        if mutation:
            return mutation
    return None


def known_operators(operators: Collection[str] | None) -> frozenset[str]:
    """The operators asked for, all by default.

    Raises:
        ValueError: one is unknown.
    """
    unknown = sorted(set(operators or ()) - set(OPERATORS))
    if unknown:
        raise ValueError(f"no bug operator is called {unknown[0]}")
    return frozenset(OPERATORS if operators is None else operators)


def _python_tree(text: str) -> ast.Module:
    """Parses Python.

    Raises:
        ValueError: it does not parse.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise ValueError(f"does not parse: {error}") from error


def _dump(function: ast.AST) -> str:
    try:
        return ast.dump(function)
    except RecursionError:
        return ""
