"""Who used most in a step, at either level, with their names as they were then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from ..attribution.frame import Departed
from ..attribution.ledger import Level
from ..attribution.sampler import Sampler
from ..columns import NODE, Floats, Indexes
from ..kernel.source import OVERFLOW_ROW, KernelTables
from ..workloads.workload import OVERFLOW, SYSTEM, Workload
from .growth import Growth, GrowthOf, choose
from .step import IDLE, MEASURED, UNATTRIBUTED, Process, Shares, Who

# What one of them costs with its strings and its place in the table of them (sys.getsizeof, rounded up).
_PROCESS_BYTES, _WORKLOAD_BYTES = 450, 1000


_PERSON = np.dtype([("pid", "<i8"), ("start_ns", "<u8"), ("comm", "S16"), ("home", "<i8")])
"""A process in columns; ``home`` is the number of its workload, -1 where that is not to be known any more."""


class _Known(Generic[Who]):
    """One object for everybody who is in any step: steps share it.

    ``key``: what makes them the same; cheaper than to compare all labels of a workload.
    """

    def __init__(self, key: Callable[[Who], object]) -> None:
        self._key: Callable[[Who], object] = key
        self._shared: dict[object, Who] = {}
        self._uses: Counter[object] = Counter()

    def __len__(self) -> int:
        return len(self._shared)

    def keep(self, many: Iterable[Who]) -> tuple[Who, ...]:
        """The shared objects of these."""
        kept = []
        for who in many:
            key = self._key(who)
            kept.append(self._shared.setdefault(key, who))
            self._uses[key] += 1
        return tuple(kept)

    def forget(self, many: Iterable[Who]) -> None:
        """A step with these has gone."""
        for who in many:
            key = self._key(who)
            self._uses[key] -= 1
            if not self._uses[key]:
                del self._shared[key], self._uses[key]


def _process_key(who: Process) -> object:
    return who.pid, who.start_ns, who.comm, id(who.workload)


class Processes:
    """The process level of the history.

    Processes that began and ended within one step are one by name and workload: nobody looks for their pids, and a
    build makes thousands of them.
    """

    def __init__(self, sampler: Sampler, tables: KernelTables, kept: int, resting: bool) -> None:
        self._level = sampler.ledger.levels["process"]
        self._sampler = sampler
        self._rows = tables.processes.rows
        self._reserved, self._cgroups = tables.cgroups.reserved, tables.cgroups.capacity
        self._kept, self._resting = kept, resting
        self._growth = GrowthOf(self._level)
        self._gone: list[tuple[NDArray[np.void], Growth]] = []
        self._known: _Known[Process] = _Known(_process_key)

    @property
    def nbytes(self) -> int:
        return self._growth.nbytes + _PROCESS_BYTES * len(self._known)

    def settle(self, gone: Departed) -> None:
        """These ended: their names and what they used are kept until the step ends."""
        growth = self._growth.settled(gone)
        people = self._people(gone.rows, gone.rows["cgroup_row"].astype(np.intp))
        used = growth.used.sum(axis=0)
        young = used >= growth.joules
        people["pid"][young] = people["start_ns"][young] = 0
        self._gone.append(_merged([(people[used > 0], Growth(growth.used[:, used > 0], growth.joules[used > 0]))]))

    def end(self, inverse: Floats, watts: Floats) -> Shares[Process]:
        """The step ends. ``inverse``: float64[3], one by the seconds that each component's joules cover."""
        living = self._growth.rows()
        dead, gone = _merged(self._gone) if self._gone else (np.zeros(0, _PERSON), None)
        pieces = [living] if gone is None else [living, gone]
        power = np.concatenate([inverse @ piece.used for piece in pieces])
        joules = np.concatenate([piece.joules for piece in pieces])
        best = choose(power, joules, self._kept, self._resting)
        alive = best[best < len(living.joules)]
        buried = best[best >= len(living.joules)]
        people = np.concatenate(
            [self._people(self._rows[alive], self._sampler.home(alive)), dead[buried - len(living.joules)]]
        )
        who = self._known.keep(map(self._process, [*alive.tolist(), *[-1] * len(buried)], people.tolist()))
        best = np.concatenate([alive, buried])
        self._gone.clear()
        self._growth.begin()
        return _shares(who, power[best], joules[best], self._level, watts)

    def forget(self, shares: Shares[Process]) -> None:
        """A step with these has gone."""
        self._known.forget(shares.who)

    def _people(self, rows: NDArray[np.void], kernel_rows: Indexes) -> NDArray[np.void]:
        people = np.zeros(len(rows), _PERSON)
        for name, column in (("pid", "tgid"), ("start_ns", "start_ns"), ("comm", "comm")):
            people[name] = rows[column]
        # A cgroup's row that is given back already may be another's.
        there = (rows["cgroup_id"] != 0) | (kernel_rows < self._reserved) | (kernel_rows >= self._cgroups)
        people["home"] = -1
        people["home"][there] = self._sampler.table.of(kernel_rows[there])
        return people

    def _process(self, row: int, person: tuple[int, int, bytes, int]) -> Process:
        pid, start_ns, comm, number = person
        if row == OVERFLOW_ROW:
            return Process(0, 0, "", OVERFLOW)
        home = self._sampler.table.rows.get(number)
        return Process(pid, start_ns, comm.decode("utf-8", "replace"), SYSTEM if home is None else home.workload)


def _merged(pieces: Sequence[tuple[NDArray[np.void], Growth]]) -> tuple[NDArray[np.void], Growth]:
    """All pieces as one in which everybody is once."""
    people, place = np.unique(np.concatenate([people for people, _ in pieces]), return_inverse=True)
    used = np.concatenate([growth.used for _, growth in pieces], axis=1)
    joules = np.concatenate([growth.joules for _, growth in pieces])
    sums = np.array([np.bincount(place, column, len(people)) for column in (*used, joules)], np.float64)
    return people, Growth(sums[:-1], sums[-1])


class Containers:
    """The container level of the history."""

    def __init__(self, sampler: Sampler, kept: int, resting: bool) -> None:
        self._level = sampler.ledger.levels["container"]
        self._table = sampler.table
        self._kept, self._resting = kept, resting
        self._growth = GrowthOf(self._level)
        self._known: _Known[Workload] = _Known(id)

    @property
    def nbytes(self) -> int:
        return self._growth.nbytes + _WORKLOAD_BYTES * len(self._known)

    def end(self, inverse: Floats, watts: Floats) -> Shares[Workload]:
        """The step ends. ``inverse``: float64[3], one by the seconds that each component's joules cover."""
        growth = self._growth.rows()
        power = inverse @ growth.used
        best = choose(power, growth.joules, self._kept, self._resting)
        best = np.array([number for number in best.tolist() if number in self._table.rows], np.intp)
        who = self._known.keep(self._table.rows[number].workload for number in best.tolist())
        self._growth.begin()
        return _shares(who, power[best], growth.joules[best], self._level, watts)

    def forget(self, shares: Shares[Workload]) -> None:
        """A step with these has gone."""
        self._known.forget(shares.who)


def _shares(who: tuple[Who, ...], power: Floats, joules: Floats, level: Level, watts: Floats) -> Shares[Who]:
    """Others are whatever of the books is with nobody in particular, so that the step's books close."""
    rounded = power.astype(np.float32)
    charged = watts[MEASURED] - watts[IDLE] - watts[UNATTRIBUTED]
    others_joules = float(level.total()[: len(NODE)].sum() - joules.sum())
    others_watts = float(charged.sum() - rounded.sum(dtype=np.float64))
    return Shares(who, rounded, joules, max(others_watts, 0.0), max(others_joules, 0.0))
