"""Statistics of repeated runs: pure functions of columns of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..columns import Floats, Indexes

_CONFIDENCE = 0.98
"""Of ideal runs. What is promised is 95 %: real runs are not independent, nor as often disturbed by one command as by
the other, and then an interval holds the truth less often than in theory."""
FEWEST_PAIRS = 7
"""With six pairs every sign comes out the same by chance in 1 of 32 cases: no such interval is to be had."""
_OUTLIER_SCORE = 3.5
_NORMAL_MAD = 0.6745


@dataclass(frozen=True)
class Summary:
    """``deviation``: standard deviation of single runs, NaN of fewer than two. ``outliers``: positions of odd runs."""

    mean: float
    deviation: float
    lowest: float
    highest: float
    outliers: tuple[int, ...]


def summarize(values: Sequence[float]) -> Summary:
    """Of at least one value. NaN where any value is."""
    column = np.array(values)
    deviation = float(column.std(ddof=1)) if len(column) > 1 else math.nan
    return Summary(
        float(column.mean()), deviation, float(column.min()), float(column.max()), tuple(outliers(column).tolist())
    )


def outliers(column: Floats) -> Indexes:
    """Positions of values that are far from the median: modified z-score above 3.5.

    Iglewicz and Hoaglin, "How to Detect and Handle Outliers", ASQC 1993: by the median absolute deviation, which the
    outliers themselves do not stretch.
    """
    distance = np.abs(column - np.median(column))
    spread = float(np.median(distance))
    if not spread > 0:
        return np.empty(0, np.intp)
    return np.flatnonzero(_NORMAL_MAD * distance / spread > _OUTLIER_SCORE)


@dataclass(frozen=True)
class Ratio:
    """How many times as much one command uses as another: with at least 95 % confidence from ``low`` to ``high``."""

    estimate: float
    low: float
    high: float

    @property
    def is_significant(self) -> bool:
        """Whether chance alone does not explain it: 1 is outside of the interval."""
        return not self.low <= 1.0 <= self.high


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio | None:
    """The ratio of two figures by pairs of runs; None where there are too few pairs, or a figure is not above 0.

    Hodges and Lehmann's estimate and interval on the logarithms of the pairs' ratios ("Estimates of Location Based on
    Rank Tests", Annals of Mathematical Statistics 34, 1963), by the signed-rank distribution. A pair runs one after the
    other, so a machine that grows warm cancels out; a few odd runs move it little; no normal distribution is assumed.
    """
    pairs = min(len(above), len(below))
    first, second = np.array(above[:pairs], np.float64), np.array(below[:pairs], np.float64)
    if len(first) < FEWEST_PAIRS or not ((first > 0).all() and (second > 0).all()):
        return None
    logs = np.log(first / second)
    upper = np.triu_indices(len(logs))
    means = np.sort((logs[upper[0]] + logs[upper[1]]) / 2)
    cut = _signed_rank_cut(len(logs))
    low, middle, high = np.exp([means[cut], np.median(means), means[len(means) - 1 - cut]]).tolist()
    return Ratio(middle, low, high)


def _signed_rank_cut(pairs: int) -> int:
    """How many of the lowest pairwise means are outside of the interval, and as many of the highest.

    The largest value up to which the signed-rank statistic of so many pairs comes with a probability of at most 1 %.
    """
    chance = np.zeros(pairs * (pairs + 1) // 2 + 1)
    chance[0] = 1.0
    for rank in range(1, pairs + 1):
        shifted = np.concatenate((np.zeros(rank), chance[:-rank]))
        chance = (chance + shifted) / 2
    return int(np.searchsorted(np.cumsum(chance), (1 - _CONFIDENCE) / 2, side="right")) - 1
