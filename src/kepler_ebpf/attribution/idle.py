"""The idle floor of a domain: what it draws when nothing runs, learned while things run."""

from __future__ import annotations

import math
from collections.abc import Callable

_BINS = 20
_LOW_BINS = 2  # up to 10 % utilisation counts as low
_DECAY_SECONDS = 600.0
_FIT_EVERY = 50
_MIN_SPREAD_BINS = 4
_MIN_BIN_SECONDS = 1.0


class IdleFloor:
    """Lowest power seen at low utilisation; until there is any, where a line through power over utilisation starts.

    Samples are averaged in bins of 5 % utilisation, old ones fading over ten minutes, so one odd reading moves little.
    The line is Theil and Sen's: the median of slopes between bins, which a few odd bins do not bend.
    """

    def __init__(self, watts: float | Callable[[], float] | None = None) -> None:
        """``watts``: a floor that is known, or what tells it: not to be learned."""
        self._tell = watts if callable(watts) else None
        self._fixed = watts is not None
        self._watts = math.nan if watts is None or callable(watts) else watts
        self._power = [0.0] * _BINS
        self._load = [0.0] * _BINS
        self._seconds = [0.0] * _BINS
        self._updates = 0

    @property
    def watts(self) -> float:
        """The floor, NaN until anything is known of it."""
        return self._watts if self._tell is None else self._tell()

    def hold(self) -> None:
        """Learn no more: the floor stays what it is."""
        self._fixed = True

    def update(self, power_watts: float, utilization: float, seconds: float) -> None:
        """One sample: mean power, mean utilisation (0 to 1) and its length."""
        if self._fixed or seconds <= 0:
            return
        position = min(int(utilization * _BINS), _BINS - 1)
        known = self._seconds[position] * math.exp(-seconds / _DECAY_SECONDS)
        whole = known + seconds
        self._power[position] += (power_watts - self._power[position]) * seconds / whole
        self._load[position] += (utilization - self._load[position]) * seconds / whole
        self._seconds[position] = whole
        self._updates += 1
        if self._updates % _FIT_EVERY == 0 or math.isnan(self._watts):
            self._learn()

    def _learn(self) -> None:
        bins = [k for k in range(_BINS) if self._seconds[k] >= _MIN_BIN_SECONDS]
        low = [self._power[k] for k in bins if k < _LOW_BINS]
        if low:
            self._watts = min(low)
        elif len(bins) >= _MIN_SPREAD_BINS:
            slopes = sorted(
                (self._power[j] - self._power[i]) / (self._load[j] - self._load[i])
                for i in bins
                for j in bins
                if i < j and self._load[j] > self._load[i]
            )
            slope = slopes[len(slopes) // 2]
            starts = sorted(self._power[k] - slope * self._load[k] for k in bins)
            lowest = min(self._power[k] for k in bins)
            self._watts = min(max(starts[len(starts) // 2], 0.0), lowest)
