"""Looks at the tables and the CPUs, and what was done between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..columns import Indexes, are_among
from .cpus import Cpus
from .running import CpuLook, CpuRows, Running, figures, of_cgroups, running
from .table import Slices, Table

_LONG_NS = 5_000_000  # kernel threads mostly run for microseconds


class Looks:
    """A look only copies counters. What was done from one to the next is worked out for several at once.

    ``busy_seconds``: cumulative CPU seconds of all tasks but the idle ones, float64[packages], as of the latest look;
    ``sampled_ns``: when that was (CLOCK_MONOTONIC).
    """

    def __init__(self, processes: Table, cgroups: Table, cpus: Cpus, clock_ahead_ns: int = 0) -> None:
        """``clock_ahead_ns``: by how much our clock is ahead of the kernel's."""
        self._processes, self._cgroups, self._cpus = processes, cgroups, cpus
        self._cpu_rows = CpuRows(cpus.rows, clock_ahead_ns)
        self._looks: list[CpuLook] = []  # since the latest tell
        # By CPU, when two slices began: one of a kernel thread that was checked, and one whose row was recycled.
        self._checked, self._disowned = np.zeros((2, len(cpus.rows)), np.uint64)
        self._look_at_cpus()

    def look(self) -> None:
        """Read all counters as they are now, open slices included."""
        self._processes.look()
        self._cgroups.look()
        self._looks.append(self._look_at_cpus())

    def keep(self, looks: int) -> None:
        """Forget all but the first of the looks since the latest :meth:`tell`."""
        self._processes.keep(looks)
        self._cgroups.keep(looks)
        del self._looks[looks:]

    def tell(self) -> tuple[Slices, Slices]:
        """What processes and cgroups did from look to look since the last call, slices that were open included."""
        open_slices = running(self._looks)
        of_kernel = self._of_kernel(open_slices)
        if of_kernel.any() and self._check_kernel_threads(open_slices, of_kernel):
            self._looks[-1] = self._look_at_cpus()
            open_slices = running(self._looks)
            of_kernel = self._of_kernel(open_slices)
        self._looks = []
        used = figures(open_slices, self._processes.seen()) * self._believed(open_slices, of_kernel)
        return (
            self._processes.tell(open_slices.look, open_slices.use, used),
            self._cgroups.tell(open_slices.look, open_slices.cgroup_use, of_cgroups(open_slices, used)),
        )

    def disown(self, use: str, index: Indexes) -> None:
        """These rows will be others': what runs in them now is not to be added to theirs.

        ``use``: which table's, as the CPUs' rows name the position.
        """
        rows = self._cpus.rows
        theirs = are_among(rows[use] // self._processes.packages, index)
        self._disowned[theirs] = rows["since_ns"][theirs]

    def _look_at_cpus(self) -> CpuLook:
        look = self._cpu_rows.look()
        self.busy_seconds, self.sampled_ns = self._cpus.busy_seconds(look.busy_ns), look.time_ns
        return look

    def _check_kernel_threads(self, open_slices: Running, of_kernel: NDArray[np.bool_]) -> bool:
        """Look what really runs where a kernel thread seems to run for long; whether there was anything to look at.

        A switch away from it may not have been told. No slice is looked at twice.
        """
        cpu, since = open_slices.cpu, open_slices.since_ns
        long = open_slices.alone_ns + open_slices.shared_ns > _LONG_NS
        suspect = of_kernel & long & (self._checked[cpu] != since) & (open_slices.look == len(self._looks) - 1)
        if not suspect.any():
            return False
        self._checked[cpu[suspect]] = since[suspect]
        offline = self._cpus.close_offline(self._cpus.open_slices(cpu[suspect].tolist()))
        self._disowned[offline] = self._checked[offline]
        return True

    def _of_kernel(self, open_slices: Running) -> NDArray[np.bool_]:
        return np.asarray(self._processes.rows["kernel"][open_slices.use // self._processes.packages], np.bool_)

    def _believed(self, open_slices: Running, of_kernel: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which open slices count: not those whose rows were recycled, and a kernel thread's only once looked at."""
        cpu, since = open_slices.cpu, open_slices.since_ns
        checked = self._checked[cpu] == since
        believed: NDArray[np.bool_] = (self._disowned[cpu] != since) & (~of_kernel | checked)
        return believed
