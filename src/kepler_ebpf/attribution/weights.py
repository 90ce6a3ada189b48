"""Who used the joules: pure functions on columns, no I/O.

Notation: n rows (a process or a cgroup on one package), p packages. Each package's energy is shared among the rows that
ran on that package, never the sum over packages: dividing the sum erred by tens of percent with two sockets under
different loads (``make study``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..columns import DRAM, Floats
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


def shares(weights: Floats, package: NDArray[np.intp], packages: int) -> tuple[Floats, Floats]:
    """Each row's part of its package: float64[n], summing to 1 in each package that has any weight.

    Also returns the sum of weights per package, float64[p]; where it is 0 all shares are 0.
    """
    total = np.bincount(package, weights, packages).astype(np.float64)
    inverse = np.divide(1.0, total, out=np.zeros(packages), where=total > 0)
    return weights * inverse[package], total


def split_idle(joules: Floats, floor_watts: Floats, seconds: Floats) -> tuple[Floats, Floats]:
    """Part measured joules into dynamic and idle: ``dynamic = max(0, E - P_idle * dt)``.

    All float64[d], one entry a domain. An unknown floor (NaN) counts as none. The two parts sum to ``joules``.
    """
    idle = np.minimum(np.nan_to_num(floor_watts) * seconds, joules)
    return joules - idle, idle


@dataclass(frozen=True)
class Split:
    """How the rows of one level share one sample.

    ``part``, ``dram_part``: float64[n], each row's part of its package's and its DRAM's energy. ``total``: float64[p],
    the sum of weights in each package, 0 where nobody ran.
    """

    package: NDArray[np.intp]
    part: Floats
    dram_part: Floats
    total: Floats

    def charge(self, joules: Floats) -> Floats:
        """Joules by component and package, float64[c, p] → by component and row, float64[c, n]."""
        charged = joules[:, self.package] * self.part
        charged[DRAM] = joules[DRAM, self.package] * self.dram_part
        return charged


def share(slices: Slices, packages: int, ratio: float, by_cycles: bool, by_misses: bool) -> Split:
    """Weigh what rows did in one sample: by cycles where counted, else by time, either corrected for hyperthreads;
    DRAM by last-level cache misses where counted."""
    time_ns = slices.alone_ns + slices.shared_ns
    weights = hyperthread_weights(slices.alone_ns, slices.shared_ns, ratio)
    if by_cycles:
        weights = slices.cycles * np.divide(weights, time_ns, out=np.ones(len(time_ns)), where=time_ns > 0)
    part, total = shares(weights, slices.package, packages)
    dram_part = part
    if by_misses:
        of_misses, misses = shares(slices.misses, slices.package, packages)
        dram_part = np.where(misses[slices.package] > 0, of_misses, part)
    return Split(slices.package, part, dram_part, total)
