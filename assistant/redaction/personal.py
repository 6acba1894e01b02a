"""Where a text holds personal data: e-mail addresses, public IP addresses, phone numbers, IBANs and payment cards."""

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from assistant.redaction.secrets import Found
from assistant.redaction.shape import Shape

_LOCAL_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._%+\-]{0,62}[A-Za-z0-9_+\-])?\Z")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.)+(?P<top>[A-Za-z]{2,12})(?![\w\-(\[])")
_TOP_NAMES = (
    "com org net edu gov mil int info biz name pro aero coop museum jobs mobi travel tel cat asia post "
    "dev app tech cloud online site xyz agency email live company software systems solutions services digital network "
    "engineering codes studio design blog news media world group team works zone space website store shop top club "
    "berlin london paris tokyo wien hamburg koeln swiss google amazon microsoft apple ibm"
)
_TOP_DOMAINS = frozenset(_TOP_NAMES.split())
_USER_INFO = re.compile(r"(?://[^\s/\"'<>]*|@)\Z")
_NO_REPLY = re.compile(r"no[._\-]?reply|do[._\-]?not[._\-]?reply|mailer-daemon", re.IGNORECASE)
_DOCUMENTATION_DOMAIN = re.compile(r"(?:.*\.)?(?:example\.(?:com|org|net|edu)|noreply\..*)", re.IGNORECASE)

# Each begins with what a match begins with, and looks back only then, so that the engine can skip to it.
_IPV4 = re.compile(r"\d(?<![\w.\-+].)\d{0,2}\.(?:\d{1,3}\.){2}\d{1,3}(?![\w\-+]|\.\w)")
_IPV6 = re.compile(r"[23](?<![\w:.].)[0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])")
_VERSION_BEFORE = re.compile(
    r"(?:version\W{0,5}|ver\W{0,3}|release\W{0,3}|[=<>~!]=\s?|(?<=\w)/|oid\W{0,4})\Z", re.IGNORECASE
)
_VERSION_PART = 48
"""Four numbers all below this are a version or an object identifier far more often than an address."""

_PHONE = re.compile(r"\+(?<![\w+.*/)\]]\+)[1-9]\d{0,2}(?:(?:[ .\-]|[ ]?\(\d{1,4}\)[ .\-]?)?\d){6,13}(?![\w.]?\d|\w)")
_DATE = re.compile(r"\+\d{4}-\d{2}-\d{2}")
_IBAN = re.compile(r"[A-Z](?<![A-Za-z0-9].)[A-Z]\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FO GL NL",
        19: "MK SI",
        20: "AT BA EE KZ LT LU XK",
        21: "CH CR HR LI LV",
        22: "BG BH DE GB GE IE ME RS",
        23: "AE GI IL IQ TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "PT",
        26: "IS TR",
        27: "FR GR IT MC MR SM",
        28: "AL AZ CY DO GT HU LB PL",
        29: "BR EG PS QA UA",
        30: "JO KW MU",
        31: "MT SC",
    }.items()
    for country in countries.split()
}
"""ISO 13616 registry."""
_CARD = re.compile(
    r"(?<![\w.\-+])(?:\d{4}([ \-])\d{4}\1\d{4}\1\d{1,4}|\d{4}([ \-])\d{6}\2\d{5})(?![\w\-]|\.\d)"
    # Without gaps a number is only taken as a string of its own.
    r"|(?<=[\"'])\d{13,19}(?=[\"'])"
)
_CARD_ISSUERS = re.compile(
    r"4|5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)|3[47]|6(?:011|4[4-9]|5)|35(?:2[89]|[3-8])|3[068]"
)


def find(shape: Shape) -> Iterator[Found]:
    """All personal data, in no order."""
    if "@" in shape.text:
        yield from _emails(shape.text)
    if shape.has(b".0.", b".00.", b".000."):
        yield from _ipv4(shape.text)
    yield from _ipv6(shape.text)
    if shape.has(b"+0"):
        yield from _phones(shape.text)
    if shape.has(b"AA00"):
        yield from _ibans(shape.text)
    if shape.has(b"0000000000000", b"0000 0000", b"0000-0000"):
        yield from _cards(shape.text)


def _emails(text: str) -> Iterator[Found]:
    at = -1
    while (at := text.find("@", at + 1)) >= 0:
        if at == 0 or not (text[at - 1].isalnum() or text[at - 1] in "_+-"):
            continue
        domain = _DOMAIN.match(text, at + 1)
        if domain is None:
            continue
        local = _LOCAL_PART.search(text, max(0, at - 64), at)
        if local is None or _is_user_info(text, local.start()):
            continue
        top = domain["top"]
        known = top.lower() in _TOP_DOMAINS or (len(top) == 2 and (top.islower() or top.isupper()))
        git_remote = local[0] == "git" and text.startswith(":", domain.end())
        if (
            known
            and not git_remote
            and not _NO_REPLY.search(local[0])
            and not _DOCUMENTATION_DOMAIN.fullmatch(domain[0])
        ):
            yield Found(local.start(), domain.end(), "Email")


def _is_user_info(text: str, start: int) -> bool:
    """Whether what stands before an `@` is a URL's user (`//user@host`) or password, and not an address."""
    return _USER_INFO.search(text, max(0, start - 80), start) is not None


def _ipv4(text: str) -> Iterator[Found]:
    for match in _IPV4.finditer(text):
        try:
            address = IPv4Address(match[0])
        except AddressValueError:
            continue
        if not address.is_global or address.is_multicast:
            continue
        if max(address.packed) < _VERSION_PART or _VERSION_BEFORE.search(
            text, max(0, match.start() - 16), match.start()
        ):
            continue
        yield Found(*match.span(), "IP Address")


def _ipv6(text: str) -> Iterator[Found]:
    for match in _IPV6.finditer(text):
        try:
            address = IPv6Address(match[0])
        except AddressValueError:
            continue
        # A scheme's `::1` and prefixes that are documentation, private or reserved are not global.
        if address.is_global:
            yield Found(*match.span(), "IP Address")


def _phones(text: str) -> Iterator[Found]:
    for match in _PHONE.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        gaps = len(re.findall(r"\D+", match[0][1:]))
        # A number with one gap or none may be a decimal or a bound of an integer type; 555-01xx is for fiction.
        written = gaps >= 2 or (gaps == 0 and len(digits) >= 11)
        if written and 9 <= len(digits) <= 15 and "55501" not in digits and not _DATE.match(match[0]):
            yield Found(*match.span(), "Phone Number")


def _ibans(text: str) -> Iterator[Found]:
    for match in _IBAN.finditer(text):
        compact = match[0].replace(" ", "")
        length = _IBAN_LENGTHS.get(compact[:2])
        if length == len(compact) and _iban_checksum(compact) == 1:
            yield Found(*match.span(), "IBAN")


def _iban_checksum(compact: str) -> int:
    """ISO 7064 MOD 97-10: letters count from A = 10, the first four characters go last."""
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97


def _cards(text: str) -> Iterator[Found]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if 13 <= len(digits) <= 19 and _CARD_ISSUERS.match(digits) and len(set(digits)) > 1 and _luhn(digits):
            yield Found(*match.span(), "Payment Card")


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812: every second digit from the right doubled, digit sums added, a multiple of ten."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0
