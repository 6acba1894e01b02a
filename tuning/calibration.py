"""From scores to probabilities that can be believed, and from those to a threshold. Plain numpy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from assistant.review_calibration import Sigmoid

_STEPS = 100
_RIDGE = 1e-9
"""On the diagonal of the Hessian, which is singular where all scores are equal."""
_PRIOR = np.array([0.0, 0.0, 1.0, 1.0])
"""Inverse variances of slope, intercept, and how both differ for scores of the second kind."""


def fit(
    scores: Sequence[float],
    happened: Sequence[bool],
    priors: Sequence[float] | None = None,
    second: Sequence[bool] | None = None,
) -> tuple[Sigmoid, Sigmoid]:
    """Platt's sigmoids of greatest likelihood, by Newton's method with halved steps (Lin, Lin and Weng 2007), with
    Platt's targets, which keep probabilities from 0 and 1 where few scores are known (Platt 1999).

    Args:
        priors: of each score, log odds that are known before; none by default.
        second: which scores are of a second kind. Its sigmoid differs from that of the others as far as they show it:
            the differences of slope and intercept have a normal prior of variance 1.

    Returns:
        Of the first kind and of the second; the same where none is of the second.

    Raises:
        ValueError: nothing happened, or everything: there is no sigmoid to fit.
    """
    offset = np.zeros(len(scores)) if priors is None else np.asarray(priors, dtype=np.float64)
    other = np.zeros(len(scores)) if second is None else np.asarray(second, dtype=np.float64)
    x = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(happened, dtype=bool)
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        raise ValueError("a sigmoid is fitted to scores of what happened and of what did not")
    targets = np.where(truth, (positive + 1) / (positive + 2), 1 / (negative + 2))
    features = np.stack([x, np.ones_like(x), other * x, other])
    at = np.array([0.0, np.log((positive + 1) / (negative + 1)), 0.0, 0.0])
    at[1] -= offset.mean()
    loss = _loss(features, targets, at, offset)
    for _ in range(_STEPS):
        p = _sigmoid(at @ features + offset)
        gradient = features @ (p - targets) + _PRIOR * at
        hessian = (features * (p * (1 - p))) @ features.T + np.diag(_PRIOR + _RIDGE)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-8:
            tried = at - size * step
            after = _loss(features, targets, tried, offset)
            if after < loss:
                break
            size /= 2
        else:
            break
        gain, at, loss = loss - after, tried, after
        if gain < 1e-10 * len(x):
            break
    slope, intercept, more_slope, more_intercept = map(float, at)
    return Sigmoid(slope, intercept), Sigmoid(slope + more_slope, intercept + more_intercept)


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Intercept and slope of least squares; the mean and 0 where all x are the same.

    Raises:
        ValueError: nothing to fit.
    """
    if not len(x):
        raise ValueError("a line needs points")
    at, value = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    spread = float(((at - at.mean()) ** 2).sum())
    slope = float(((at - at.mean()) * value).sum()) / spread if spread > _RIDGE else 0.0
    return float(value.mean() - slope * at.mean()), slope


def threshold(clean: Sequence[Sequence[float]], most_alarms: float) -> float:
    """The lowest probability from which lines may be called wrong so that clean changes have at most `most_alarms`
    false alarms each, on average.

    The bound is met with a standard error to spare, since these changes are only a sample: alarms are counted against
    `most_alarms` - sqrt(most_alarms / changes), the error of a Poisson count.

    Args:
        clean: the probabilities of the lines of each clean change.

    Returns:
        0 to 1; above the greatest probability of a clean line where no alarm at all may be.

    Raises:
        ValueError: no clean change.
    """
    if not clean:
        raise ValueError("a threshold needs clean changes")
    spare = (most_alarms / len(clean)) ** 0.5
    allowed = int(max(most_alarms - spare, 0.0) * len(clean))
    stated = sorted((value for change in clean for value in change), reverse=True)
    if allowed >= len(stated):
        return 0.0
    # Every alarm is a line of at least this probability, so it lies just above that of the first one too many.
    return float(min(np.nextafter(stated[allowed], 1.0), 1.0))


def area(scores: Sequence[float], happened: Sequence[bool]) -> float | None:
    """The area under the ROC curve, ties half (Mann and Whitney 1947); None where everything or nothing happened."""
    x, truth = np.asarray(scores, dtype=np.float64), np.asarray(happened, dtype=bool)
    positive, negative = x[truth], np.sort(x[~truth])
    if not len(positive) or not len(negative):
        return None
    below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return float(below.sum() / 2 / len(positive) / len(negative))


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1 / (1 + small), small / (1 + small))


def _loss(
    features: NDArray[np.float64], targets: NDArray[np.float64], at: NDArray[np.float64], offset: NDArray[np.float64]
) -> float:
    """The negative log-likelihood of targets that are probabilities themselves, and of the differences."""
    values = at @ features + offset
    return float((np.logaddexp(0.0, values) - targets * values).sum() + (_PRIOR * at**2).sum() / 2)
