"""When a counter was refreshed that is read more often than that: at some moment between two readings.

QEMU refreshes its guests' counters once a second, drivers of GPUs theirs every 20 to 100 ms. Taken for the moment of
the reading that shows it, a refresh is up to a sample late, and steady power would come and go by a tenth. But
refreshes are regular, so each narrows down how long a period is, and with it when the next one is due.
"""

from __future__ import annotations

import math

SLOWEST_REFRESH_NS = 1_000_000_000
"""QEMU's. A counter that was met between two refreshes is taken for one of these until it shows otherwise."""
_LIKELY_LATE_NS = 50_000_000  # at most, that a refresh is taken to have come before it was seen
_EARLY = 0.1  # of a period
_LONGEST_STILL_NS = 60_000_000_000  # that teaches: what was still for longer did hang, or is no meter
_STILL_DECAY = 0.9


class Refreshes:
    """The refreshes of one counter."""

    def __init__(self) -> None:
        self._first: tuple[int, int] | None = None  # the first one came after, and not after (ns)
        self._many = 0  # refreshes since the first one
        self._shortest, self._longest = 0.0, math.inf  # what the period can be
        self._latest_ns = 0
        self._still_ns = 0.0

    @property
    def still_seconds(self) -> float:
        """For how long it has stood still between two refreshes of late: its period is hardly longer than that."""
        return self._still_ns * 1e-9

    def stood_still(self, span_ns: int) -> None:
        """It has changed, and was read for so long before without a change. One that hung is soon as fast as before."""
        self._still_ns = max(min(span_ns, _LONGEST_STILL_NS), self._still_ns * _STILL_DECAY)

    def forget(self) -> None:
        """It is read too seldom to tell, or it began anew."""
        self._first = None

    def seen(self, after_ns: int, by_ns: int) -> int:
        """When it was refreshed (ns), after a reading without the refresh and by one with it."""
        if self._first is not None:
            period = self._period()
            passed = max(math.floor((by_ns - self._latest_ns) / period + _EARLY), 1)  # more where nobody read meanwhile
            many = self._many + passed
            shortest = max(self._shortest, (after_ns - self._first[1]) / many)
            longest = min(self._longest, (by_ns - self._first[0]) / many)
            if shortest <= longest:
                self._many, self._shortest, self._longest = many, shortest, longest
                due_ns = self._latest_ns + passed * round(self._period())
                self._latest_ns = min(max(due_ns, after_ns), by_ns)
                return self._latest_ns
        self._first = (after_ns, by_ns)
        self._many, self._shortest, self._longest = 0, 0.0, math.inf
        self._latest_ns = max((after_ns + by_ns) // 2, by_ns - _LIKELY_LATE_NS)
        return self._latest_ns

    def _period(self) -> float:
        if self._shortest <= SLOWEST_REFRESH_NS <= self._longest:
            return SLOWEST_REFRESH_NS
        return (self._shortest + self._longest) / 2
