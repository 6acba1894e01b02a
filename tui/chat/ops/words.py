"""Plain words one after another: phrases, numbers and durations at the place where the reader stands."""

import re

_TOKEN = re.compile(r"""("[^"]*"|'[^']*')|([,;])|([^\s,;]+)""")
_SENTENCE_END = re.compile(r"(.*[^.!?])(?:\.|[!?]+)")
_COMPACT = re.compile(
    r"(?:(?P<h>\d+(?:\.\d+)?)h(?:rs?)?)?(?:(?P<m>\d+(?:\.\d+)?)m(?:ins?)?)?(?:(?P<s>\d+(?:\.\d+)?)s(?:ecs?)?)?"
)
_SMALL = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_NUMBERS = {word: value for value, word in enumerate(_SMALL)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
_UNITS = (
    ("second|seconds|sec|secs|s", 1.0),
    ("minute|minutes|min|mins|m", 60.0),
    ("hour|hours|hr|hrs|h", 3600.0),
    ("day|days", 86_400.0),
)


class Words:
    """A line as words. What was quoted is one word and no part of a phrase; a full stop ends a clause like a `;`."""

    def __init__(self, text: str) -> None:
        given: list[str] = []
        lower: list[str] = []
        for quoted, mark, word in _TOKEN.findall(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")):
            if quoted:
                given.append(quoted[1:-1])
                lower.append(quoted)
                continue
            ended = _SENTENCE_END.fullmatch(word)
            for each in [mark] if mark else [ended[1], ";"] if ended else [word]:
                given.append(each)
                lower.append(each.lower())
        self._given = given
        self._lower = lower
        self.at = 0

    def __len__(self) -> int:
        return len(self._given)

    @property
    def done(self) -> bool:
        return self.at >= len(self._given)

    @property
    def word(self) -> str:
        """The word at this place as it was typed; empty at the end."""
        return "" if self.done else self._given[self.at]

    def has(self, word: str) -> bool:
        """Whether a word or a phrase begins anywhere from this place on."""
        parts = word.split()
        return any(self._lower[at : at + len(parts)] == parts for at in range(self.at, len(self._lower)))

    def step(self) -> str:
        """Goes past one word and returns it."""
        word = self.word
        self.at += 1
        return word

    def take(self, *parts: str) -> bool:
        """Goes past a phrase, or stays.

        Args:
            parts: each is one of its alternatives, `a|b c`; one with a `?` at its end may be missing.
        """
        at = self.at
        for part in parts:
            alternatives = [one.split() for one in part.removesuffix("?").split("|")]
            lengths = [len(one) for one in alternatives if self._lower[at : at + len(one)] == one]
            if not lengths and not part.endswith("?"):
                return False
            at += max(lengths, default=0)
        self.at = at
        return True

    def take_all(self, part: str) -> None:
        """Goes past any number of the alternatives."""
        while self.take(part):
            pass

    def number(self) -> float | None:
        """`12`, `1.5`, `ten`, `twenty-five`, `a hundred`, `a couple of`; None stays."""
        word = "" if self.done else self._lower[self.at]
        if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", word):
            self.at += 1
            return float(word)
        if self.take("a couple of|a couple"):
            return 2.0
        if self.take("a|an"):
            value = 1
        else:
            tens, _, ones = word.partition("-")
            known = tens in _NUMBERS and (not ones or (ones in _SMALL[1:10] and tens in _TENS))
            if not known:
                return None
            self.at += 1
            value = _NUMBERS[tens] + (_NUMBERS[ones] if ones else 0)
            if not ones and tens in _TENS and not self.done and self._lower[self.at] in _SMALL[1:10]:
                value += _NUMBERS[self._lower[self.at]]
                self.at += 1
        return float(value * 100 if self.take("hundred") else value)

    def duration(self) -> float | None:
        """Seconds of `10m`, `1h30m`, `ten minutes`, `half an hour`, `an hour and a half`; None stays."""
        total = self._duration_part()
        if total is None:
            return None
        while True:
            mark = self.at
            self.take("and|,?")
            more = self._duration_part()
            if more is None:
                self.at = mark
                return total
            total += more

    def _duration_part(self) -> float | None:
        mark = self.at
        if (compact := self._compact()) is not None:
            return compact
        share = self._share()
        number = share if share is not None else self.number()
        if number is not None:
            number += self._more() if share is None else 0.0
            for names, seconds in _UNITS:
                if self.take(names):
                    return (number + (self._more() if share is None else 0.0)) * seconds
        self.at = mark
        return None

    def _compact(self) -> float | None:
        found = None if self.done else _COMPACT.fullmatch(self._lower[self.at])
        if found is None or not found[0]:
            return None
        self.at += 1
        return sum(float(found[unit] or 0) * seconds for unit, seconds in (("h", 3600.0), ("m", 60.0), ("s", 1.0)))

    def _share(self) -> float | None:
        """Of the unit that follows."""
        for phrase, share in (
            ("half an|half a|a half", 0.5),
            ("a quarter of an|a quarter of a|quarter of an", 0.25),
            ("three quarters of an", 0.75),
        ):
            if self.take(phrase):
                return share
        return None

    def _more(self) -> float:
        return 0.5 if self.take("and a half") else 0.25 if self.take("and a quarter") else 0.0
