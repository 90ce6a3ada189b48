"""Slices that are open now: what the tasks that run at this moment have used since they were switched in.

Nobody is interrupted to learn it. Each CPU's row says since when its open slice runs and whose it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..columns import set_positions
from .table import Table, Words


@dataclass(frozen=True)
class Running:
    """The open slices of the CPUs that run something.

    ``time_ns``: when (CLOCK_MONOTONIC). ``busy_ns``: uint64[cpus], CPU time of each CPU until then. ``cpu``,
    ``since_ns``: where, and since when, intp[n] and uint64[n]. ``use``, ``cgroup_use``: intp[n], positions of their
    owners. ``alone_ns``, ``shared_ns``: uint64[n], so far, by the wall clock.
    """

    time_ns: int
    busy_ns: Words
    cpu: NDArray[np.intp]
    since_ns: Words
    use: NDArray[np.intp]
    cgroup_use: NDArray[np.intp]
    alone_ns: Words
    shared_ns: Words


def running_now(cpus: NDArray[np.void], clock_ns: Callable[[], int] = time.monotonic_ns) -> Running:
    """Read the open slices from the CPUs' rows.

    Read them after the tables: what a table has of a slice is then never here too. A row that changes while it is
    read is left out: its slice has only just begun. ``since_ns`` is 0 while the kernel changes a row, and another
    value after.
    """
    since = cpus["since_ns"].copy()
    rows = cpus.copy()
    now = clock_ns()
    open_ = (since != 0) & (rows["task"] != 0) & (cpus["since_ns"] == since) & (since < now)
    elapsed = (np.uint64(now) - since) * open_
    busy = rows["busy_ns"] + elapsed
    cpu = set_positions(open_)
    mine = rows[cpu]
    sibling = np.minimum(mine["sibling"], len(cpus) - 1)
    elapsed, before = elapsed[cpu], mine["sibling_busy_ns"]
    of_sibling = np.maximum(busy[sibling], before) - before
    shared = np.minimum(of_sibling, elapsed) * (sibling != cpu)
    use, cgroup_use = mine["use"].astype(np.intp), mine["cgroup_use"].astype(np.intp)
    return Running(now, busy, cpu, since[cpu], use, cgroup_use, elapsed - shared, shared)


def figures(running: Running, processes: Table) -> Words:
    """What the open slices have used, uint64[counted, n] in the order of ``processes.counted``.

    Counters cannot be read from here: each process is taken to go on as it has been so far; one that has not ended a
    slice yet, as the others that run now do.
    """
    times = np.array((running.alone_ns, running.shared_ns))
    if len(processes.counted) == len(times):
        return times
    elapsed = times.sum(axis=0).astype(np.float64)
    seen = processes.seen(running.use).astype(np.float64)
    time_ns, counted = seen[0] + seen[1], seen[2:]
    whole = time_ns.sum()
    mean = counted.sum(axis=1) / whole if whole > 0 else np.zeros(len(counted))
    rates = np.where(time_ns > 0, counted / np.maximum(time_ns, 1.0), mean[:, np.newaxis])
    return np.concatenate((times, (rates * elapsed).astype(np.uint64)))
