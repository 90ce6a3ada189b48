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

    ``time_ns``: float64[n], CPU time. ``weights``, ``traffic``: float64[n], each row's weight in its package's and its
    DRAM's energy. ``total``, ``traffic_total``: float64[p + 1], their sums by payer, 0 where nobody ran.
    """

    package: Indexes
    time_ns: Floats
    weights: Floats
    traffic: Floats
    total: Floats
    traffic_total: Floats

    def charge(self, joules: Floats) -> Floats:
        """Joules by component and payer, float64[c, p + 1] → by component and row, float64[c, n]."""
        charged = self._prices(joules, self.total) * self.weights
        if self.traffic is not self.weights and len(joules) > DRAM:
            charged[DRAM] = self._prices(joules[DRAM : DRAM + 1], self.traffic_total) * self.traffic
        return charged

    def _prices(self, joules: Floats, total: Floats) -> Floats:
        """Joules by unit of weight, float64[c, n], or [c, 1] where they are the same for all."""
        price = np.divide(joules, total, out=np.zeros(joules.shape), where=total > 0)
        own: Floats = price[:, :-1] + price[:, -1:]
        return own if own.shape[1] == 1 else own[:, self.package]


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
    totals = _totals(weights, package, packages), _totals(traffic, package, packages)
    return Split(package, time_ns, weights, traffic, *totals)


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
