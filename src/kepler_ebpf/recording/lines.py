"""What a recording keeps of frames: who did what, who was charged with what, and who was there.

This runs between two samples. So it takes no more than the next sample would change; a thread makes lines of it
(:mod:`.batch`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..attribution.frame import Entry, Frames
from ..attribution.sampler import Sampler
from ..columns import Floats, Indexes, are_among
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
    """The lines of a level in k frames.

    ``counts``: intp[k], lines of each frame: the first are those of who ran, the last those of who is charged, the same
    lines where both are the same. ``ran_counts``, ``charged_counts``: intp[k], how many these are. ``rows``: intp[n],
    of all lines. ``people``: PERSON_BYTES[n], where these are processes.
    """

    ran: Slices
    charged: Entry
    counts: Indexes
    ran_counts: Indexes
    charged_counts: Indexes
    rows: Indexes
    people: NDArray[np.void] | None = None


class Taken(NamedTuple):
    """Frames that were booked together, and what is known of their rows.

    ``number``: of the first. ``ends_us``: int64[k], since the epoch. ``changes``: who has come and gone since the frame
    before; told with the first.
    """

    number: int
    ends_us: NDArray[np.int64]
    frames: Frames
    changes: list[Change]
    processes: Used
    containers: Used

    @property
    def numbers(self) -> Indexes:
        """Of all frames: intp[k]."""
        return np.arange(self.number, self.number + len(self.ends_us))


class Pending(NamedTuple):
    """What makes a batch: frames, and what is said of all of them.

    ``workloads``: by row. ``renamed``: containers that are called otherwise now; told with the ``latest`` frame.
    """

    taken: list[Taken]
    workloads: Mapping[int, Workload]
    domains: tuple[Domain, ...]
    renamed: Change | None
    latest: Taken

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return sum(len(one.ends_us) for one in self.taken)


class FrameLines:
    """Takes frames until a batch is full. Remembers who was there, so that only what changed of that is told.

    ``seconds``, ``lines``: how much the frames taken are.
    """

    def __init__(self, sampler: Sampler, tables: KernelTables) -> None:
        self._sampler = sampler
        self._rows = tables.processes.rows.view(_RAW_ROW)
        self._processes = self._staying = self._workloads = _NOBODY  # there in the frame before; to be in the next one
        self._requests: Floats = np.zeros(0)
        self._named: dict[int, Workload] = {}
        self._count = 0
        self._latest: Taken | None = None
        self._begin()

    def _begin(self) -> None:
        self._taken: list[Taken] = []
        self.seconds, self.lines = 0.0, 0

    def add(self, frames: Frames, ends_us: NDArray[np.int64]) -> None:
        """Take frames, before the next sample. ``ends_us``: int64[k], when each ended, since the epoch."""
        processes = used(frames.ran.processes, frames.process, len(frames))
        processes = processes._replace(people=self._people(processes.rows))
        containers = used(frames.ran.workloads, frames.container, len(frames))
        taken = self._latest = Taken(self._count, ends_us, frames, self._changes(frames), processes, containers)
        self._taken.append(taken)
        self._count += len(frames)
        self.seconds += float(frames.seconds.sum())
        self.lines += len(processes.rows) + len(containers.rows) + sum(len(change.rows) for change in taken.changes)

    def take(self) -> Pending | None:
        """What came since this was asked before, to be asked before a publication; None where nothing did."""
        before = self._named
        now = self._named = {number: row.workload for number, row in self._sampler.table.rows.items()}
        changed = np.array([number for number, workload in now.items() if before.get(number) != workload], np.intp)
        renamed = Change("container", changed, None) if len(changed) else None
        if self._latest is None or not (self._taken or renamed):
            return None
        pending = Pending(self._taken, {**before, **now}, self._sampler.meter.domains, renamed, self._latest)
        self._begin()
        return pending

    def _people(self, rows: Indexes) -> NDArray[np.void]:
        people = np.empty(len(rows), _RAW_PERSON)
        people["row"], people["home"] = self._rows[rows], self._sampler.workloads_of(rows)
        return people.view(PERSON_BYTES)

    def _changes(self, frames: Frames) -> list[Change]:
        """Who has come and who has gone since the frame before; of frames that are booked together all have the same
        there."""
        found: list[Change] = []
        everyone = frames.everyone
        if everyone is None:
            return found
        processes, workloads, requests = everyone.processes, everyone.workloads, everyone.requests
        if not (_same(processes, self._processes) and _same(processes, self._staying)):
            came, went = _difference(processes, self._staying), _difference(self._processes, processes)
            found += Change("process", came, True, self._people(came)), Change("process", went, False)
        self._processes = self._staying = processes
        if frames.departed is not None:  # their rows may belong to others by the next frame: then these have come
            self._staying = _difference(processes, frames.departed.index)
        if not (_same(workloads, self._workloads) and _same(requests, self._requests)):
            before = dict(zip(self._workloads.tolist(), self._requests.tolist()))
            asked = np.array([before.get(number, -1.0) for number in workloads.tolist()])
            differs, went = np.flatnonzero(asked != requests), _difference(self._workloads, workloads)
            found.append(Change("container", workloads[differs], True, requests=requests[differs]))
            found.append(Change("container", went, False))
            self._workloads, self._requests = workloads, requests
        return [change for change in found if len(change.rows)]


def _same(some: NDArray[Any], others: NDArray[Any]) -> bool:
    """Whether two columns are the same: ``np.array_equal`` in a tenth of its time."""
    return some.tobytes() == others.tobytes()


def _difference(some: Indexes, others: Indexes) -> Indexes:
    return some if not len(others) else some[~are_among(some, others)]


def spans(starts: Indexes, counts: Indexes) -> Indexes:
    """So many positions from each start on, one behind the other: intp[sum of counts]."""
    before = np.cumsum(counts) - counts
    found: Indexes = np.repeat(starts - before, counts) + np.arange(int(counts.sum()))
    return found


def used(ran: Slices, charged: Entry, frames: int) -> Used:
    """The lines of a level in so many frames: one line for who ran and is charged, where both are in this order."""
    ran_counts, charged_counts = (np.bincount(of.sample, minlength=frames) for of in (ran, charged))
    if _same(ran.index, charged.index) and _same(ran.sample, charged.sample):
        return Used(ran, charged, charged_counts, ran_counts, charged_counts, charged.index)
    counts = np.zeros(frames, np.intp)
    first_ran, first_charged = (np.cumsum(of) - of for of in (ran_counts, charged_counts))
    for frame, (mine, theirs) in enumerate(zip(ran_counts.tolist(), charged_counts.tolist())):
        who = ran.index[first_ran[frame] : first_ran[frame] + mine]
        paying = charged.index[first_charged[frame] : first_charged[frame] + theirs]
        counts[frame] = theirs if _same(who, paying[:mine]) else mine + theirs
    starts = np.cumsum(counts) - counts
    rows = np.zeros(int(counts.sum()), np.intp)
    rows[spans(starts, ran_counts)] = ran.index
    rows[spans(starts + counts - charged_counts, charged_counts)] = charged.index
    return Used(ran, charged, counts, ran_counts, charged_counts, rows)
