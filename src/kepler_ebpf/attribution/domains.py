"""The meter's domains as columns: which component and payer each counts for, its power and its idle floor."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..columns import NODE, PACKAGE, WORKLOAD, Floats
from ..energy.meter import Meter
from ..energy.source import Domain
from .frame import Layout, Reading
from .idle import IdleFloor
from .samples import Sample
from .weights import split_idle

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FloorOptions:
    """Idle floors that the user has set: watts of all packages together, and of each GPU; None: learned."""

    idle_watts: float | None = None
    gpu_idle_watts: float | None = None

    def floor(self, domain: Domain, packages: int) -> IdleFloor:
        """The floor of a domain: set by the user, known to its source, or to be learned.

        ``packages``: how many package domains share ``idle_watts``.
        """
        if domain.component == "package" and self.idle_watts is not None:
            return IdleFloor(self.idle_watts / packages)
        if domain.component == "gpu" and self.gpu_idle_watts is not None:
            return IdleFloor(self.gpu_idle_watts)
        return IdleFloor(domain.idle_watts)


class DomainColumns:
    """One entry per domain of the meter, in its order; the meter's list only grows."""

    def __init__(self, meter: Meter, packages: int, floors: FloorOptions) -> None:
        """``packages``: how many the kernel's rows tell apart."""
        self._meter = meter
        self._packages = packages
        self._options = floors
        self._floors: list[IdleFloor] = []
        self._layout = Layout(np.zeros(0, np.intp), np.zeros(0, np.intp), packages)
        self._payer: list[int] = []
        self._counts: list[str] = []  # the component, where it is one of the node's
        # Since each domain told something, CPU time in use, and that there was; and its power at the latest reading.
        self._busy: list[float] = []
        self._wall: list[float] = []
        self._watts: list[float] = []
        self._adopt()

    def _adopt(self) -> None:
        """Take up domains that the meter has come to offer."""
        domains, known = self._meter.domains, len(self._floors)
        if known == len(domains):
            return
        of_source = Counter(domain.source for domain in domains if domain.component == "package")
        self._floors += [self._options.floor(domain, of_source[domain.source]) for domain in domains[known:]]
        component = [WORKLOAD.index(d.component) if d.component in WORKLOAD else -1 for d in domains]
        # The rank of a package that the rows do not tell apart: everybody pays.
        self._payer = [d.index if 0 <= d.index < self._packages else self._packages for d in domains]
        self._counts = [d.component if d.component in NODE else "" for d in domains]
        self._layout = Layout(np.array(component, np.intp), np.array(self._payer, np.intp), self._packages)
        for column in (self._busy, self._wall, self._watts):
            column += [0.0] * (len(domains) - known)

    def hold_floors(self) -> None:
        """Leave the idle floors of the domains there are as they are from here on."""
        for floor in self._floors:
            floor.hold()

    def read(self, samples: Sequence[Sample]) -> Reading:
        """Teach the idle floors, and split the joules of every domain into dynamic and idle, sample by sample."""
        self._adopt()
        domains = range(len(self._floors))
        watts, floor_watts = [], []
        for sample in samples:
            for domain in domains[: len(sample.live)]:  # a domain that came later had told nothing
                self._take(domain, sample)
            watts.append(self._watts.copy())
            floor_watts.append([floor.watts for floor in self._floors])
        return reading(
            _columns([sample.interval.joules for sample in samples], len(domains)),
            _columns([sample.interval.seconds for sample in samples], len(domains)),
            np.array(watts, np.float64),
            np.array(floor_watts, np.float64),
            _columns([sample.live for sample in samples], len(domains)).astype(np.bool_),
            self._layout,
        )

    def _take(self, domain: int, sample: Sample) -> None:
        payer, seconds = self._payer[domain], sample.interval.seconds[domain]
        self._busy[domain] += sample.busy_seconds[payer]
        self._wall[domain] += sample.wall_seconds[payer]
        if seconds > 0:  # power is held where there is no new reading
            self._watts[domain] = sample.interval.joules[domain] / seconds
        if not sample.live[domain]:
            self._watts[domain] = 0.0
        if seconds > 0 and self._counts[domain]:
            load = self._load(domain, sample)
            if load == load:  # a load that is not known (NaN) teaches nothing
                self._floors[domain].update(self._watts[domain], load, seconds)
            self._busy[domain] = self._wall[domain] = 0.0

    def _load(self, domain: int, sample: Sample) -> float:
        """Utilisation while it used what it tells, NaN where that is not known."""
        if self._counts[domain] == "gpu":
            return sample.gpus[domain].load if domain in sample.gpus else math.nan
        wall = self._wall[domain]
        return min(self._busy[domain] / wall, 1.0) if wall > 0 else math.nan


def _columns(rows: Sequence[Sequence[float]], width: int) -> Floats:
    """As an array, float64[k, width]; rows may be shorter, and are 0 there."""
    columns = np.zeros((len(rows), width))
    for column, row in zip(columns, rows):
        column[: len(row)] = row
    return columns


def reading(
    joules: Floats,
    seconds: Floats,
    watts: Floats,
    floor_watts: Floats,
    live: NDArray[np.bool_],
    layout: Layout,
) -> Reading:
    """A reading with its joules split into dynamic and idle; columns as in :class:`.frame.Reading`, of k samples."""
    dynamic, idle = split_idle(joules, floor_watts, seconds)
    found = Reading(joules, seconds, dynamic, idle, watts, floor_watts, live, layout)
    inside = layout.inside
    if len(inside):
        # Core and uncore are inside the package: of what they used, as large a fraction is dynamic.
        whole, moving = found.by_payer(joules)[:, PACKAGE], found.by_payer(dynamic)[:, PACKAGE]
        ratio = np.divide(moving, whole, out=np.zeros(whole.shape), where=whole > 0)
        dynamic[:, inside] = joules[:, inside] * ratio[:, layout.payer[inside]]
    return found
