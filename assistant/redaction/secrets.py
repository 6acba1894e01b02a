"""Where a text holds secrets: detect-secrets' patterns, tokens of vendors it does not know, private keys, and
high-entropy values given to names such as `password`.

detect-secrets looks at one line at a time and reports the first group of a match, which for a GitHub token is the
letters `ghp`. Here whole matches are found, and a cheap test before each pattern keeps ordinary files fast. Its
entropy, keyword and IP detectors are left out, since they fire on ordinary code (hashes, `password = input()`).
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from assistant.errors import HoneError
from assistant.redaction.shape import Shape


@dataclass(frozen=True)
class Found:
    """A half-open span of characters to replace."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Detector:
    kind: str
    pattern: re.Pattern[str]
    possible: Callable[[Shape], bool]
    """False only where the pattern cannot match."""
    word: int | None = None
    """A matching line has a word of so many characters; the pattern is tried on such lines only."""


_LEFT_OUT = frozenset(
    {"Base64HighEntropyString", "HexHighEntropyString", "KeywordDetector", "IPPublicDetector", "PrivateKeyDetector"}
)
_TESTED_VERSION = "1.5.0"
"""The tests show for this version that no match gets past a test below; for another one every pattern is tried."""


def _any(*literals: str) -> Callable[[Shape], bool]:
    return lambda shape: any(literal in shape.text for literal in literals)


def _always(_: Shape) -> bool:
    return True


_ARTIFACTORY = re.compile(r"AP[\dA-F][a-zA-Z0-9]{8}")
_CLOUDANT = re.compile(r"cl(?:ou|oudant)?[_-]?(?:api)?(?:key|pw|pass|token)|cloudant\.com")
_POSSIBLE: dict[str, Callable[[Shape], bool]] = {
    "ArtifactoryDetector": lambda shape: "AKC" in shape.text or _ARTIFACTORY.search(shape.text) is not None,
    "AzureStorageKeyDetector": _any("AccountKey="),
    "CloudantDetector": lambda shape: shape.has_word(24) and _CLOUDANT.search(shape.lower) is not None,
    "JwtTokenDetector": _any("eyJ"),
    "MailchimpDetector": lambda shape: shape.has(b"-aa0") and "-us" in shape.text,
    "NpmDetector": _any(":_authToken"),
    "OpenAIDetector": _any("T3BlbkFJ"),
    "PypiTokenDetector": _any("pypi-AgE"),
    "SendGridDetector": _any("SG."),
    "SlackDetector": lambda shape: "xox" in shape.lower or "hooks.slack.com" in shape.lower,
    "SquareOAuthDetector": _any("sq0csp-"),
    "StripeDetector": _any("k_live_"),
    "TelegramBotTokenDetector": lambda shape: shape.has(b"00000000:"),
}
_WORD = {
    "CloudantDetector": 24,
    "IbmCloudIamDetector": 44,
    "IbmCosHmacDetector": 48,
    "MailchimpDetector": 36,
    "SoftlayerDetector": 64,
}

# A pattern that begins with a letter, and looks back only after it, lets the engine skip to that letter.
# Forms that vendors document and detect-secrets 1.5 does not have.
_VENDORS: tuple[tuple[str, str, str], ...] = (
    ("JSON Web Token", "eyJ", r"eyJ(?<![A-Za-z0-9_\-]eyJ)[A-Za-z0-9_\-]{8,}+(?:\.[A-Za-z0-9_\-]*){2,4}"),
    ("Artifactory Credentials", "AKC", r"AKC(?<!\wAKC)(?=[a-zA-Z0-9]*\d)[a-zA-Z0-9]{10,}"),
    ("GitHub Token", "github_pat_", r"github_pat_[A-Za-z0-9_]{60,}"),
    ("Google API Key", "AIza", r"AIza[0-9A-Za-z_\-]{35}(?![\w\-])"),
    ("Google OAuth Secret", "GOCSPX-", r"GOCSPX-[A-Za-z0-9_\-]{28}"),
    ("Anthropic API Key", "sk-ant-", r"sk-ant-[A-Za-z0-9_\-]{32,}"),
    ("OpenAI Token", "sk-proj-", r"sk-proj-[A-Za-z0-9_\-]{32,}"),
    ("Hugging Face Token", "hf_", r"hf_(?<!\whf_)[A-Za-z]{34}(?!\w)"),
    ("Slack Token", "xapp-", r"xapp-\d-[A-Z0-9]+-\d+-[a-z0-9]{32,}"),
    ("Stripe Access Key", "k_test_", r"[rs]k_test_(?<![a-z].k_test_)[0-9a-zA-Z]{24,}"),
    ("Stripe Webhook Secret", "whsec_", r"whsec_(?<!\wwhsec_)[A-Za-z0-9+/]{32,}"),
    ("DigitalOcean Token", "_v1_", r"do[opr]_v1_[a-f0-9]{64}"),
    ("Shopify Token", "shp", r"shp(?<!\wshp)(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    ("Databricks Token", "dapi", r"dapi(?<!\wdapi)[a-f0-9]{32}(?:-\d)?(?!\w)"),
    ("NPM Token", "npm_", r"npm_(?<!\wnpm_)[A-Za-z0-9]{36}(?!\w)"),
    ("Vault Token", "hvs.", r"hvs\.(?<!\whvs\.)[A-Za-z0-9_\-]{24,}"),
    ("Age Secret Key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    ("Azure Storage Signature", "sig=", r"(?<=[?&]sig=)[A-Za-z0-9%]{43,}"),
    ("Bearer Token", "earer ", r"(?<=[Bb]earer )(?=[A-Za-z0-9_\-.]*\d)[A-Za-z0-9_\-.]{24,}={0,2}"),
)

_BASE64_LINES = r"(?:[\s\"'+,\\nr#*/>|]{0,80}[A-Za-z0-9+/=]{24,}){1,4000}"
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<label>[A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?)-----"
    # With its end: whatever is between, but not another beginning.
    r"(?:(?P<body>(?:(?!-----BEGIN)[\s\S]){1,20000}?)-----END (?P=label)-----"
    # Cut short: as far as it goes on like a key.
    rf"|(?:[\s\"'+,\\nr]{{0,80}}[A-Z][\w\-]+: [^\n\\]{{1,200}}(?:\\[nr]|\n)){{0,8}}{_BASE64_LINES})"
)
_PUTTY_KEY = re.compile(r"PuTTY-User-Key-File-\d:[\s\S]{1,20000}?Private-MAC: [0-9a-f]+")
_KEY_MATERIAL = re.compile(r"[A-Za-z0-9+/=]{24}")

_PASSWORD_NAMES = ("passwd", "password", "passphrase", "pwd")
_KEY_NAMES = ("secret", "token", "credential")
_QUALIFIED_KEY = re.compile(
    r"(?:api|access|private|auth|client|encryption|signing|account|master|service)[_\-]?key\Z", re.IGNORECASE
)
_ASSIGNED = re.compile(
    r"[\w\-]{0,24}(?:[\"']?\]|[\"'])?[ \t]{0,8}(?::[ \t]*[\w.\[\] |]{1,40}?[ \t]*(?==))?(?:={1,3}|!=|:=|=>|:|,)"
    r"[ \t]{0,8}[rbuf@]?(?P<quote>[\"'`])(?P<value>[^\"'`\s]{8,200})(?P=quote)"
)
_PLACEHOLDER = re.compile(
    r"example|change.?me|replace|your|placeholder|dummy|sample|fake|mock|test|redacted|foobar|password|passwd|secret|"
    r"token|api.?key|x{3,}|\*{3,}|\.{3,}|123456789|12345|abcdefgh|abc|qwerty",
    re.IGNORECASE,
)
_NO_VALUE = re.compile(r"^(?:[<\[{$%(/.#&\\]|https?:|[a-z]+://)|\$\{|\{\{|\{\w*\}|%\(\w|%[sd]|\w\([\w., ]*\)$")
_IDENTIFIER = re.compile(r"[A-Za-z]*\d{0,4}(?:[._\-:/+@ ]+[A-Za-z]*\d{0,4})*|\d[\d.,:\-/]*")
_NAME_CHARACTERS = re.compile(r"[\w.\-:/@]+", re.ASCII)
_NAME_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_MIN_NAME_PART = 3.0
"""Letters in a part of a name (`GPT`, `2`, `Tokenizer`) on average; random letters have about 2.5."""
_MIN_RANDOM_LENGTH = 16
_MIN_ENTROPY = 3.0
"""Bits a character; eight different characters have 3."""


_BASIC_AUTH = "Basic Auth Credentials"
_ARTIFACTORY_KIND = "Artifactory Credentials"
_PLACEHOLDER_PASSWORD = re.compile(r"pass|passw(?:or)?d|pwd|secret|token|x+|\*+|[<{%$].*", re.IGNORECASE)


@cache
def detectors() -> tuple[Detector, ...]:
    """All pattern detectors, detect-secrets' first.

    Raises:
        HoneError: detect-secrets cannot be loaded, or does not find what every version of it finds.
    """
    try:
        found = list(_installed())
    except Exception as error:
        # Whatever is wrong with the detector: without it nothing may be tokenized.
        raise HoneError(
            f"the secret detector detect-secrets cannot be used ({type(error).__name__}: {error}), so nothing was "
            "tokenized; install it again"
        ) from error
    for kind, canary in _canaries().items():
        if not any(detector.kind == kind and detector.pattern.search(canary) for detector in found):
            raise HoneError(
                f"the secret detector does not find a planted {kind}, so nothing was tokenized; install "
                f"detect-secrets {_TESTED_VERSION}"
            )
    for kind, literal, pattern in _VENDORS:
        found.append(Detector(kind, re.compile(pattern), _any(literal)))
    return tuple(found)


def find(shape: Shape) -> Iterator[Found]:
    """All secrets, in no order; spans may overlap."""
    yield from _private_keys(shape)
    for detector in detectors():
        if detector.possible(shape):
            yield from _matches(detector, shape)
    yield from _assigned(shape)


def _installed() -> Iterator[Detector]:
    from importlib.metadata import version

    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    tested = version("detect-secrets") == _TESTED_VERSION
    plugins: dict[str, Any] = get_mapping_from_secret_type_to_class()
    for kind, plugin in plugins.items():
        name = plugin.__name__
        if name in _LEFT_OUT:
            continue
        for pattern in plugin().denylist:
            if tested:
                yield Detector(kind, pattern, _POSSIBLE.get(name, _always), _WORD.get(name))
            else:
                yield Detector(kind, pattern, _always)


def _canaries() -> dict[str, str]:
    # Put together here, so that no scanner takes this file for a leak.
    return {
        "AWS Access Key": "AKIA" + "Z7QK" * 4,
        "GitHub Token": "ghp_" + "a1B2" * 9,
        "Stripe Access Key": "sk_live_" + "a1B2" * 6,
    }


def _matches(detector: Detector, shape: Shape) -> Iterator[Found]:
    text = shape.text
    lines = [(0, len(text))] if detector.word is None else shape.lines_with_word(detector.word)
    matches = (match for start, end in lines for match in detector.pattern.finditer(text, start, end))
    for match in matches:
        if detector.kind == _BASIC_AUTH and _PLACEHOLDER_PASSWORD.fullmatch(match[1]):
            continue
        if detector.kind == _ARTIFACTORY_KIND and not any(map(str.isdigit, match[0])):
            # A word such as APDUResponse.
            continue
        start, end = match.span()
        if match.re.groups and match[1] and len(match[1]) >= 20:
            # The name and the quotes before a value stay.
            start, end = match.span(1)
        while start < end and text[start] in " \t\r\n=:\"'/":
            start += 1
        while start < end and text[end - 1] in " \t\r\n\"'@":
            end -= 1
        if start < end:
            yield Found(start, end, detector.kind)


def _private_keys(shape: Shape) -> Iterator[Found]:
    if "PRIVATE KEY" in shape.text:
        for match in _PRIVATE_KEY.finditer(shape.text):
            # Code that only names the lines around a key has no key between them.
            if match["body"] is None or _KEY_MATERIAL.search(match["body"]):
                yield Found(*match.span(), "Private Key")
    if "PuTTY-User-Key-File-" in shape.text:
        for match in _PUTTY_KEY.finditer(shape.text):
            yield Found(*match.span(), "Private Key")


def _assigned(shape: Shape) -> Iterator[Found]:
    for name in (*_PASSWORD_NAMES, *_KEY_NAMES, "key"):
        end = 0
        while (start := shape.lower.find(name, end)) >= 0:
            end = start + len(name)
            match = _ASSIGNED.match(shape.text, end)
            if match is None or (name == "key" and not _QUALIFIED_KEY.search(shape.text, max(0, end - 16), end)):
                continue
            if looks_random(match["value"], words_allowed=name in _PASSWORD_NAMES):
                yield Found(*match.span("value"), "Secret")


def looks_random(value: str, words_allowed: bool) -> bool:
    """Whether a quoted value is more like a password or a key than like a name, a path, a template or a placeholder.

    `words_allowed`: words with digits between them (`hunter2secret`) may be one; they are names elsewhere.
    """
    if _NO_VALUE.search(value):
        return False
    # Letters and then digits are a name (`sha256`, `test_key_2`), unless they are long and fall into no words.
    if _IDENTIFIER.fullmatch(value) and (len(value) < _MIN_RANDOM_LENGTH or not value.isalnum() or _is_name(value)):
        return False
    if not words_allowed and _is_name(value):
        return False
    rest = _PLACEHOLDER.sub("", value) if not words_allowed else value
    if len(rest) < 8 or not rest.isascii() or (words_allowed and _PLACEHOLDER.match(value)):
        return False
    kinds = [any(map(str.islower, rest)), any(map(str.isupper, rest)), any(map(str.isdigit, rest)), not rest.isalnum()]
    if not ((kinds[2] and (kinds[0] or kinds[1])) or sum(kinds) >= 3):
        return False
    return _entropy(rest) >= _MIN_ENTROPY


def _is_name(value: str) -> bool:
    if not _NAME_CHARACTERS.fullmatch(value):
        return False
    parts = _NAME_PART.findall(value)
    words = [part for part in parts if part.isalpha()]
    return (
        bool(words)
        and sum(map(len, words)) / len(words) >= _MIN_NAME_PART
        and all(len(part) <= 3 for part in parts if part.isdigit())
    )


def _entropy(value: str) -> float:
    """Shannon's, in bits a character."""
    counts = Counter(value).values()
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts)
