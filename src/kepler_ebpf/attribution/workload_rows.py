"""Which workload each cgroup row counts for: rows of the kernel's table → groups of the container level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..kernel.tables import BpfTables
from ..workloads.workload import Workload

OVERFLOW = Workload(kind="system", container="overflow")
KERNEL = Workload(kind="kernel", container="kernel")
_IMMORTAL = frozenset({OVERFLOW.key, KERNEL.key, ("system", "system")})


@dataclass
class WorkloadRow:
    """One life of a workload.

    ``workload``: its labels, final once ``published``: when its series began. ``died``: when its last row went
    (seconds, monotonic; None: it lives).
    """

    workload: Workload
    rows: set[int] = field(default_factory=set)
    published: float | None = None
    died: float | None = None


class WorkloadTable:
    """Workloads by number; numbers that are gone are used again.

    ``of_row``: intp[cgroup rows + process rows], the group of each row of the kernel's cgroup table, -1 where not yet
    known; behind them, the groups of processes that are a workload each (:meth:`assign`).
    """

    def __init__(self, accounting: BpfTables, identify: Callable[[int], Workload]) -> None:
        self._rows = accounting.cgroups.rows
        self._identify = identify
        self._packages = accounting.topology.packages
        self.groups: list[WorkloadRow | None] = []
        self._number_of: dict[object, int] = {}
        self.of_row = np.full(len(self._rows) + accounting.processes.capacity, -1, np.intp)
        for package in range(self._packages):
            self.of_row[package] = self._number(OVERFLOW)
            self.of_row[self._packages + package] = self._number(KERNEL)

    def __len__(self) -> int:
        return len(self.groups)

    def of(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """The group of each row. A row seen for the first time is looked up by its cgroup's id."""
        numbers = self.of_row[rows]
        for position in np.flatnonzero(numbers < 0).tolist():
            row = int(rows[position])
            cgroup_id = int(self._rows["id"][row])
            numbers[position] = self.assign(row, self._identify(cgroup_id))
        return numbers

    def assign(self, row: int, workload: Workload) -> int:
        """Count a row for this workload; the number of its group."""
        number = self._number(workload)
        group = self.groups[number]
        assert group is not None
        if not group.workload.pod_uid and group.published is None:  # conmon's cgroup, beside the pod's, was seen first
            group.workload = replace(group.workload, pod_uid=workload.pod_uid)
        group.rows.add(row)
        group.died = None
        self.of_row[row] = number
        return number

    def begin_anew(self, number: int, workload: Workload, now: float) -> None:
        """Give a published workload other labels: its life so far ends, and a new one begins at nought."""
        group = self.groups[number]
        assert group is not None
        del self._number_of[group.workload.key]
        rows, group.rows, group.died = group.rows, set(), now
        for row in rows:
            self.assign(row, workload)

    def release_row(self, row: int, now: float) -> None:
        """The row's cgroup or process is gone: its group dies with its last row."""
        number = int(self.of_row[row])
        self.of_row[row] = -1
        if number < 0:
            return
        group = self.groups[number]
        if group is not None:
            group.rows.discard(row)
            if not group.rows and group.workload.key not in _IMMORTAL:
                group.died = now

    def remove(self, number: int) -> bool:
        """Forget a group whose series has gone; its number is free. Returns whether it was its workload's last life."""
        group = self.groups[number]
        assert group is not None
        self.groups[number] = None
        if self._number_of.get(group.workload.key) != number:
            return False
        del self._number_of[group.workload.key]
        return True

    def living(self) -> list[tuple[int, WorkloadRow]]:
        """All groups there are, with their numbers, the dead that still have series included."""
        return [(number, group) for number, group in enumerate(self.groups) if group is not None]

    def _number(self, workload: Workload) -> int:
        number = self._number_of.get(workload.key)
        if number is None:
            group = WorkloadRow(workload)
            try:
                number = self.groups.index(None)
                self.groups[number] = group
            except ValueError:
                number = len(self.groups)
                self.groups.append(group)
            self._number_of[workload.key] = number
        return number
