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

    ``cpu``, ``since_ns``: where, and since when, intp[n] and uint64[n]. ``use``, ``cgroup_use``: intp[n], positions of
    their owners. ``alone_ns``, ``shared_ns``: uint64[n], so far, by the wall clock.
    """

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
    elapsed = _elapsed(cpus, since, rows["task"], np.uint64(clock_ns()))
    open_ = elapsed > 0
    busy = rows["busy_ns"] + elapsed
    sibling = np.minimum(rows["sibling"], len(cpus) - 1)
    of_sibling, before = busy[sibling], rows["sibling_busy_ns"]
    shared = np.where((sibling != np.arange(len(cpus))) & (of_sibling > before), of_sibling - before, np.uint64(0))
    shared = np.minimum(shared, elapsed)[open_]
    return Running(
        set_positions(open_),
        since[open_],
        rows["use"][open_].astype(np.intp),
        rows["cgroup_use"][open_].astype(np.intp),
        elapsed[open_] - shared,
        shared,
    )


def busy_ns(cpus: NDArray[np.void], clock_ns: Callable[[], int] = time.monotonic_ns) -> Words:
    """All CPU time of each CPU up to now, its open slice included: uint64[cpus]."""
    since = cpus["since_ns"].copy()
    task, busy = cpus["task"].copy(), cpus["busy_ns"].copy()
    total: Words = busy + _elapsed(cpus, since, task, np.uint64(clock_ns()))
    return total


def _elapsed(cpus: NDArray[np.void], since: Words, task: Words, now: np.uint64) -> Words:
    """For how long the slice runs that is open on each CPU; 0 where none is. ``since`` and ``task`` are copies."""
    open_ = (since != 0) & (task != 0) & (cpus["since_ns"] == since) & (since < now)
    elapsed: Words = (now - since) * open_
    return elapsed


def figures(running: Running, processes: Table) -> Words:
    """What the open slices have used, uint64[5, n] in the order of ``COUNTERS``.

    Counters cannot be read from here: each process is taken to go on as it has been so far; one that has not ended a
    slice yet, as the others that run now do.
    """
    elapsed = (running.alone_ns + running.shared_ns).astype(np.float64)
    seen = processes.seen(running.use).astype(np.float64)
    time_ns, counted = seen[0] + seen[1], seen[2:]
    whole = time_ns.sum()
    mean = counted.sum(axis=1) / whole if whole > 0 else np.zeros(len(counted))
    rates = np.where(time_ns > 0, counted / np.maximum(time_ns, 1.0), mean[:, np.newaxis])
    return np.stack([running.alone_ns, running.shared_ns, *(rates * elapsed).astype(np.uint64)])
