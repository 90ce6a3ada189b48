"""Who used the joules: pure functions on columns, no I/O.

Notation: n rows (a process or a workload on one package in one sample), p packages, k samples. Each package's energy
is shared among the rows that ran on that package, never the sum over packages: dividing the sum erred by tens of
percent with two sockets under different loads (``make study``). What no package can be told for is shared among all
rows: payer p.
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
    """How the rows of one level share the energy of k samples.

    ``cell``: intp[n], sample * p + package. ``time_ns``: float64[n], CPU time. ``weights``, ``traffic``: float64[n],
    each row's weight in its package's and its DRAM's energy. ``total``, ``traffic_total``: float64[k, p + 1], their
    sums by sample and payer, 0 where nobody ran.
    """

    cell: Indexes
    time_ns: Floats
    weights: Floats
    traffic: Floats
    total: Floats
    traffic_total: Floats

    def charge(self, joules: Floats) -> Floats:
        """Joules by sample, component and payer, float64[k, c, p + 1] → by component and row, float64[c, n]."""
        charged = self._prices(joules, self.total) * self.weights
        if self.traffic is not self.weights and joules.shape[1] > DRAM:
            charged[DRAM] = self._prices(joules[:, DRAM : DRAM + 1], self.traffic_total) * self.traffic
        return charged

    def _prices(self, joules: Floats, total: Floats) -> Floats:
        """Joules by unit of weight, float64[c, n], or [c, 1] where they are the same for all."""
        total = total[:, np.newaxis]
        price = np.divide(joules, total, out=np.zeros(joules.shape), where=total > 0)
        own = (price[..., :-1] + price[..., -1:]).transpose(1, 0, 2).reshape(joules.shape[1], -1)
        return own if own.shape[1] == 1 else own.take(self.cell, axis=1)


def share(slices: Slices, samples: int, packages: int, ratio: float, by_cycles: bool, by_misses: bool) -> Split:
    """Weigh what rows did in so many samples: by cycles where counted, else by time, either corrected for hyperthreads.

    DRAM is shared by last-level cache misses where counted, else by cycles or time without that correction: what two
    threads of a core save each other is the core's energy, not the memory's.
    """
    cell = slices.sample if packages == 1 else slices.sample * packages + slices.package
    time_ns = slices.alone_ns + slices.shared_ns
    work = _cycles(slices, time_ns, samples) if by_cycles else time_ns
    weights = hyperthread_weights(slices.alone_ns, slices.shared_ns, ratio)
    if by_cycles:
        weights = work * np.divide(weights, time_ns, out=np.ones(len(time_ns)), where=time_ns > 0)
    traffic = work
    if by_misses:
        missed = np.bincount(cell, slices.misses, samples * packages) > 0
        traffic = np.where(missed[cell], slices.misses, work)
    shape = (samples, packages)
    return Split(cell, time_ns, weights, traffic, _totals(weights, cell, shape), _totals(traffic, cell, shape))


def _totals(weights: Floats, cell: Indexes, shape: tuple[int, int]) -> Floats:
    """Sums by sample and payer: each package, and behind them all of them."""
    samples, packages = shape
    total = np.empty((samples, packages + 1))
    total[:, :-1] = np.bincount(cell, weights, samples * packages).reshape(shape)
    total[:, -1] = total[:, :-1].sum(axis=1)
    return total


def _cycles(slices: Slices, time_ns: Floats, samples: int) -> Floats:
    """Cycles, or what they would have been at everybody's mean rate where a CPU has no counter (it came late)."""
    cycles = slices.cycles
    missing = (cycles <= 0) & (time_ns > 0)
    if not missing.any():
        return cycles
    counted_ns = np.bincount(slices.sample, time_ns * ~missing, samples)
    all_cycles = np.bincount(slices.sample, cycles, samples)
    rate = np.divide(all_cycles, counted_ns, out=np.ones(samples), where=(counted_ns > 0) & (all_cycles > 0))
    return np.where(missing, time_ns * rate[slices.sample], cycles)
