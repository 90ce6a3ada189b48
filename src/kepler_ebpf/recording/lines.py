"""What a recording keeps of a frame: who did what, who was charged with what, and who was there.

This runs between two samples. So it takes no more than the next sample would change; a thread makes lines of it
(:mod:`.batch`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..attribution.frame import Entry, Frame
from ..attribution.sampler import Sampler
from ..columns import Floats, Indexes
from ..energy.source import Domain
from ..kernel import layout
from ..kernel.source import KernelTables
from ..kernel.table import Slices
from ..workloads.workload import Workload

_NOBODY = np.zeros(0, np.intp)
PERSON = np.dtype([("row", layout.PROCESS), ("home", "<i8")])
"""A process: the kernel's row, all of which says who it is, and the row of the workload that it counts for."""
PERSON_BYTES = np.dtype((np.void, PERSON.itemsize))
"""The same without its fields: numpy copies, joins and compares records field by field, bytes all at once."""
_RAW_ROW = np.dtype((np.void, layout.PROCESS.itemsize))
_RAW_PERSON = np.dtype([("row", _RAW_ROW), ("home", "<i8")])


class Change(NamedTuple):
    """Some of a level have come (``there``), have gone, or (None) are called otherwise.

    ``rows``: intp[n]. ``people``: PERSON_BYTES[n] of processes that came. ``requests``: float64[n], the CPUs that
    containers which came asked for.
    """

    level: str
    rows: Indexes
    there: bool | None
    people: NDArray[np.void] | None = None
    requests: Floats | None = None


class Used(NamedTuple):
    """The lines of a level in a frame. ``rows``: intp[n]. ``people``: PERSON_BYTES[n], where these are processes.

    The first lines are those of who ran, the last those of who is charged: the same lines, where both are the same.
    """

    ran: Slices
    charged: Entry
    rows: Indexes
    people: NDArray[np.void] | None = None


class Taken(NamedTuple):
    """A frame, and what is known of its rows. ``end_us``: since the epoch."""

    number: int
    end_us: int
    frame: Frame
    changes: list[Change]
    processes: Used
    containers: Used


class Pending(NamedTuple):
    """What makes a batch: frames, and what is said of all of them.

    ``workloads``: by row. ``renamed``: containers that are called otherwise now; told with the ``latest`` frame.
    """

    frames: list[Taken]
    workloads: Mapping[int, Workload]
    domains: tuple[Domain, ...]
    renamed: Change | None
    latest: Taken


class FrameLines:
    """Takes frames until a batch is full. Remembers who was there, so that only what changed of that is told.

    ``seconds``, ``lines``: how much the frames taken are.
    """

    def __init__(self, sampler: Sampler, tables: KernelTables) -> None:
        self._sampler = sampler
        self._rows = tables.processes.rows.view(_RAW_ROW)
        self._processes = self._workloads = _NOBODY
        self._requests: Floats = np.zeros(0)
        self._named: dict[int, Workload] = {}
        self._count = 0
        self._latest: Taken | None = None
        self._begin()

    def _begin(self) -> None:
        self._frames: list[Taken] = []
        self.seconds, self.lines = 0.0, 0

    def add(self, frame: Frame, end_us: int) -> None:
        """Take a frame, before the next sample."""
        processes = _rows(frame.process, frame.ran.processes)
        containers = _rows(frame.container, frame.ran.workloads)
        taken = self._latest = Taken(
            self._count,
            end_us,
            frame,
            self._changes(frame),
            Used(frame.ran.processes, frame.process, processes, self._people(processes)),
            Used(frame.ran.workloads, frame.container, containers),
        )
        self._frames.append(taken)
        self._count += 1
        self.seconds += frame.seconds
        self.lines += len(processes) + len(containers) + sum(len(change.rows) for change in taken.changes)

    def take(self) -> Pending | None:
        """What came since this was asked before, to be asked before a publication; None where nothing did."""
        before = self._named
        now = self._named = {number: row.workload for number, row in self._sampler.table.rows.items()}
        changed = np.array([number for number, workload in now.items() if before.get(number) != workload], np.intp)
        renamed = Change("container", changed, None) if len(changed) else None
        if self._latest is None or not (self._frames or renamed):
            return None
        pending = Pending(self._frames, {**before, **now}, self._sampler.meter.domains, renamed, self._latest)
        self._begin()
        return pending

    def _people(self, rows: Indexes) -> NDArray[np.void]:
        people = np.empty(len(rows), _RAW_PERSON)
        people["row"], people["home"] = self._rows[rows], self._sampler.workloads_of(rows)
        return people.view(PERSON_BYTES)

    def _changes(self, frame: Frame) -> list[Change]:
        """Who has come and who has gone since the frame before."""
        found: list[Change] = []
        if frame.everyone is None:
            return found
        processes, workloads, requests = frame.everyone.processes, frame.everyone.workloads, frame.everyone.requests
        if not _same(processes, self._processes):
            came, went = _difference(processes, self._processes), _difference(self._processes, processes)
            found += Change("process", came, True, self._people(came)), Change("process", went, False)
        # Their rows may belong to others by the next frame: then these have come.
        self._processes = processes if frame.departed is None else _difference(processes, frame.departed.index)
        if not (_same(workloads, self._workloads) and _same(requests, self._requests)):
            before = dict(zip(self._workloads.tolist(), self._requests.tolist()))
            asked = np.array([before.get(number, -1.0) for number in workloads.tolist()])
            differs, went = np.flatnonzero(asked != requests), _difference(self._workloads, workloads)
            found.append(Change("container", workloads[differs], True, requests=requests[differs]))
            found.append(Change("container", went, False))
            self._workloads, self._requests = workloads, requests
        return [change for change in found if len(change.rows)]


def _same(some: NDArray[Any], others: NDArray[Any]) -> bool:
    """Whether two columns are the same: ``np.array_equal`` in a tenth of its time, which counts five times a frame."""
    return some.tobytes() == others.tobytes()


def _difference(some: Indexes, others: Indexes) -> Indexes:
    return some if not len(others) else some[~np.isin(some, others)]


def _rows(charged: Entry, ran: Slices) -> Indexes:
    """The rows of a level's lines, those who ran in front: one line where they are charged too, in this order."""
    if _same(charged.index[: len(ran.index)], ran.index):
        return charged.index
    return np.concatenate((ran.index, charged.index))
