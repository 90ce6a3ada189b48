"""When to take the next sample: on a fixed grid that does not drift, stretched where samples cost too much."""

from __future__ import annotations

_SMOOTHING = 0.1
_STRETCH_MARGIN = 0.8


class Schedule:
    """Times are monotonic seconds. ``interval``: the effective one; ``late``: grid points that were missed.

    ``budget``: the part of one core that sampling may use. When the smoothed cost of a sample exceeds it, the interval
    stretches so that it does not; it shrinks back when samples are cheap again. Resolution gives way, correctness
    never: every sample is attributed over the time that really passed.
    """

    def __init__(self, interval: float, budget: float, now: float) -> None:
        self.configured = interval
        self.interval = interval
        self.late = 0
        self._budget = budget
        self._origin = now
        self._tick = 0
        self._cost = 0.0

    def begin(self, now: float) -> None:
        """Let the grid begin here: nobody waited for a sample before."""
        self._origin, self._tick = now, 0

    def next(self, now: float) -> float:
        """The next grid point after ``now``; those that have passed already are skipped and counted."""
        self._skip(now)
        self._tick += 1
        return self._origin + self._tick * self.interval

    def spent(self, cpu_seconds: float, now: float) -> None:
        """Tell what a sample cost in CPU time, a mean where several are booked at once; may move the grid."""
        self._cost += _SMOOTHING * (cpu_seconds - self._cost)
        needed = self._cost / self._budget
        if needed > self.interval:
            wanted = needed
        elif self.interval > self.configured and needed < _STRETCH_MARGIN * self.interval:
            wanted = max(self.configured, needed)
        else:
            return
        self._skip(now)  # what was missed was missed on the old grid
        self.interval, self._origin, self._tick = wanted, now, 0

    def _skip(self, now: float) -> None:
        """Count the grid points after the one last due that have passed by ``now``."""
        passed = max(self._tick, int((now - self._origin) / self.interval) - 1)
        while self._origin + (passed + 1) * self.interval <= now:
            passed += 1  # at most twice: the division rounds
        self.late += passed - self._tick
        self._tick = passed
