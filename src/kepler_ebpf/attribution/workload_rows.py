"""Which workload each row of the kernel's cgroup table counts for: kernel rows → rows of the container level."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..columns import Floats, Indexes
from ..kernel.source import KERNEL_CGROUP_ROW, OVERFLOW_ROW, KernelTables
from ..workloads.source import Workloads
from ..workloads.workload import KERNEL, OVERFLOW, SYSTEM, Workload

_IMMORTAL = frozenset({OVERFLOW.key, KERNEL.key, SYSTEM.key})


@dataclass
class WorkloadRow:
    """One life of a workload: a row of the container level.

    ``workload``: its labels, final once ``published``: when its series was first there. ``began``: when it had used
    nothing yet, seconds since the epoch; None until it has used something. ``kernel_rows``: rows of the kernel's
    tables that count for it. ``died``: when the last of these went (seconds, monotonic; None: it lives).
    """

    workload: Workload
    kernel_rows: set[int] = field(default_factory=set)
    published: float | None = None
    began: float | None = None
    died: float | None = None


class WorkloadTable:
    """Rows of the container level by number; numbers of rows that are gone are used again.

    ``rows``: all there are, the dead that still have series included. ``overflow``: intp[packages + 1], the row that
    stands in for a payer whose users are not to be seen. ``system``: the host's row.

    Kernel rows are numbered as in the cgroup table; behind these come the rows of the process table, for processes that
    are a workload each (virtual machines, :meth:`assign`).
    """

    def __init__(self, tables: KernelTables, workloads: Workloads) -> None:
        self.rows: dict[int, WorkloadRow] = {}
        self._ids = tables.cgroups.rows["id"]
        self._reserved = tables.cgroups.reserved
        self._workloads = workloads
        self._number_of_key: dict[object, int] = {}
        self._free: list[int] = []
        self._number_of = np.full(tables.cgroups.capacity + tables.processes.capacity, -1, np.intp)
        self.system = self._number(SYSTEM)
        self.assign(OVERFLOW_ROW, OVERFLOW)
        self.assign(KERNEL_CGROUP_ROW, KERNEL)
        self.overflow: Indexes = np.full(tables.packages + 1, self._number_of[OVERFLOW_ROW], np.intp)

    def of(self, kernel_rows: Indexes) -> Indexes:
        """The row of each kernel row: intp[n]. One seen for the first time is looked up by its cgroup's id.

        A cgroup that is not known yet counts for the container around it, else for the host, and is looked up again the
        next time it runs.
        """
        numbers = self._number_of[kernel_rows]
        unknown = numbers < 0
        if unknown.any():
            rows, of_row = np.unique(kernel_rows[unknown], return_inverse=True)
            numbers[unknown] = np.array([self._look_up(row) for row in rows.tolist()], np.intp)[of_row]
        return numbers

    def of_processes(self, processes: NDArray[np.void], kernel_rows: Indexes) -> Indexes:
        """The row of each process, intp[n]; -1 where the row of its cgroup is given back, and may be another's by now.

        ``processes``: as the kernel's table has them, or had. ``kernel_rows``: which row each counts for.
        """
        stays = (kernel_rows < self._reserved) | (kernel_rows >= len(self._ids))
        cgroup = processes["cgroup_id"]
        there = stays | ((cgroup != 0) & (self._ids[np.where(stays, 0, kernel_rows)] == cgroup))
        numbers = np.full(len(kernel_rows), -1, np.intp)
        numbers[there] = self.of(kernel_rows[there])
        return numbers

    def _look_up(self, kernel_row: int) -> int:
        cgroup = int(self._ids[kernel_row])
        if not cgroup:
            return self.system  # the row is free: its next owner is looked up when it runs
        workload = self._workloads.identify(cgroup)
        if workload is None:
            return self._number_of_key.get(self._workloads.meanwhile(cgroup).key, self.system)
        return self.assign(kernel_row, workload)

    def number_of(self, workload: Workload) -> int | None:
        """The row of a workload; None where it has none yet."""
        return self._number_of_key.get(workload.key)

    def assign(self, kernel_row: int, workload: Workload) -> int:
        """Count a kernel row for this workload; the number of its row."""
        number = self._number(workload)
        row = self.rows[number]
        if not row.workload.pod_uid and row.published is None:
            # podman's monitor (conmon) may run before the container does, and its path has no pod.
            row.workload = replace(row.workload, pod_uid=workload.pod_uid)
        row.kernel_rows.add(kernel_row)
        row.died = None
        self._number_of[kernel_row] = number
        return number

    def begin_anew(self, number: int, workload: Workload, now: float) -> None:
        """Give a published workload other labels: its life so far ends, and a new one begins at 0."""
        row = self.rows[number]
        del self._number_of_key[row.workload.key]
        kernel_rows, row.kernel_rows, row.died = row.kernel_rows, set(), now
        for kernel_row in kernel_rows:
            self.assign(kernel_row, workload)

    def retire_row(self, kernel_row: int, now: float) -> None:
        """The cgroup or process of a kernel row is gone: its workload dies with its last row."""
        number = int(self._number_of[kernel_row])
        self._number_of[kernel_row] = -1
        row = self.rows.get(number)
        if row is not None:
            row.kernel_rows.discard(kernel_row)
            if not row.kernel_rows and row.workload.key not in _IMMORTAL:
                row.died = now

    def recycle(self, number: int) -> bool:
        """Drop a row whose series has gone; its number is free. Returns whether it was its workload's last life."""
        row = self.rows.pop(number)
        heapq.heappush(self._free, number)
        if self._number_of_key.get(row.workload.key) != number:
            return False
        del self._number_of_key[row.workload.key]
        return True

    def alive(self) -> tuple[Indexes, Floats]:
        """Numbers of the workloads that live, intp[n], and the CPUs that each asked for, float64[n].

        Without the overflow row: it stands for cgroups that found no row, and on most machines there are none.
        """
        living = [
            (number, row.workload.cpu_request)
            for number, row in self.rows.items()
            if row.died is None and number != self.overflow[-1]
        ]
        return np.array([number for number, _ in living], np.intp), np.array([asked for _, asked in living], np.float64)

    def _number(self, workload: Workload) -> int:
        number = self._number_of_key.get(workload.key)
        if number is None:
            number = heapq.heappop(self._free) if self._free else len(self.rows)
            self.rows[number] = WorkloadRow(workload)
            self._number_of_key[workload.key] = number
        return number
