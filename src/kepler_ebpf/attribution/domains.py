"""The meter's domains as columns: which component and payer each counts for, its power and its idle floor."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..columns import PACKAGE, WORKLOAD, Floats, set_positions
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
    """One entry per domain of the meter, in its order; the meter's list only grows.

    ``watts``: float64[d], power at the latest reading. ``floor_watts``: float64[d], NaN where unknown.
    """

    def __init__(self, meter: Meter, packages: int, floors: FloorOptions) -> None:
        """``packages``: how many the kernel's rows tell apart."""
        self._meter = meter
        self._packages = packages
        self._options = floors
        self._floors: list[IdleFloor] = []
        self._layout = Layout(np.zeros(0, np.intp), np.zeros(0, np.intp), packages)
        self._busy: Floats = np.zeros(0)
        self._wall: Floats = np.zeros(0)
        self.watts: Floats = np.zeros(0)
        self.floor_watts: Floats = np.zeros(0)
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
        payer = [d.index if 0 <= d.index < self._packages else self._packages for d in domains]
        self._layout = Layout(np.array(component, np.intp), np.array(payer, np.intp), self._packages)
        pad = (0, len(domains) - known)
        self._busy, self._wall, self.watts = (np.pad(column, pad) for column in (self._busy, self._wall, self.watts))
        self.floor_watts = np.array([floor.watts for floor in self._floors], np.float64)

    def hold_floors(self) -> None:
        """Leave the idle floors of the domains there are as they are from here on."""
        for floor in self._floors:
            floor.hold()

    def read(self, samples: Sequence[Sample]) -> Reading:
        """Teach the idle floors, and split the joules of every domain into dynamic and idle, sample by sample."""
        self._adopt()
        shape = (len(samples), len(self._floors))
        joules, seconds, watts, floor_watts = np.zeros((4, *shape))
        live = np.zeros(shape, np.bool_)
        for number, sample in enumerate(samples):
            known = len(sample.live)  # domains that came later had told nothing
            joules[number, :known] = sample.interval.joules
            seconds[number, :known] = sample.interval.seconds
            live[number, :known] = sample.live
        power = np.divide(joules, seconds, out=np.zeros(shape), where=seconds > 0)
        busy, wall = (
            np.array([getattr(sample, name) for sample in samples]).take(self._layout.payer, axis=1)
            for name in ("busy_seconds", "wall_seconds")
        )
        for number, sample in enumerate(samples):
            fresh = seconds[number] > 0
            np.copyto(self.watts, power[number], where=fresh)  # held where there is no new reading
            self.watts[~live[number]] = 0.0
            self._busy += busy[number]
            self._wall += wall[number]
            for domain in set_positions(fresh & self._layout.is_node).tolist():
                self._teach(domain, float(seconds[number, domain]), sample)
                self._busy[domain] = self._wall[domain] = 0.0
            watts[number], floor_watts[number] = self.watts, self.floor_watts
        return reading(joules, seconds, watts, floor_watts, live, self._layout)

    def _teach(self, domain: int, seconds: float, sample: Sample) -> None:
        if self._layout.is_gpu[domain]:
            load = sample.gpus[domain].load if domain in sample.gpus else math.nan
        else:
            wall = float(self._wall[domain])
            load = min(float(self._busy[domain]) / wall, 1.0) if wall > 0 else 0.0
        if load == load:  # a load that is not known (NaN) teaches nothing
            self._floors[domain].update(float(self.watts[domain]), load, seconds)
            self.floor_watts[domain] = self._floors[domain].watts


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
