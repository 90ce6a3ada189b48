"""What is measured: which entries of a frame count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..attribution.frame import Entry, Frame
from ..attribution.workload_rows import WorkloadTable
from ..columns import NODE, Floats, Indexes
from ..kernel.table import Table
from ..workloads.workload import Workload


@dataclass(frozen=True)
class Part:
    """What a target used in one frame. ``joules``: by component of ``NODE``, float64[3]."""

    joules: Floats
    cpu_seconds: float
    cycles: float

    @classmethod
    def of(cls, entry: Entry, take: Indexes) -> Part:
        """These positions of an entry."""
        return cls(
            entry.joules[: len(NODE), take].sum(axis=1),
            float(entry.seconds[take].sum()),
            float(entry.cycles[take].sum()),
        )


class Target(Protocol):
    """What is measured."""

    def part(self, frame: Frame) -> Part:
        """What it used in this frame."""


@dataclass(frozen=True)
class WorkloadTarget:
    """One workload, at the level of containers: exact also for processes that live for less than a sample."""

    table: WorkloadTable
    workload: Workload

    def part(self, frame: Frame) -> Part:
        """See :class:`Target`."""
        number = self.table.number_of(self.workload)
        if number is None:  # nothing of it has run yet
            return Part(np.zeros(len(NODE)), 0.0, 0.0)
        return Part.of(frame.container, np.flatnonzero(frame.container.index == number))


class Lineage:
    """Processes and all that descend from them, at the level of processes: by each one's parent at its first slice.

    ``roots``: process ids. ``newcomers_only``: whether nobody else who has run already can be one of them.
    ``adopter``: the process that their orphans become children of, None if unknown: each child of it is one of them.
    """

    def __init__(
        self, table: Table, roots: Iterable[int], *, newcomers_only: bool = False, adopter: int | None = None
    ) -> None:
        self._table = table
        self._adopter = adopter
        self._start_ns = np.zeros(table.capacity, np.uint64)  # whose verdict `mine` is, as a row has several owners
        self._mine = np.zeros(table.capacity, np.bool_)
        self._family: dict[int, int] = dict.fromkeys(roots, 0)  # by process id: when it started, 0 where not known
        used = table.used()
        if newcomers_only:
            others = used[~np.isin(table.rows["tgid"][used], list(self._family))]
            self._start_ns[others] = table.rows["start_ns"][others]
        self._look_at(used)

    def part(self, frame: Frame) -> Part:
        """See :class:`Target`."""
        index = frame.process.index
        self._look_at(index)
        return Part.of(frame.process, np.flatnonzero(self._mine[index]))

    def members(self) -> list[int]:
        """Process ids of all who were ever one of them."""
        return list(self._family)

    def _look_at(self, index: Indexes) -> None:
        """Decide of rows that have a new owner, the older first: parents before their children."""
        start_ns = self._table.rows["start_ns"][index]
        fresh = np.unique(index[start_ns != self._start_ns[index]])
        for row in fresh[np.argsort(self._table.rows["start_ns"][fresh], kind="stable")].tolist():
            self._decide(row)

    def _decide(self, row: int) -> None:
        tgid, parent, start_ns = (int(self._table.rows[name][row]) for name in ("tgid", "parent", "start_ns"))
        is_root = self._family.get(tgid) == 0
        mine = is_root or parent in self._family or parent == self._adopter
        if mine:
            self._family[tgid] = start_ns
        else:
            self._family.pop(tgid, None)  # the number of one that has ended
        self._mine[row], self._start_ns[row] = mine, start_ns
