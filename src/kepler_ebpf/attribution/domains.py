"""The meter's domains as columns: which component and package each counts for, its power and its idle floor."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..columns import NODE, WORKLOAD, Floats
from ..energy.meter import Interval, Meter
from ..host.topology import Topology
from .weights import split_idle

log = logging.getLogger(__name__)


class Floor(Protocol):
    """An idle floor that is learned on line, or set: ``watts`` is NaN until it is known."""

    @property
    def watts(self) -> float: ...

    def update(self, power_watts: float, utilization: float, seconds: float) -> None: ...


class DomainColumns:
    """One entry per domain of the meter, in its order; the meter's list only grows.

    ``joules``: float64[d], all that was booked. ``power_watts``: float64[d], at the latest reading. ``floor_watts``:
    float64[d], NaN where unknown. ``gpus``: positions of the GPUs.
    """

    def __init__(self, meter: Meter, topology: Topology, floor_of: Callable[[int], Floor]) -> None:
        self._meter = meter
        self._package_ids = topology.package_ids
        self._packages = topology.packages
        self._floor_of = floor_of
        self._floors: list[Floor] = []
        self.joules: Floats = np.zeros(0)
        self.power_watts: Floats = np.zeros(0)
        self.adopt()

    def adopt(self) -> None:
        """Take up domains that the meter has come to offer."""
        domains, ids = self._meter.domains, self._package_ids
        known = len(self._floors)
        if known == len(domains) and known:
            return
        for position, domain in enumerate(domains[known:], known):
            self._floors.append(self._floor_of(position))
            if domain.component != "gpu" and domain.index not in ids:
                log.warning("energy of package %d (%s): no CPU of ours is on it", domain.index, domain.source)
        self._package = np.array(
            [ids.index(d.index) if d.component != "gpu" and d.index in ids else -1 for d in domains], np.intp
        )
        self._component = np.array(
            [WORKLOAD.index(d.component) if d.component in WORKLOAD else -1 for d in domains], np.intp
        )
        self._of_node = (self._component >= 0) & (self._component < len(NODE))
        self._placed = (self._component >= 0) & (self._package >= 0)
        self._of_package = self._placed & (self._component == WORKLOAD.index("package"))
        self._inside = np.flatnonzero(self._placed & ~self._of_node)
        self.gpus = np.flatnonzero(self._component == WORKLOAD.index("gpu"))
        self.joules = np.pad(self.joules, (0, len(domains) - known))
        self.power_watts = np.pad(self.power_watts, (0, len(domains) - known))
        self.floor_watts = np.array([floor.watts for floor in self._floors], np.float64)

    def part(self, interval: Interval, utilization: Floats, gpu_load: Callable[[int], float]) -> tuple[Floats, Floats]:
        """Teach the idle floors from a reading, and part the joules of every domain into dynamic and idle.

        ``utilization``: float64[p], 0 to 1, of each package; ``gpu_load``: likewise of a GPU's domain.
        """
        joules, seconds = interval.joules, interval.seconds
        np.divide(joules, seconds, out=self.power_watts, where=seconds > 0)  # held where there is no new reading
        for domain in np.flatnonzero(self._of_node & (seconds > 0)).tolist():
            package = self._package[domain]
            load = float(utilization[package]) if package >= 0 else gpu_load(domain)
            self._floors[domain].update(float(self.power_watts[domain]), load, float(seconds[domain]))
            self.floor_watts[domain] = self._floors[domain].watts
        dynamic, idle = split_idle(joules, self.floor_watts, seconds)
        if len(self._inside):
            # Core and uncore are inside the package: of what they used, as large a part is dynamic.
            package = self._package[self._of_package]
            whole = np.bincount(package, joules[self._of_package], self._packages)
            moving = np.bincount(package, dynamic[self._of_package], self._packages)
            ratio = np.divide(moving, whole, out=np.zeros(self._packages), where=whole > 0)
            dynamic[self._inside] = joules[self._inside] * ratio[self._package[self._inside]]
        return dynamic, idle

    def node_watts(self) -> float:
        """Power of the node at the latest readings."""
        return float(self.power_watts[self._of_node].sum())

    def by_component(self, joules: Floats) -> Floats:
        """Sum over the domains that make up the node: float64[3]."""
        sums = np.zeros(len(NODE))
        np.add.at(sums, self._component[self._of_node], joules[self._of_node])
        return sums

    def by_package(self, joules: Floats, where: NDArray[np.bool_]) -> Floats:
        """Sums by component and package, float64[5, p], 0 where ``where`` (bool[p]) is not.

        DomainColumns on no package of ours stay out, and so end up unattributed.
        """
        sums = np.zeros((len(WORKLOAD), self._packages))
        np.add.at(sums, (self._component[self._placed], self._package[self._placed]), joules[self._placed])
        return sums * where
