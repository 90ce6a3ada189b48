"""Which processes get series of their own, and what all others add up to.

Two promises: the level always sums to what was booked, and no counter falls. Both hold although processes come into
view and go out of it: whatever has no series is in ``other``; a process that comes into view takes its joules out of
``other`` only as far as ``other`` has grown since, and leaves the rest there for good (``withheld``).

Of processes that had the same pid only the last has a series. With the same labels it goes on where the one before it
ended (``carried``); otherwise that one is in ``other`` now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..attribution.sampler import Departed
from ..columns import Floats
from .types import Process

Key = tuple[int, int]  # tgid, start


@dataclass
class Candidate:
    """A process that could be shown. ``figures``: joules, seconds, cycles; float64[3], cumulative."""

    comm: bytes
    cgroup_id: int
    figures: Floats
    watts: float
    died: float | None


@dataclass
class Shown:
    """A process with a series of its own.

    ``withheld``: the part of its figures that stays in ``other``. ``carried``: what the series had come to already,
    under the process that had the pid before.
    """

    candidate: Candidate
    container_id: str
    withheld: Floats
    carried: Floats

    @property
    def figures(self) -> Floats:
        return self.carried + (self.candidate.figures - self.withheld)


def merge(rows: NDArray[np.void], joules: Floats, recent_joules: Floats) -> tuple[NDArray[np.void], Floats, Floats]:
    """One entry per process where a process has a row on each of several packages.

    Returns the first row of each process, its figures, float64[3, n] (joules, seconds, cycles), and recent joules.
    """
    figures = np.stack([joules, (rows["alone_ns"] + rows["shared_ns"]) * 1e-9, rows["cycles"].astype(np.float64)])
    identity = np.stack([rows["tgid"].astype(np.uint64), rows["start_ns"]])
    _, first, inverse = np.unique(identity, axis=1, return_index=True, return_inverse=True)
    if len(first) == len(rows):
        return rows, figures, recent_joules
    inverse = inverse.reshape(-1)
    summed = np.zeros((3, len(first)))
    for column, into in zip(figures, summed):
        np.add.at(into, inverse, column)
    recent = np.zeros(len(first))
    np.add.at(recent, inverse, recent_joules)
    return rows[first], summed, recent


class ProcessSeries:
    """The selection, kept from publication to publication.

    ``limit``: how many processes are shown, chosen by energy. ``bound``: the most series ever, those of the dead
    included; beyond it the dead and small ones fold into ``other`` first. ``hold_seconds``: how long the dead stay.
    """

    def __init__(self, limit: int, bound: int, hold_seconds: float, container_id_of: Callable[[int], str]) -> None:
        self._limit = min(limit, bound)
        self._bound = bound
        self._hold_seconds = hold_seconds
        self._container_id_of = container_id_of
        self._shown: dict[Key, Shown] = {}
        self._other = np.zeros(3)

    def publish(
        self,
        rows: NDArray[np.void],
        joules: Floats,
        recent_joules: Floats,
        departed: Sequence[Departed],
        total: Floats,
        seconds: float,
        now: float,
    ) -> tuple[Process, ...]:
        """The series of this publication.

        ``rows``, ``joules``, ``recent_joules``: the live rows. ``departed``: rows that ended since the last call.
        ``total``: all joules, seconds and cycles of the level since the start, float64[3]. ``seconds``: the
        publication's interval.
        """
        candidates = dict(self._candidates(rows, joules, recent_joules, seconds, None))
        for gone in departed:
            candidates.update(self._candidates(gone.rows, gone.joules, gone.recent_joules, seconds, now))
        for key, shown in self._shown.items():
            if key not in candidates:
                self._keep(candidates, key, shown.candidate, now)
        self._succeed(candidates)
        self._choose(candidates)
        self._admit(candidates, total)
        other_watts = (
            float(recent_joules.sum() + sum(float(gone.recent_joules.sum()) for gone in departed)) / seconds
            if seconds > 0
            else 0.0
        )
        series = []
        for (tgid, _), shown in self._shown.items():
            candidate = shown.candidate
            figures = shown.figures
            other_watts -= candidate.watts
            series.append(
                Process(
                    str(tgid),
                    candidate.comm.decode("utf-8", "replace"),
                    shown.container_id,
                    float(figures[0]),
                    candidate.watts,
                    float(figures[1]),
                    float(figures[2]),
                )
            )
        series.append(
            Process("other", "", "", float(self._other[0]), max(other_watts, 0.0), *map(float, self._other[1:]))
        )
        return tuple(series)

    def _candidates(
        self, rows: NDArray[np.void], joules: Floats, recent_joules: Floats, seconds: float, died: float | None
    ) -> list[tuple[Key, Candidate]]:
        rows, figures, recent_joules = merge(rows, joules, recent_joules)
        rank = figures[0]
        if len(rank) > self._limit:
            best = np.argsort(rank)[len(rank) - self._limit :]
            rows, figures, recent_joules = rows[best], figures[:, best], recent_joules[best]
        watts = recent_joules / seconds if seconds > 0 else np.zeros(len(recent_joules))
        return [
            ((tgid, start), Candidate(comm, cgroup_id, figures[:, i], power, died))
            for i, (tgid, start, comm, cgroup_id, power) in enumerate(
                zip(
                    rows["tgid"].tolist(),
                    rows["start_ns"].tolist(),
                    rows["comm"].tolist(),
                    rows["cgroup_id"].tolist(),
                    watts.tolist(),
                )
            )
            if figures[0, i] > 0 or figures[1, i] > 0
        ]

    def _keep(self, candidates: dict[Key, Candidate], key: Key, candidate: Candidate, now: float) -> None:
        """A dead process that was shown stays with its final value until it has been scraped twice."""
        if candidate.died is not None and now - candidate.died < self._hold_seconds:
            candidate.watts = 0.0
            candidates[key] = candidate

    def _succeed(self, candidates: dict[Key, Candidate]) -> None:
        """Leave one process per pid, the one that started last; a series passes on with all that came in under it."""
        latest: dict[int, Key] = {}
        for key in sorted(candidates):
            earlier = latest.get(key[0])
            if earlier is not None:
                ended = candidates.pop(earlier)
                if earlier in self._shown:
                    self._shown[earlier].candidate = ended
            latest[key[0]] = key

    def _choose(self, candidates: dict[Key, Candidate]) -> None:
        """Keep the ``limit`` that used most energy, and beside them the dead that were shown already."""
        ranked = sorted(candidates, key=lambda key: -candidates[key].figures[0])
        chosen = set(ranked[: self._limit])
        held = [key for key in ranked[self._limit :] if key in self._shown and candidates[key].died is not None]
        chosen.update(held[: self._bound - len(chosen)])
        for key in ranked:
            if key not in chosen:
                del candidates[key]

    def _admit(self, candidates: dict[Key, Candidate], total: Floats) -> None:
        entrants = [key for key in candidates if key not in self._shown]
        by_pid = {tgid: shown for (tgid, _), shown in self._shown.items()}
        self._shown = {
            key: self._show(candidate, self._shown.get(key), by_pid.get(key[0]))
            for key, candidate in candidates.items()
        }
        shown = sum((shown.figures for shown in self._shown.values()), np.zeros(3))
        other = total - shown
        short = np.maximum(self._other - other, 0.0)
        if entrants and short.any():
            came = np.stack([candidates[key].figures for key in entrants])
            whole = came.sum(axis=0)
            part = np.divide(short, whole, out=np.zeros(3), where=whole > 0)
            withheld = came * np.minimum(part, 1.0)  # more only by rounding
            for key, figures in zip(entrants, withheld):
                self._shown[key].withheld = figures
            other = other + withheld.sum(axis=0)
        self._other = np.maximum(other, self._other)

    def _show(self, candidate: Candidate, before: Shown | None, of_pid: Shown | None) -> Shown:
        """``before``: this process as it was shown last. ``of_pid``: whoever was shown under its pid."""
        if before is not None and candidate.died is not None:  # its cgroup may be forgotten by now
            return Shown(candidate, before.container_id, before.withheld, before.carried)
        container_id = self._container_id_of(candidate.cgroup_id)
        if before is not None:
            return Shown(candidate, container_id, before.withheld, before.carried)
        carried = np.zeros(3)
        if of_pid is not None and (of_pid.candidate.comm, of_pid.container_id) == (candidate.comm, container_id):
            carried = of_pid.figures
        return Shown(candidate, container_id, np.zeros(3), carried)
