"""SPDX licence expressions: read, made canonical and judged (SPDX specification 2.3, annex D)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

_LONGEST = 200
_VERSIONED = re.compile(r"(?P<family>(?:A|L)?GPL|GFDL)-(?P<version>\d+(?:\.\d+)*)(?P<rest>-only|-or-later|\+)?")


@dataclass(frozen=True)
class Term:
    """One licence of an expression."""

    identifier: str
    family: str = ""
    """For licences that come as one version or that version and later: `GPL`."""
    version: tuple[int, ...] = ()
    or_later: bool = False
    exception: str = ""


@lru_cache(4096)
def canonical(expression: str) -> str | None:
    """The expression as SPDX writes it; None where it is none or says that nothing is known."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    expression = " ".join(expression.split())
    if not expression or len(expression) > _LONGEST:
        return None
    try:
        return str(canonicalize_license_expression(expression))
    except InvalidLicenseExpression:
        return None


def terms(identifier: str) -> Term:
    """The term of a single identifier, with its exception where it has one (`GPL-2.0-only WITH ...`)."""
    name, _, exception = (canonical(identifier) or identifier).partition(" WITH ")
    versioned = _VERSIONED.fullmatch(name)
    if not versioned:
        return Term(name.removesuffix("+"), or_later=name.endswith("+"), exception=exception)
    version = tuple(map(int, versioned["version"].split(".")))
    return Term(name, versioned["family"], version, versioned["rest"] in ("-or-later", "+"), exception)


def same(asked: Term, term: Term) -> bool:
    """The same licence, whether or not later versions may be chosen."""
    if asked.family:
        return asked.family == term.family and asked.version == term.version
    return asked.identifier == term.identifier


def covers(allowance: Term, term: Term) -> bool:
    """Whether who allows `allowance` allows `term`; an exception only adds permissions."""
    if allowance.exception and allowance.exception != term.exception:
        return False
    if same(allowance, term):
        return True
    if not (allowance.family and allowance.family == term.family):
        return False
    # `or later` lets one choose a later version; allowing one `or later` allows the later versions themselves.
    return (term.or_later and allowance.version >= term.version) or (
        allowance.or_later and term.version >= allowance.version
    )


def judge(expression: str, accepted: Callable[[Term], bool]) -> bool:
    """Whether an expression in canonical form holds when its terms do; AND binds tighter than OR."""
    words = expression.replace("(", " ( ").replace(")", " ) ").split()
    value, rest = _either(words, accepted)
    assert not rest, expression
    return value


def _either(words: list[str], accepted: Callable[[Term], bool]) -> tuple[bool, list[str]]:
    value, words = _both(words, accepted)
    while words and words[0] == "OR":
        other, words = _both(words[1:], accepted)
        value = value or other
    return value, words


def _both(words: list[str], accepted: Callable[[Term], bool]) -> tuple[bool, list[str]]:
    value, words = _single(words, accepted)
    while words and words[0] == "AND":
        other, words = _single(words[1:], accepted)
        value = value and other
    return value, words


def _single(words: list[str], accepted: Callable[[Term], bool]) -> tuple[bool, list[str]]:
    if words[0] == "(":
        value, words = _either(words[1:], accepted)
        return value, words[1:]
    if words[1:2] == ["WITH"]:
        return accepted(terms(" ".join(words[:3]))), words[3:]
    return accepted(terms(words[0])), words[1:]
