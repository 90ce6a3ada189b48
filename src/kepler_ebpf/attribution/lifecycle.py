"""Births and deaths: cgroups and processes that come and go while the sampler runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..columns import NODE, Indexes, are_among
from ..kernel.source import KernelTables
from ..workloads.source import Workloads
from .frame import Departed
from .ledger import Level
from .room import Room
from .vms import VirtualMachines
from .workload_rows import WorkloadTable

_CGROUP_GRACE_SECONDS = 5.0
_SWEEP_SECONDS = 60.0
MAX_DEPARTED = 10_000
"""Processes that ended of which a publication knows each by itself."""


class Lifecycle:
    """Retires what the kernel finds no more, settles its figures, and recycles its rows, in this order.

    Since the publication began: ``departed``, processes that were settled; ``gone_cgroups``, ids of cgroups that will
    not be seen again.
    """

    def __init__(
        self,
        tables: KernelTables,
        processes: Level,
        table: WorkloadTable,
        workloads: Workloads,
        vms: VirtualMachines,
        now: float,
    ) -> None:
        self._tables = tables
        self._level = processes
        self._table = table
        self._workloads = workloads
        self._vms = vms
        self._dying: dict[int, float] = {}  # process rows, and when they were seen dead
        self._leaving: Departed | None = None  # those of them whose accounts are complete
        self._removed: dict[int, float] = {}  # cgroup ids, and when they were removed
        self._room = Room(tables, table, workloads)
        self._swept_at = now
        self.begin_publication()

    def begin_publication(self) -> None:
        """From here on count what belongs to the next publication."""
        self.departed: list[Departed] = []
        self._departed = 0  # processes in it
        self.gone_cgroups: list[int] = []

    def follow_cgroups(self, now: float) -> None:
        """Take the kernel's events of cgroups made and removed.

        To be called after the look at the tables, and before their cgroups are identified: each cgroup that ran was
        made, and told of, before that look.
        """
        if not self._tables.has_cgroup_events():
            return
        for event in self._tables.cgroup_events():
            if event.removed:
                self._removed[event.id] = now
            else:
                self._workloads.learn_path(event.id, event.path)

    def note_ran(self, cgroups: Indexes, now: float) -> None:
        """These rows of the kernel's cgroup table have run."""
        self._room.note(cgroups, now)

    def recycle_cgroups(self, now: float) -> None:
        """Give rows of cgroups back: of the removed, and of the idle where they fill the table."""
        self._recycle_removed(now)
        self._room.make(now)

    def _recycle_removed(self, now: float) -> None:
        """Their last processes may be on their way out: those have some time."""
        due = [cgroup for cgroup, since in self._removed.items() if now - since > _CGROUP_GRACE_SECONDS]
        if not due:
            return
        cgroups = self._tables.cgroups
        used = cgroups.used()
        rows = used[are_among(cgroups.rows["id"][used], due)]
        self._tables.retire_cgroups(rows)
        for row in rows.tolist():
            self._table.retire_row(row, now)
        self._room.forget(rows)
        cgroups.recycle(rows)
        for cgroup in due:
            del self._removed[cgroup]
        self.gone_cgroups += due
        if len(self.gone_cgroups) > MAX_DEPARTED:  # a publication may be an hour away
            self.forget_gone()

    def forget_gone(self) -> None:
        """Drop what is remembered of cgroups that are gone: they were published, or are too many to wait for that."""
        for cgroup in self.gone_cgroups:
            self._workloads.forget_cgroup(cgroup)
        self.gone_cgroups = []

    def _bound_departed(self) -> None:
        """Keep those that used most: a publication interval of an hour must not keep every fork of that hour.

        Nobody's joules are lost: what has no series is in ``other``, and that is a difference of sums.
        """
        if self._departed > 2 * MAX_DEPARTED:
            index = np.concatenate([gone.index for gone in self.departed])
            rows = np.concatenate([gone.rows for gone in self.departed])
            figures = np.concatenate([gone.figures for gone in self.departed], axis=1)
            published = np.concatenate([gone.published for gone in self.departed], axis=1)
            best = np.argsort(-figures[: len(NODE)].sum(axis=0), kind="stable")[:MAX_DEPARTED]
            self.departed = [Departed(index[best], rows[best], figures[:, best], published[:, best])]
            self._departed = len(best)

    def look_around(self, now: float) -> None:
        """Find what no event told: ends of processes and cgroups, and virtual machines. Called at every publication."""
        self._tables.follow_topology()
        if now - self._swept_at > _SWEEP_SECONDS:
            self._tables.sweep()
            self._find_gone_cgroups(now)
            self._swept_at = now
        self._vms.look()

    def _find_gone_cgroups(self, now: float) -> None:
        """Look for cgroups whose end no event told: a burst of events can overflow."""
        cgroups = self._tables.cgroups
        for cgroup in set(cgroups.rows["id"][cgroups.used()].tolist()):
            if cgroup and cgroup not in self._removed and self._workloads.is_gone(cgroup):
                self._removed[cgroup] = now

    def row_of(self, tgid: int) -> int | None:
        """The row of a process, one that has just ended included; None where it has none and none can be made."""
        row = self._tables.row_of_process(tgid)
        if row is None and self._dying:
            dying = np.array(list(self._dying), np.intp)
            found = dying[self._tables.processes.rows["tgid"][dying] == tgid]
            row = int(found[-1]) if len(found) else None
        return self._tables.adopt_process(tgid) if row is None else row

    def find_dead(self, now: float, owed_since: float) -> Departed | None:
        """Take the processes that have ended, and tell those whose rows are given back before the next sample.

        These died before ``owed_since``: nothing that ran before is still to be charged. Rows found dead now wait at
        least for the next sample, in which their last slice is booked.
        """
        due = np.array([row for row, died in self._dying.items() if died < owed_since], np.intp)
        for row in self._tables.dead().tolist():
            self._dying.setdefault(row, now)
        rows, level = self._tables.processes.rows, self._level
        self._leaving = Departed(due, rows[due], level.figures[:, due], level.published(due)) if len(due) else None
        return self._leaving

    def settle_processes(self, now: float) -> None:
        """Settle those that :meth:`find_dead` told, and give their rows back."""
        leaving, self._leaving = self._leaving, None
        if leaving is None:
            return
        due = leaving.index
        # A publication may have begun since they were told.
        self.departed.append(replace(leaving, published=self._level.published(due)))
        self._departed += len(due)
        self._bound_departed()
        self._level.settle(due)
        self._vms.forget(due, now)
        self._tables.recycle_processes(due)
        for row in due.tolist():
            del self._dying[row]
