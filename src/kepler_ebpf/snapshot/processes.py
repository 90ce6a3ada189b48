"""Which processes get series of their own, and what all others add up to.

Two promises: the level always sums to what was booked, and no counter falls or jumps. A series starts from what its
process had used at the publication before, so that nothing of its past appears at once; whatever has no series is in
``other``; and what a series had come to when it ends is in ``exited``. So ``other`` grows by what the processes in it
use, and by nothing else.

A series keeps its place until a process has used twice as much, so that those that use nearly the same do not take
turns, as the many of a build would. One that goes before it was scraped leaves rates too small: what it came to is in
``exited``, which no rate of processes has.

A series keeps its labels for life: a process that renames itself keeps the name it was first shown under, and one that
moves to another container gets another series. Of processes that had the same pid only the last has a series; with the
same labels it goes on where the one before it ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..attribution.frame import Departed
from ..attribution.ledger import Level
from ..columns import NODE, Floats, Indexes, are_among
from ..workloads.source import Workloads
from .types import Processes

Key = tuple[int, int]  # tgid, start
_KEEPS = 2.0


@dataclass
class _Series:
    """A process in view. ``figures``: what it used in all, float64[f]; ``offset``: what its series differs by.
    ``began``: when the series was at 0, seconds since the epoch."""

    comm: str
    container_id: str
    figures: Floats
    offset: Floats
    began: float
    watts: float = 0.0
    died: float | None = None

    @property
    def value(self) -> Floats:
        return self.figures + self.offset

    @property
    def labels(self) -> tuple[str, str]:
        return self.comm, self.container_id


@dataclass(frozen=True)
class Candidates:
    """Processes that ran since the start and have not been settled before the latest publication.

    ``rows``: their kernel rows, [n]. ``figures``: float64[f, n], in the order of ``Level.figures``; ``published``:
    likewise, as of the publication before. ``watts``: float64[n]. ``alive``: bool[n].
    """

    rows: NDArray[np.void]
    figures: Floats
    published: Floats
    watts: Floats
    alive: NDArray[np.bool_]

    @classmethod
    def gather(
        cls,
        rows: NDArray[np.void],
        used: Indexes,
        level: Level,
        departed: Sequence[Departed],
        covered_seconds: Floats,
    ) -> Candidates:
        """The live rows of the kernel's table, and those that were settled since the publication began."""
        inverse = np.divide(1.0, covered_seconds, out=np.zeros(len(NODE)), where=covered_seconds > 0)
        gone_watts = [inverse @ (gone.figures - gone.published)[: len(NODE)] for gone in departed]
        return cls(
            np.concatenate([rows[used], *(gone.rows for gone in departed)]),
            np.concatenate([level.figures[:, used], *(gone.figures for gone in departed)], axis=1),
            np.concatenate([level.published(used), *(gone.published for gone in departed)], axis=1),
            np.concatenate([level.watts(used), *gone_watts]),
            np.concatenate([np.ones(len(used), np.bool_), np.zeros(sum(len(g.rows) for g in departed), np.bool_)]),
        )

    def __len__(self) -> int:
        return len(self.watts)


class ProcessSeries:
    """The selection, kept from publication to publication.

    ``limit``: how many series there are at most beside ``other``, those of the dead included; chosen by energy.
    ``hold_seconds``: how long the dead stay.
    """

    def __init__(
        self, limit: int, hold_seconds: float, workloads: Workloads, began: float, exited: Floats | None = None
    ) -> None:
        """``began``: when nobody had used anything, seconds since the epoch. ``exited``: float64[f], what series had
        come to that ended before us."""
        self._limit = limit
        self._hold_seconds = hold_seconds
        self._workloads = workloads
        self._shown: dict[Key, _Series] = {}
        self._exited = np.zeros(len(NODE) + 2) if exited is None else exited.copy()
        self._other = np.zeros(len(self._exited))
        self._began = began

    def publish(self, candidates: Candidates, total: Floats, watts: float, now: float, since: float) -> Processes:
        """The series of this publication.

        ``total``: all figures of the level since the start, float64[f]. ``watts``: mean power of all processes.
        ``since``: when the publication before was made, seconds since the epoch.
        """
        shown: dict[Key, _Series] = {}
        ended = {key[0]: series for key, series in self._shown.items()}  # by pid: of each only one is shown
        for key, position in self._choose(candidates, now).items():
            before, of_pid = self._shown.get(key), ended.get(key[0])
            if position is None:
                assert before is not None  # only what is shown is held
                before.watts = 0.0
                shown[key] = before
            else:
                shown[key] = self._follow(candidates, position, before, of_pid, now, since)
            if of_pid is not None and of_pid.labels == shown[key].labels:
                del ended[key[0]]  # it goes on
        self._exited += sum((series.value for series in ended.values()), np.zeros(len(total)))
        self._shown = shown
        return self._columns(total, watts)

    def _choose(self, candidates: Candidates, now: float) -> dict[Key, int | None]:
        """The processes to show: positions among the candidates, None for the dead that keep their last value."""
        claim = candidates.figures[: len(NODE)].sum(axis=0)
        positions = np.flatnonzero((claim > 0) | (candidates.figures[-2] > 0))
        claim[self._is_shown(candidates.rows)] *= _KEEPS
        if len(positions) > self._limit:
            positions = positions[np.argsort(-claim[positions], kind="stable")[: self._limit]]
        rows = candidates.rows[positions]
        keys = zip(rows["tgid"].tolist(), rows["start_ns"].tolist())
        chosen: dict[Key, tuple[float, int | None]] = {
            key: (used, position) for key, used, position in zip(keys, claim[positions].tolist(), positions.tolist())
        }
        for key, series in self._shown.items():
            if key not in chosen and series.died is not None and now - series.died < self._hold_seconds:
                chosen[key] = (_KEEPS * float(series.figures[: len(NODE)].sum()), None)
        latest = {key[0]: key for key in sorted(chosen)}
        ranked = sorted(latest.values(), key=lambda key: -chosen[key][0])
        return {key: chosen[key][1] for key in ranked[: self._limit]}

    def _is_shown(self, rows: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which of these kernel rows have a series: bool[n]."""
        starts = np.array([start for _, start in self._shown], np.uint64)
        mine = np.flatnonzero(are_among(rows["start_ns"], starts))
        found = np.zeros(len(rows), np.bool_)
        found[mine] = [key in self._shown for key in zip(rows["tgid"][mine].tolist(), rows["start_ns"][mine].tolist())]
        return found

    def _follow(
        self,
        candidates: Candidates,
        position: int,
        before: _Series | None,
        of_pid: _Series | None,
        now: float,
        since: float,
    ) -> _Series:
        """``before``: this process as it was shown last. ``of_pid``: whatever was shown under its pid."""
        row = candidates.rows[position]
        died = None if candidates.alive[position] else now
        figures, watts = candidates.figures[:, position], float(candidates.watts[position])
        workload = self._workloads.identify(int(row["cgroup_id"])) if row["cgroup_id"] else None
        if before is not None and (died is not None or workload is None):  # its cgroup may be forgotten by now
            container_id = before.container_id
        else:
            container_id = workload.container_id if workload is not None else ""
        if before is not None and before.container_id == container_id:
            before.figures, before.watts, before.died = figures, watts, died
            return before
        comm = before.comm if before is not None else bytes(row["comm"]).decode("utf-8", "replace")
        series = _Series(comm, container_id, figures, -candidates.published[:, position], since, watts, died)
        if of_pid is not None and of_pid.labels == series.labels:
            series.offset, series.began = series.offset + of_pid.value, of_pid.began
        return series

    def _columns(self, total: Floats, watts: float) -> Processes:
        shown = list(self._shown.items())
        values = np.array([series.value for _, series in shown]).reshape(len(shown), len(total)).T
        other = total - values.sum(axis=1) - self._exited
        self._other = np.maximum(other, self._other)  # less only by rounding
        powers = [series.watts for _, series in shown]
        figures = np.concatenate([values, self._other[:, np.newaxis]], axis=1)
        return Processes(
            pid=(*(str(key[0]) for key, _ in shown), "other"),
            comm=(*(series.comm for _, series in shown), ""),
            container_id=(*(series.container_id for _, series in shown), ""),
            joules=figures[: len(NODE)],
            watts=np.array([*powers, max(watts - sum(powers), 0.0)]),
            seconds=figures[-2],
            cycles=figures[-1],
            exited=self._exited.copy(),
            began=(*(series.began for _, series in shown), self._began),
        )
