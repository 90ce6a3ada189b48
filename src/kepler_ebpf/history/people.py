"""Who used most in a step, at either level, with their names as they were then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from ..attribution.frame import Departed
from ..attribution.ledger import Level
from ..attribution.lifecycle import MAX_DEPARTED
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


class ProcessShares:
    """The process level of the history.

    Processes that began and ended within one step are one by name and workload: nobody looks for their pids, and a
    build makes thousands of them.
    """

    def __init__(self, sampler: Sampler, tables: KernelTables, kept: int, resting: bool) -> None:
        self._level = sampler.ledger.levels["process"]
        self._sampler, self._table = sampler, sampler.table
        self._rows = tables.processes.rows
        self._kept, self._resting = kept, resting
        self._growth = GrowthOf(self._level)
        self._gone: list[tuple[Departed, Floats, Indexes]] = []  # with what they had before, and their workloads
        self._many_gone = 0
        self._known: _Known[Process] = _Known(_process_key)

    @property
    def nbytes(self) -> int:
        return self._growth.nbytes + _PROCESS_BYTES * len(self._known)

    def settle(self, gone: Departed) -> None:
        """These ended: their names and what they used are kept until the step ends."""
        before = self._growth.before(gone.index)
        if self._many_gone < MAX_DEPARTED:
            self._many_gone += len(gone.index)
            self._gone.append(
                (gone, before, self._table.of_processes(gone.rows, gone.rows["cgroup_row"].astype(np.intp)))
            )

    def end(self, inverse: Floats, watts: Floats) -> Shares[Process]:
        """The step ends. ``inverse``: float64[3], one by the seconds that each component's joules cover."""
        growth = self._growth.rows()
        power, joules, dead = inverse @ growth.used, growth.joules, np.zeros(0, _PERSON)
        alive = len(joules)
        if self._gone:
            dead, gone = self._departed()
            power = np.concatenate([power, inverse @ gone.used])
            joules = np.concatenate([joules, gone.joules])
        best = choose(power, joules, self._kept, self._resting)
        rows, of_dead = best[best < alive], best[best >= alive]
        best = np.concatenate([rows, of_dead])
        living = self._rows[rows]
        people = _people(living, self._table.of_processes(living, self._sampler.home(rows))).tolist()
        people += dead[of_dead - alive].tolist()
        who = self._known.keep(map(self._process, best.tolist(), people))
        self._growth.begin()
        return _shares(who, power[best], joules[best], self._level, watts)

    def _departed(self) -> tuple[NDArray[np.void], Growth]:
        """Who was settled in this step, and what they used in it."""
        rows = np.concatenate([gone.rows for gone, _, _ in self._gone])
        figures = np.concatenate([gone.figures[: len(NODE)] for gone, _, _ in self._gone], axis=1)
        used = figures - np.concatenate([before for _, before, _ in self._gone], axis=1)
        people = _people(rows, np.concatenate([homes for _, _, homes in self._gone]))
        young = (used >= figures).all(axis=0)
        people["pid"][young] = people["start_ns"][young] = 0
        self._gone, self._many_gone = [], 0
        return _merged(people, Growth(used, figures.sum(axis=0)))

    def forget(self, shares: Shares[Process]) -> None:
        """A step with these has gone."""
        self._known.forget(shares.who)

    def _process(self, row: int, person: tuple[int, int, bytes, int]) -> Process:
        pid, start_ns, comm, number = person
        if row == OVERFLOW_ROW:
            return Process(0, 0, "", OVERFLOW)
        home = self._table.rows.get(number)
        return Process(pid, start_ns, comm.decode("utf-8", "replace"), SYSTEM if home is None else home.workload)


def _people(rows: NDArray[np.void], homes: Indexes) -> NDArray[np.void]:
    people = np.zeros(len(rows), _PERSON)
    for name, column in (
        ("pid", rows["tgid"]),
        ("start_ns", rows["start_ns"]),
        ("comm", rows["comm"]),
        ("home", homes),
    ):
        people[name] = column
    return people


def _merged(people: NDArray[np.void], growth: Growth) -> tuple[NDArray[np.void], Growth]:
    """The same with everybody once."""
    # Bytes in a dictionary: numpy takes a hundred times as long to compare records field by field.
    places: dict[bytes, int] = {}
    place = [places.setdefault(one, len(places)) for one in people.view(f"V{_PERSON.itemsize}").tolist()]
    sums = np.array([np.bincount(place, column, len(places)) for column in (*growth.used, growth.joules)], np.float64)
    return np.frombuffer(b"".join(places), _PERSON), Growth(sums[:-1], sums[-1])


class ContainerShares:
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
