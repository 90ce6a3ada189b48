"""Where counters stand that run on while no collector reads them, and what one used between two such marks."""

from __future__ import annotations

from dataclasses import dataclass

from .believe import Believer, Verdict


@dataclass(frozen=True)
class Mark:
    """A value of a counter that was believed. ``value``: in units, first seen at ``time_ns`` (since boot).

    ``span``: units at which it wraps, 0 where that is not known. ``most_watts``: more than it can draw.
    """

    value: int
    time_ns: int
    span: int
    unit_joules: float
    most_watts: float


def between(before: Mark, now: Mark) -> Verdict:
    """What the counter used from one mark to the other: judged as any two readings are, however far apart."""
    if before.span != now.span:
        return Verdict(fault="range")
    if before.time_ns > now.time_ns:
        return Verdict(fault="ahead of the clock")
    believer = Believer(now.span, now.unit_joules, now.most_watts, only_two=True)
    start = believer.read(before.value, before.time_ns)
    return start if start.fault else believer.read(now.value, now.time_ns)
