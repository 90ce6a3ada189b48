"""Differences of energy counters that wrap, reset and stall."""

from __future__ import annotations

from dataclasses import dataclass

PLAUSIBLE_WATTS = 2000.0
"""More than any one RAPL domain draws. A counter of 262 kJ wraps no sooner than in two minutes at that power."""


def energy_delta(now: int, before: int, span: int) -> int:
    """Units used between two readings of a counter that wraps at ``span``, at most one wrap apart.

    A powercap zone counts from 0 to ``max_energy_range_uj`` inclusive, so its span is that value plus one unit.
    """
    return now - before if now >= before else now - before + span


@dataclass
class WrappingCounter:
    """The latest good reading of one counter: ``value`` in units of ``unit_joules``, taken at ``time_ns``."""

    span: int
    unit_joules: float
    value: int
    time_ns: int
    plausible_watts: float = PLAUSIBLE_WATTS

    def advance(self, value: int, time_ns: int) -> tuple[float, str]:
        """Joules since the reading before and ``""``, or 0 and why they cannot be known.

        ``reset``: it went back by more than a wrap explains. ``gap``: so much time has passed that it may have wrapped
        more than once, or once without our seeing it.
        """
        seconds = max(time_ns - self.time_ns, 0) * 1e-9
        most = self.plausible_watts * seconds / self.unit_joules
        delta = energy_delta(value, self.value, self.span)
        wrapped = value < self.value
        self.value, self.time_ns = value, time_ns
        if most >= self.span:
            return 0.0, "gap"
        if delta > most + 1:
            return 0.0, "reset" if wrapped else "jump"
        return delta * self.unit_joules, ""
