"""What of a collector's books outlives it: the node's figures, and where its counters stood.

Counters of energy run on while no collector does. One that starts goes on from the books of the one before, where every
counter tells what was used in between; nobody knows who used it, so that is idle energy up to the floor, and
unattributed beyond.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..columns import NODE, Floats
from ..energy.marks import Mark, between
from ..energy.meter import Meter
from ..energy.packages import PackageMeter
from ..energy.source import Domain
from .ledger import Ledger
from .weights import split_idle


class BrokenOff(Exception):
    """Why the books cannot be gone on with."""


@dataclass(frozen=True)
class ZoneState:
    """A zone's counter as it stood, its cumulative joules, and its idle floor (NaN where it was not known)."""

    value: int
    time_ns: int
    span: int
    joules: float
    floor_watts: float


@dataclass(frozen=True)
class Carry:
    """``source``: the meter that counted. ``measured``, ``idle``, ``unattributed``: float64[3], as in the ledger.

    ``charged``: by level, figures of all its rows, float64[components + 2]. ``zones``: by component and label.
    """

    source: str
    measured: Floats
    idle: Floats
    unattributed: Floats
    charged: Mapping[str, Floats]
    zones: Mapping[str, ZoneState]


@dataclass(frozen=True)
class Between:
    """What was used while nobody looked: joules of the node, how much of them is idle energy, and the seconds."""

    joules: float
    idle_joules: float
    seconds: float


def take(ledger: Ledger, meter: Meter, packages: PackageMeter) -> Carry | None:
    """The books as they stand; None where what some counter uses from now on would not be known to the next collector.

    ``packages``: the part of the meter that measures CPUs.
    """
    marks = packages.marks()
    places = {domain: place for place, domain in enumerate(meter.domains)}
    zones = {}
    for domain in (domain for domain, live in zip(packages.domains, packages.live.tolist()) if live):
        if domain not in marks:
            return None
        mark = marks[domain]
        place = places[domain]
        figures = float(ledger.domains[place]), float(ledger.floor_watts[place])
        zones[_key(domain)] = ZoneState(mark.value, mark.time_ns, mark.span, *figures)
    if not any(name.startswith("package/") for name in zones):
        return None
    charged = {name: level.total() for name, level in ledger.levels.items()}
    return Carry(packages.name, ledger.measured.copy(), ledger.idle.copy(), ledger.unattributed.copy(), charged, zones)


def resume(ledger: Ledger, meter: Meter, packages: PackageMeter, before: Carry) -> Between:
    """Let a ledger that has booked nothing yet go on from these books. Raises BrokenOff; then it is as it was."""
    if before.source != packages.name:
        raise BrokenOff(f"{before.source} counted then, {packages.name} does now")
    marks = packages.marks()
    places = {_key(domain): place for place, domain in enumerate(meter.domains) if domain in marks}
    measured, idle, unattributed = before.measured.copy(), before.idle.copy(), before.unattributed.copy()
    domains = np.zeros(len(meter.domains))
    longest = 0.0
    for name, zone in before.zones.items():
        if name not in places:
            raise BrokenOff(f"the counter of {name} is not there, or not known to be its own")
        domain = meter.domains[places[name]]
        now = marks[domain]
        verdict = between(Mark(zone.value, zone.time_ns, zone.span, now.unit_joules, now.most_watts), now)
        if verdict.fault:
            raise BrokenOff(f"what {name} used in between is not known: {verdict.fault}")
        domains[places[name]] = zone.joules + verdict.joules
        if domain.component in NODE:
            component = NODE.index(domain.component)
            seconds = (now.time_ns - zone.time_ns) * 1e-9
            dynamic, floor = split_idle(np.array([verdict.joules]), np.array([zone.floor_watts]), np.array([seconds]))
            measured[component] += verdict.joules
            idle[component] += floor[0]
            unattributed[component] += dynamic[0]
            longest = max(longest, seconds)
    ledger.resume(measured, idle, unattributed, before.charged, domains)
    used = float((measured - before.measured).sum())
    return Between(used, float((idle - before.idle).sum()), longest)


def _key(domain: Domain) -> str:
    return f"{domain.component}/{domain.zone}"
