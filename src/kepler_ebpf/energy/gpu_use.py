"""Who used a GPU's joules: utilisation samples come late, each process's at moments of its own.

Real drivers give one sample a process, about once a second, and it says how busy the process was until then. So joules
wait until samples cover them; a process's sample is weighed with the joules since its sample before. For a short while
after its latest sample a process is taken to go on as it did.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

NOBODY = 0
"""In place of a process id: a part of the energy whose user cannot be named."""
HOLD_SECONDS = 8.0
"""Longest time that joules wait for samples: drivers have been seen to give none of a busy process for 7.2 s."""
REACH_SECONDS = 2.0
"""How far the first sample of a process reaches back, and the latest one ahead."""
_SILENT_NS = 500_000_000
_REACH_NS = round(REACH_SECONDS * 1e9)


_MOST_PROCESSES = 4096


@dataclass
class _Process:
    """``until_ns``: how far its samples reach. ``spans``: what they said: from, to, and utilisation (0 to 1).

    ``ended_ns``: since when it is known to be there no more. ``awaited``: whether joules wait for its next sample.
    ``reach_ns``: for how long it is taken to go on.
    """

    until_ns: int
    reach_ns: int
    spans: deque[tuple[int, int, float]] = field(default_factory=deque)
    ended_ns: int | None = None
    awaited: bool = True

    def mean(self, from_ns: int, to_ns: int) -> float:
        """Mean utilisation over a time, 0 where no sample reaches."""
        used = sum(_overlap(from_ns, to_ns, begin, end) * use for begin, end, use in self.spans)
        ahead_ns = self.until_ns + self.reach_ns
        if self.ended_ns is not None:
            ahead_ns = min(ahead_ns, self.ended_ns)
        used += _overlap(from_ns, to_ns, self.until_ns, ahead_ns) * self.spans[-1][2]
        return used / max(to_ns - from_ns, 1)


@dataclass(frozen=True)
class _Piece:
    from_ns: int
    to_ns: int
    joules: float
    load: float


@dataclass(frozen=True)
class Release:
    """``joules`` used in ``seconds``; ``weights``: the part of each process id, ``NOBODY`` included.

    ``load``: mean utilisation of the device in that time, 0 to 1, NaN where it is not known.
    """

    joules: float
    seconds: float
    weights: Mapping[int, float]
    load: float = math.nan

    def plus(self, later: Release) -> Release:
        """Both as one."""
        weights = dict(self.weights)
        for pid, weight in later.weights.items():
            weights[pid] = weights.get(pid, 0.0) + weight
        loads = [(r.load, r.seconds) for r in (self, later) if not math.isnan(r.load)]
        return Release(self.joules + later.joules, self.seconds + later.seconds, weights, _mean(loads))


class GpuUse:
    """Joules of one GPU that wait for their users."""

    def __init__(self) -> None:
        self._pieces: deque[_Piece] = deque()
        self._processes: dict[int, _Process] = {}
        self._released_ns = 0
        self._gap_ns = _REACH_NS  # about the longest time between two samples of a process, of late

    def add(self, joules: float, from_ns: int, to_ns: int, load: float = math.nan) -> None:
        """Joules that were used in this time, and the device's utilisation in it."""
        if not self._released_ns:
            self._released_ns = from_ns
        self._pieces.append(_Piece(from_ns, to_ns, joules, load))

    def sample(self, pid: int, utilization: float, now_ns: int, *, awaited: bool = True) -> None:
        """A new sample of a process: how busy it was since the one before. ``awaited``: whether another will come.

        One that none is awaited of may be a slip of the driver's: it speaks for no longer than samples are apart.
        """
        process = self._processes.get(pid)
        if process is None:
            if len(self._processes) >= _MOST_PROCESSES:
                return
            reach_ns = _REACH_NS if awaited else min(_REACH_NS, self._gap_ns)
            process = self._processes[pid] = _Process(max(self._released_ns, now_ns - reach_ns), reach_ns)
        elif awaited:
            self._gap_ns = max(now_ns - process.until_ns, round(0.9 * self._gap_ns))
        process.spans.append((process.until_ns if process.ended_ns is None else now_ns, now_ns, utilization))
        process.until_ns, process.ended_ns, process.awaited = now_ns, None, awaited

    def silent(self, now_ns: int) -> list[int]:
        """Processes that are waited for and have not been heard of for a while."""
        return [
            pid
            for pid, process in self._processes.items()
            if process.awaited and process.ended_ns is None and now_ns - process.until_ns > _SILENT_NS
        ]

    def end(self, pid: int, now_ns: int) -> None:
        """This process is there no more."""
        process = self._processes.get(pid)
        if process is not None and process.ended_ns is None:
            process.ended_ns = now_ns

    def only(self, pids: Set[int], now_ns: int) -> None:
        """The driver has listed all processes: nobody else is there any more."""
        for pid in self._processes.keys() - pids:
            self.end(pid, now_ns)

    def release(self, now_ns: int) -> Release | None:
        """The joules that samples cover by now; None where there are none."""
        oldest = now_ns - round(HOLD_SECONDS * 1e9)
        waited_for = [
            process.until_ns + _REACH_NS
            for process in self._processes.values()
            if process.until_ns > oldest and process.awaited and process.ended_ns is None
        ]
        # Where nobody is known, a first sample may still come that reaches back.
        horizon = min(waited_for, default=now_ns - _REACH_NS)
        horizon = min(horizon, now_ns)
        taken = []
        while self._pieces and (self._pieces[0].to_ns <= horizon or self._pieces[0].to_ns <= oldest):
            taken.append(self._pieces.popleft())
        if not taken:
            return None
        weights: dict[int, float] = {}
        for piece in taken:
            for pid, share in self._shares(piece).items():
                weights[pid] = weights.get(pid, 0.0) + piece.joules * share
        self._released_ns = taken[-1].to_ns
        self._forget(self._released_ns, oldest)
        seconds = sum(piece.to_ns - piece.from_ns for piece in taken) * 1e-9
        loads = [(piece.load, piece.to_ns - piece.from_ns) for piece in taken if not math.isnan(piece.load)]
        return Release(sum(piece.joules for piece in taken), seconds, weights, _mean(loads))

    def _shares(self, piece: _Piece) -> dict[int, float]:
        """Who used these joules, as fractions of 1: each piece for itself, so that it does not matter which others
        are released with it."""
        use = {pid: process.mean(piece.from_ns, piece.to_ns) for pid, process in self._processes.items()}
        whole = sum(use.values())
        return {pid: part / whole for pid, part in use.items() if part > 0} if whole > 0 else {NOBODY: 1.0}

    def _forget(self, released_ns: int, oldest: int) -> None:
        for pid, process in list(self._processes.items()):
            while len(process.spans) > 1 and process.spans[0][1] <= released_ns:
                process.spans.popleft()
            if process.until_ns <= oldest:
                del self._processes[pid]


def _overlap(from_ns: int, to_ns: int, begin: int, end: int) -> int:
    return max(min(to_ns, end) - max(from_ns, begin), 0)


def _mean(values: Sequence[tuple[float, float]]) -> float:
    """Mean of values, each with its weight; NaN of none."""
    whole = sum(weight for _, weight in values)
    return sum(value * weight for value, weight in values) / whole if whole > 0 else math.nan
