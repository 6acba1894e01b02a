"""How what is read of changed lines becomes the probability that they are wrong.

A long line is less likely to be written again as it stands than a short one, wrong or right: its log odds are held
against those of right lines of its length. And of a line that takes the place of another one, which the change shows,
they tell more than of a line that is only added, so each of the two has its own sigmoid (Platt 1999).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.review_prompt import Hunk
from assistant.review_rewriting import judge


@dataclass(frozen=True)
class Place:
    """What is known of a changed line before the model is asked."""

    log_length: float
    """log(1 + characters), the indentation left out; of a removed line, of the one that it is judged by."""
    replaces: bool
    """The change shows what stood here before."""


@dataclass(frozen=True)
class Sigmoid:
    slope: float
    intercept: float

    def log_odds(self, value: float) -> float:
        return self.slope * value + self.intercept


@dataclass(frozen=True)
class LineCalibration:
    """p = 1 / (1 + exp(-z)), z = slope * (log odds - usual) + intercept - log(lines judged)."""

    usual: float
    per_log_length: float
    """Of a right line, the log odds of another one are usual + per_log_length * log(1 + characters)."""
    added: Sigmoid
    replaced: Sigmoid

    def surplus(self, place: Place, log_odds: float) -> float:
        """By how much another line is likelier here than in place of a right line of this length."""
        return log_odds - self.usual - self.per_log_length * place.log_length

    def probabilities(self, hunk: Hunk, log_odds: Sequence[float]) -> tuple[float, ...]:
        """That each of `hunk.changed` is wrong, 0 to 1; 0 for one that is not judged.

        Args:
            log_odds: of another line in place of each (`assistant.review_rewriting.log_odds`).
        """
        known = prior(log_odds)
        return tuple(
            _sigmoid((self.replaced if place.replaces else self.added).log_odds(self.surplus(place, odds)) + known)
            if math.isfinite(odds)
            else 0.0
            for place, odds in zip(places(hunk), log_odds, strict=True)
        )


RAW = LineCalibration(0.0, 0.0, Sigmoid(1.0, 0.0), Sigmoid(1.0, 0.0))
"""The model's own word."""


def places(hunk: Hunk) -> tuple[Place, ...]:
    """Of each of `hunk.changed`."""
    found = []
    for index in hunk.changed:
        judged = judge(hunk, index)
        text = hunk.lines[index if judged is None else judged].text.strip()
        above = index
        while above > 0 and hunk.lines[above].marker == "+":
            above -= 1
        found.append(Place(math.log1p(len(text)), hunk.lines[above].marker == "-"))
    return tuple(found)


def prior(log_odds: Sequence[float]) -> float:
    """The log odds of any one line before it is read: at most one of those that are judged is wrong, and none is more
    likely to be than another, so each of many is less likely than the only one."""
    return -math.log(max(1, sum(map(math.isfinite, log_odds))))


def _sigmoid(value: float) -> float:
    if value >= 0:
        return 1 / (1 + math.exp(-min(value, 700)))
    power = math.exp(max(value, -700))
    return power / (1 + power)
