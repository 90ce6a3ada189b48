"""Which containers have series, under which labels, and for how long."""

from __future__ import annotations

import numpy as np

from ..attribution.ledger import Level
from ..attribution.workload_rows import WorkloadRow, WorkloadTable
from ..columns import NODE
from ..workloads.source import Workloads
from ..workloads.workload import Workload
from .pods import Pods
from .types import Containers

_MAX_DEAD = 1000


class ContainerSeries:
    """The container level from publication to publication.

    A series keeps its labels for life. It begins with its workload's first joule, once the names are known or nobody is
    likely to tell them; ends ``hold_seconds`` after its workload has died; and when so many have died that memory would
    grow (over a thousand), the oldest of those that have been published end sooner. Where a name comes too late, the
    nameless series ends like that of the dead, and another one begins at 0.
    """

    def __init__(self, level: Level, table: WorkloadTable, workloads: Workloads, hold_seconds: float) -> None:
        self._level = level
        self._table = table
        self._workloads = workloads
        self._hold_seconds = hold_seconds
        self.pods = Pods()

    def publish(self, now: float, owed_since: float, since: float) -> Containers:
        """The series of this publication. ``owed_since``: what ran before this moment has been charged. ``since``: when
        the publication before was made, seconds since the epoch."""
        level = self._level
        level.grow(max(self._table.rows, default=0) + 1)
        self._settle_dead(now, owed_since)
        self._rename(now)
        shown: list[int] = []
        workloads: list[Workload] = []
        working_sets: list[int | None] = []
        began: list[float] = []
        pending = 0.0
        has_figures: list[bool] = (level.figures != 0).any(axis=0).tolist()
        for number, row in self._table.rows.items():
            if not has_figures[number]:
                continue
            if row.began is None:
                row.began = since
            if row.published is None:
                workload = self._workloads.current(row.workload)
                if workload is None:
                    pending += float(level.joules[: len(NODE), number].sum())
                    continue  # its joules are kept; its series begins when its name is known
                row.workload, row.published = workload, now
            shown.append(number)
            workloads.append(row.workload)
            began.append(row.began)
            working_sets.append(self._workloads.working_set(row.workload) if row.died is None else None)
        index = np.array(shown, np.intp)
        watts = level.watts(index)
        return Containers(
            workloads=tuple(workloads),
            joules=level.joules[:, index],
            watts=watts,
            max_watts=np.maximum(level.peak_watts[index], watts),  # the components of a mean may have peaked apart
            seconds=level.seconds[index],
            cycles=level.cycles[index],
            working_set_bytes=tuple(working_sets),
            pending_joules=pending,
            exited_joules=float(level.exited[: len(NODE)].sum()),
            began=tuple(began),
        )

    def _rename(self, now: float) -> None:
        """Begin a new life for those that were published without any name and have one by now."""
        for number, row in list(self._table.rows.items()):
            before = row.workload
            if row.published is None or row.died is not None or before.container or before.pod:
                continue
            workload = self._workloads.current(before)
            if workload is not None and (workload.container or workload.pod):
                self._table.begin_anew(number, workload, now)
                self._level.grow(max(self._table.rows) + 1)

    def _settle_dead(self, now: float, owed_since: float) -> None:
        """Drop rows whose series have been there long enough after their death, and the oldest of too many."""
        dead = sorted((row.died, number) for number, row in self._table.rows.items() if row.died is not None)
        surplus = len(dead) - _MAX_DEAD
        due = [
            number
            for rank, (died, number) in enumerate(dead)
            if died <= owed_since and self._is_over(self._table.rows[number], number, died, now, rank < surplus)
        ]
        index = np.array(due, np.intp)
        joules = self._level.joules[: len(NODE), index].sum(axis=0).tolist()
        seconds = self._level.seconds[index].tolist()
        self._level.settle(index)
        for number, energy, time_used in zip(due, joules, seconds):
            workload = self._table.rows[number].workload
            self.pods.settle(workload, energy, time_used)
            if self._table.recycle(number):
                self._workloads.forget(workload)

    def _is_over(self, row: WorkloadRow, number: int, died: float, now: float, crowded: bool) -> bool:
        if row.published is not None:
            return crowded or now - max(died, row.published) >= self._hold_seconds
        return now - died >= self._hold_seconds and not self._level.figures[:, number].any()
