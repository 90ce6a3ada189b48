"""Who used most in a step, at either level, with their names as they were then."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
_PROCESS_BYTES, _WORKLOAD_BYTES = 600, 1000


class _Known(Generic[Who]):
    """One object for everybody who is in any step: steps share it.

    ``key``: what makes them the same; cheaper than to compare all labels of a workload.
    """

    def __init__(self, key: Callable[[Who], object]) -> None:
        self._key: Callable[[Who], object] = key
        self._uses: dict[object, tuple[Who, list[int]]] = {}

    def __len__(self) -> int:
        return len(self._uses)

    def keep(self, many: Iterable[Who]) -> tuple[Who, ...]:
        """The shared objects of these."""
        kept = []
        for who in many:
            key = self._key(who)
            found = self._uses.get(key)
            if found is None:
                found = self._uses[key] = who, [0]
            found[1][0] += 1
            kept.append(found[0])
        return tuple(kept)

    def forget(self, many: Iterable[Who]) -> None:
        """A step with these has gone."""
        for who in many:
            key = self._key(who)
            uses = self._uses[key][1]
            uses[0] -= 1
            if not uses[0]:
                del self._uses[key]


def _process_key(who: Process) -> object:
    return who.pid, who.start_ns, who.comm, id(who.workload)


class Processes:
    """The process level of the history. Processes that ended within a step are in it under their own names."""

    def __init__(self, sampler: Sampler, tables: KernelTables, kept: int) -> None:
        self._level = sampler.ledger.levels["process"]
        self._sampler = sampler
        self._rows = tables.processes.rows
        self._reserved, self._cgroups = tables.cgroups.reserved, tables.cgroups.capacity
        self._kept = kept
        self._growth = GrowthOf(self._level)
        self._gone: list[tuple[NDArray[np.void], Indexes, Growth]] = []  # rows, their workloads, what they used
        self._known: _Known[Process] = _Known(_process_key)

    @property
    def nbytes(self) -> int:
        return self._growth.nbytes + _PROCESS_BYTES * len(self._known)

    def settle(self, gone: Departed) -> None:
        """These ended: their names and what they used are kept until the step ends."""
        growth = self._growth.settled(gone)
        best = choose(growth.used.sum(axis=0), growth.joules, self._kept)
        if len(best):
            homes = self._homes(gone.rows[best], gone.rows["cgroup_row"][best].astype(np.intp))
            self._gone.append((gone.rows[best], homes, Growth(growth.used[:, best], growth.joules[best])))

    def end(self, inverse: Floats, watts: Floats) -> Shares[Process]:
        """The step ends. ``inverse``: float64[3], one by the seconds that each component's joules cover."""
        growth = self._growth.rows()
        pieces = [growth, *(growth for _, _, growth in self._gone)]
        power = np.concatenate([inverse @ piece.used for piece in pieces])
        joules = np.concatenate([piece.joules for piece in pieces])
        best = choose(power, joules, self._kept)
        living = best[best < len(growth.joules)]
        dead = best[best >= len(growth.joules)] - len(growth.joules)
        who = self._named(living) + self._buried(dead)
        best = np.concatenate([living, dead + len(growth.joules)])
        self._gone.clear()
        self._growth.begin()
        return _shares(self._known.keep(who), power[best], joules[best], self._level, watts)

    def forget(self, shares: Shares[Process]) -> None:
        """A step with these has gone."""
        self._known.forget(shares.who)

    def _named(self, index: Indexes) -> list[Process]:
        rows = self._rows[index]
        who = self._people(rows, self._homes(rows, self._sampler.home(index)))
        overflow = Process(0, 0, "", OVERFLOW)
        return [overflow if row == OVERFLOW_ROW else one for row, one in zip(index.tolist(), who)]

    def _buried(self, index: Indexes) -> list[Process]:
        if not len(index):
            return []
        rows = np.concatenate([rows for rows, _, _ in self._gone])
        homes = np.concatenate([homes for _, homes, _ in self._gone])
        return self._people(rows[index], homes[index])

    def _homes(self, rows: NDArray[np.void], kernel_rows: Indexes) -> Indexes:
        """Numbers of the workloads of these processes, -1 where the cgroup's row is given back already."""
        there = (rows["cgroup_id"] != 0) | (kernel_rows < self._reserved) | (kernel_rows >= self._cgroups)
        homes = np.full(len(rows), -1, np.intp)
        homes[there] = self._sampler.table.of(kernel_rows[there])
        return homes

    def _people(self, rows: NDArray[np.void], homes: Indexes) -> list[Process]:
        names = [comm.decode("utf-8", "replace") for comm in rows["comm"].tolist()]
        columns = zip(rows["tgid"].tolist(), rows["start_ns"].tolist(), names, homes.tolist())
        return [Process(pid, start, comm, self._workload(number)) for pid, start, comm, number in columns]

    def _workload(self, number: int) -> Workload:
        row = self._sampler.table.rows.get(number)
        return SYSTEM if row is None else row.workload


class Containers:
    """The container level of the history."""

    def __init__(self, sampler: Sampler, kept: int) -> None:
        self._level = sampler.ledger.levels["container"]
        self._table = sampler.table
        self._kept = kept
        self._growth = GrowthOf(self._level)
        self._known: _Known[Workload] = _Known(id)

    @property
    def nbytes(self) -> int:
        return self._growth.nbytes + _WORKLOAD_BYTES * len(self._known)

    def end(self, inverse: Floats, watts: Floats) -> Shares[Workload]:
        """The step ends. ``inverse``: float64[3], one by the seconds that each component's joules cover."""
        growth = self._growth.rows()
        power = inverse @ growth.used
        best = choose(power, growth.joules, self._kept)
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
