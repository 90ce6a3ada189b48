"""Who used the joules: pure functions on columns, no I/O.

Notation: n rows (a process or a workload on one package), p packages. Each package's energy is shared among the rows
that ran on that package, never the sum over packages: dividing the sum erred by tens of percent with two sockets under
different loads (``make study``). What no package can be told for is shared among all rows: payer p.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..columns import DRAM, Floats, Indexes
from ..kernel.table import Slices

DEFAULT_HYPERTHREAD_RATIO = 1.1
"""Energy of two busy hyperthreads over that of one (Zhai et al., "HaPPy: Hyperthread-aware Power Profiling
Dynamically", USENIX ATC 2014)."""


def hyperthread_weights(alone: Floats, shared: Floats, ratio: float) -> Floats:
    """Time weighted by what it costs: ``alone + (ratio / 2) * shared``, in the unit of the arguments.

    Two threads that share a core draw ``ratio`` times what one alone draws, half of it each. ``ratio`` 2 switches the
    correction off.
    """
    return alone + (0.5 * ratio) * shared


def split_idle(joules: Floats, floor_watts: Floats, seconds: Floats) -> tuple[Floats, Floats]:
    """Split measured joules into dynamic and idle: ``dynamic = max(0, E - P_idle * dt)``.

    All float64[d], one entry a domain. An unknown floor (NaN) counts as none. The two sum to ``joules``.
    """
    idle = np.minimum(np.where(floor_watts > 0, floor_watts, 0.0) * seconds, joules)
    return joules - idle, idle


@dataclass(frozen=True)
class Split:
    """How the rows of one level share one stretch.

    ``weights``, ``traffic``: float64[n], each row's weight in its package's and its DRAM's energy. ``total``,
    ``traffic_total``: float64[p + 1], their sums by payer, 0 where nobody ran.
    """

    package: Indexes
    weights: Floats
    traffic: Floats
    total: Floats
    traffic_total: Floats

    def charge(self, joules: Floats) -> Floats:
        """Joules by component and payer, float64[c, p + 1] → by component and row, float64[c, n]."""
        charged = np.zeros((len(joules), len(self.weights)))
        for component in np.flatnonzero(joules.any(axis=1)).tolist():
            weights, total = self.weights, self.total
            if component == DRAM:
                weights, total = self.traffic, self.traffic_total
            price = np.divide(joules[component], total, out=np.zeros(len(total)), where=total > 0)
            own = price[:-1] + price[-1]
            np.multiply(weights, own[0] if len(own) == 1 else own[self.package], out=charged[component])
        return charged


def share(slices: Slices, packages: int, ratio: float, by_cycles: bool, by_misses: bool) -> Split:
    """Weigh what rows did: by cycles where counted, else by time, either corrected for hyperthreads.

    DRAM is shared by last-level cache misses where counted, else by cycles or time without that correction: what two
    threads of a core save each other is the core's energy, not the memory's.
    """
    package = slices.package
    time_ns = slices.alone_ns + slices.shared_ns
    work = _cycles(slices.cycles, time_ns) if by_cycles else time_ns
    weights = hyperthread_weights(slices.alone_ns, slices.shared_ns, ratio)
    if by_cycles:
        weights = work * np.divide(weights, time_ns, out=np.ones(len(time_ns)), where=time_ns > 0)
    traffic = work
    if by_misses:
        missed = np.bincount(package, slices.misses, packages) > 0
        traffic = np.where(missed[package], slices.misses, work)
    total = _totals(weights, package, packages)
    return Split(package, weights, traffic, total, _totals(traffic, package, packages))


def _totals(weights: Floats, package: Indexes, packages: int) -> Floats:
    """Sums by payer: each package, and behind them all of them."""
    total = np.empty(packages + 1)
    total[-1] = weights.sum()
    total[:-1] = total[-1] if packages == 1 else np.bincount(package, weights, packages)
    return total


def _cycles(cycles: Floats, time_ns: Floats) -> Floats:
    """Cycles, or what they would have been at everybody's mean rate where a CPU has no counter (it came late)."""
    missing = (cycles <= 0) & (time_ns > 0)
    if not missing.any():
        return cycles
    counted_ns = float(time_ns[~missing].sum())
    rate = float(cycles.sum()) / counted_ns if counted_ns > 0 else 1.0
    return np.where(missing, time_ns * (rate or 1.0), cycles)
