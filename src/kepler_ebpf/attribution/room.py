"""Room in the kernel's table of cgroups: any user who may make cgroups can fill it, so idle ones lose their rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from ..columns import Indexes
from ..kernel.source import KernelTables
from ..workloads.source import Workloads
from .workload_rows import WorkloadTable

_PRESSED, _RELAXED = 0.75, 0.5
"""So full, of 1, the table is when room is made, and when there is enough."""
_IDLE_SECONDS = 2.0
_LAST_SLICE_SECONDS = 2.0
"""For a slice that began just before its row was taken: no other can find that row any more."""


class Room:
    """Takes rows from cgroups that have not run of late, from whoever has most of them first.

    A cgroup that lost its row gets another when it runs again, and its series goes on.
    """

    def __init__(self, tables: KernelTables, table: WorkloadTable, workloads: Workloads) -> None:
        self._tables, self._table, self._workloads = tables, table, workloads
        self._ran = np.zeros(tables.cgroups.capacity)  # when each row was last seen to run; 0: not yet
        self._leaving: dict[int, float] = {}  # rows that were taken, and when

    def note(self, rows: Indexes, now: float) -> None:
        """These rows have run."""
        self._ran[rows] = now

    def forget(self, rows: Indexes) -> None:
        """These rows are given back by somebody else."""
        self._ran[rows] = 0.0
        for row in rows.tolist():
            self._leaving.pop(row, None)

    def make(self, now: float) -> None:
        """Give back what was taken a while ago, and take more where the table is nearly full.

        No look may be untold. Raises OSError.
        """
        cgroups = self._tables.cgroups
        due = [row for row, since in self._leaving.items() if now - since > _LAST_SLICE_SECONDS]
        if due:
            for row in due:
                self._table.retire_row(row, now)
            rows = np.array(due, np.intp)
            self.forget(rows)
            cgroups.recycle(rows)
        if cgroups.front() < _PRESSED * cgroups.capacity:
            return
        used = cgroups.used()
        if len(used) >= _PRESSED * cgroups.capacity:
            self._take(used, now)

    def _take(self, used: Indexes, now: float) -> None:
        unseen = used[self._ran[used] == 0]
        self._ran[unseen] = now
        staying = [row for row in used.tolist() if row not in self._leaving]
        ids = self._tables.cgroups.rows["id"]
        makers = [self._workloads.maker(int(ids[row])) for row in staying]
        rows = np.array(
            chosen(staying, makers, self._ran[staying].tolist(), now, int(_RELAXED * self._tables.cgroups.capacity)),
            np.intp,
        )
        self._tables.retire_cgroups(rows)
        for row in rows.tolist():
            self._table.retire_row(row, now)
            self._leaving[row] = now


def chosen(rows: Sequence[int], makers: Sequence[str], ran: Sequence[float], now: float, most: int) -> Collection[int]:
    """Rows to be taken so that at most so many stay: of the idle, the longest idle first, of those with most."""
    counts = Counter(makers)
    share = fair_share(list(counts.values()), most)
    found = []
    for since, row, maker in sorted(zip(ran, rows, makers)):
        if now - since <= _IDLE_SECONDS:
            break
        if counts[maker] > share:
            counts[maker] -= 1
            found.append(row)
    return found


def fair_share(counts: Sequence[int], most: int) -> int:
    """How many each may keep so that all together keep at most so many: nobody below it loses any."""
    left, remaining = most, len(counts)
    for count in sorted(counts):
        if count * remaining > left:
            return left // remaining
        left, remaining = left - count, remaining - 1
    return max(counts, default=0)
