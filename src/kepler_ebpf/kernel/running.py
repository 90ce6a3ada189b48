"""Slices that are open now: what the tasks that run at this moment have used since they were switched in.

Nobody is interrupted to learn it. Each CPU's row says since when its open slice runs and whose it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..columns import Indexes
from .layout import CPU
from .table import Words


class CpuLook(NamedTuple):
    """The CPUs' rows at one moment.

    ``time_ns``: when (CLOCK_MONOTONIC). ``rows``: a copy, as of ``layout.CPU``. ``elapsed_ns``: for how long a slice of
    a task has been open on each CPU, 0 where none is. ``busy_ns``: CPU time of each CPU until then.
    """

    time_ns: int
    rows: bytes
    elapsed_ns: list[int]
    busy_ns: list[int]


@dataclass(frozen=True)
class Running:
    """The slices that were open at some looks, in their order.

    ``look``, ``cpu``, ``since_ns``: in which, where, and since when, intp[n], intp[n] and uint64[n]. ``use``,
    ``cgroup_use``: intp[n], positions of their owners. ``alone_ns``, ``shared_ns``: uint64[n], so far, by the wall
    clock; ``left_ns``: uint64[n], as much of that is of cgroups that the task was in before.
    """

    look: Indexes
    cpu: Indexes
    since_ns: Words
    use: Indexes
    cgroup_use: Indexes
    alone_ns: Words
    shared_ns: Words
    left_ns: Words


class CpuRows:
    """The CPUs' rows, to be read with every sample: to make a view of a column costs more than to read it."""

    def __init__(self, rows: NDArray[np.void], clock_ahead_ns: int = 0) -> None:
        """``clock_ahead_ns``: by how much our clock is ahead of the rows'."""
        self._rows, self._ahead_ns = rows, clock_ahead_ns
        self._since, self._task, self._busy = rows["since_ns"], rows["task"], rows["busy_ns"]

    def look(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> CpuLook:
        """Read them.

        Do so after the tables: what a table has of a slice is then never here too. A row that changes while it is
        read is left out: its slice has only just begun. ``since_ns`` is 0 while the kernel changes a row, and another
        value after.
        """
        since = self._since.tolist()
        rows, tasks, closed = self._rows.tobytes(), self._task.tolist(), self._busy.tolist()
        now = clock_ns()
        kernel_now = now - self._ahead_ns
        # Not in numpy: on cold caches a handful of calls costs more than this does for a hundred CPUs.
        elapsed = [
            kernel_now - began if task and began == as_before and 0 < began < kernel_now else 0
            for began, as_before, task in zip(since, self._since.tolist(), tasks)
        ]
        return CpuLook(now, rows, elapsed, [ns + more for ns, more in zip(closed, elapsed)])


def running(looks: Sequence[CpuLook]) -> Running:
    """The slices that were open then."""
    elapsed = np.array([one.elapsed_ns for one in looks], np.uint64)
    busy = np.array([one.busy_ns for one in looks], np.uint64)
    look, cpu = elapsed.nonzero()
    mine = np.frombuffer(b"".join([one.rows for one in looks]), CPU)[look * elapsed.shape[1] + cpu]
    sibling = np.minimum(mine["sibling"], elapsed.shape[1] - 1)
    elapsed, before = elapsed[look, cpu], mine["sibling_busy_ns"]
    of_sibling = np.maximum(busy[look, sibling], before) - before
    shared = np.minimum(of_sibling, elapsed) * (sibling != cpu)
    use, cgroup_use = mine["use"].astype(np.intp), mine["cgroup_use"].astype(np.intp)
    return Running(look, cpu, mine["since_ns"], use, cgroup_use, elapsed - shared, shared, mine["left_ns"])


def figures(open_slices: Running, seen: Words) -> Words:
    """What the open slices have used, uint64[counted, n]. ``seen``: what the looks saw of the processes' uses.

    Counters cannot be read from here: each process is taken to go on as it has been so far; one that has not ended a
    slice yet, as the others that run then do.
    """
    times = np.array((open_slices.alone_ns, open_slices.shared_ns))
    if len(seen) == len(times):
        return times
    elapsed = times.sum(axis=0).astype(np.float64)
    known = np.minimum(open_slices.use, seen.shape[2] - 1)
    before = seen[:, open_slices.look, known] * (open_slices.use == known)
    time_ns, counted = (before[0] + before[1]).astype(np.float64), before[2:].astype(np.float64)
    whole = np.bincount(open_slices.look, time_ns, seen.shape[1])
    mean = np.array([np.bincount(open_slices.look, column, seen.shape[1]) for column in counted], np.float64)
    np.divide(mean, whole, out=mean, where=whole > 0)  # where nobody has any time nobody has any count
    rates = np.where(time_ns > 0, counted / np.maximum(time_ns, 1.0), mean[:, open_slices.look])
    return np.concatenate((times, (rates * elapsed).astype(np.uint64)))


def of_cgroups(open_slices: Running, used: Words) -> Words:
    """Of what the open slices have used, as much as is of the cgroups that their tasks are in now."""
    if not open_slices.left_ns.any():
        return used
    whole = open_slices.alone_ns + open_slices.shared_ns
    stays: Words = (used * ((whole - np.minimum(open_slices.left_ns, whole)) / whole)).astype(np.uint64)
    return stays
