"""Who used a GPU's joules: utilisation samples come late, each process's at moments of its own.

Real drivers give one sample a process, about once a second, and it says how busy the process was until then. So joules
wait until samples cover them; a process's sample is weighed with the joules since its sample before. For a short while
after its latest sample a process is taken to go on as it did.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

HOLD_SECONDS = 8.0
"""Longest time that joules wait for samples: drivers have been seen to give none of a busy process for 7.2 s."""
REACH_SECONDS = 2.0
"""How far the first sample of a process reaches back, and the latest one ahead."""
_REACH_NS = round(REACH_SECONDS * 1e9)


@dataclass
class _Process:
    """``until_ns``: how far its samples reach. ``spans``: what they said: from, to, and utilisation (0 to 1)."""

    until_ns: int
    spans: deque[tuple[int, int, float]] = field(default_factory=deque)

    def mean(self, from_ns: int, to_ns: int) -> float:
        """Mean utilisation over a time, 0 where no sample reaches."""
        used = sum(_overlap(from_ns, to_ns, begin, end) * use for begin, end, use in self.spans)
        used += _overlap(from_ns, to_ns, self.until_ns, self.until_ns + _REACH_NS) * self.spans[-1][2]
        return used / max(to_ns - from_ns, 1)


@dataclass(frozen=True)
class Release:
    """``joules`` used in ``seconds``, and the weights of who used them by process id; empty where nobody is known."""

    joules: float
    seconds: float
    weights: Mapping[int, float]


class GpuUse:
    """Joules of one GPU that wait for their users."""

    def __init__(self) -> None:
        self._joules: deque[tuple[int, int, float]] = deque()  # from, to (ns), joules
        self._processes: dict[int, _Process] = {}
        self._released_ns = 0

    def add(self, joules: float, from_ns: int, to_ns: int) -> None:
        """Joules that were used in this time."""
        if not self._released_ns:
            self._released_ns = from_ns
        self._joules.append((from_ns, to_ns, joules))

    def sample(self, pid: int, utilization: float, now_ns: int) -> None:
        """A new sample of a process: how busy it was since the one before."""
        process = self._processes.get(pid)
        if process is None:
            begun = max(self._released_ns, now_ns - _REACH_NS)
            process = self._processes[pid] = _Process(begun)
        process.spans.append((process.until_ns, now_ns, utilization))
        process.until_ns = now_ns

    def release(self, now_ns: int) -> Release | None:
        """The joules that samples cover by now; None where there are none."""
        oldest = now_ns - round(HOLD_SECONDS * 1e9)
        waited_for = [process.until_ns + _REACH_NS for process in self._processes.values() if process.until_ns > oldest]
        # Where nobody is known, a first sample may still come that reaches back.
        horizon = min(waited_for, default=now_ns - _REACH_NS)
        horizon = min(horizon, now_ns)
        joules, begun, ended = 0.0, None, 0
        weights: dict[int, float] = {}
        while self._joules and (self._joules[0][1] <= horizon or self._joules[0][1] <= oldest):
            from_ns, to_ns, piece = self._joules.popleft()
            begun = from_ns if begun is None else begun
            ended = to_ns
            joules += piece
            for pid, process in self._processes.items():
                utilization = process.mean(from_ns, to_ns)
                if utilization > 0:
                    weights[pid] = weights.get(pid, 0.0) + piece * utilization
        if begun is None:
            return None
        self._released_ns = ended
        self._forget(ended, oldest)
        return Release(joules, (ended - begun) * 1e-9, weights)

    def _forget(self, released_ns: int, oldest: int) -> None:
        for pid, process in list(self._processes.items()):
            while len(process.spans) > 1 and process.spans[0][1] <= released_ns:
                process.spans.popleft()
            if process.until_ns <= oldest:
                del self._processes[pid]


def _overlap(from_ns: int, to_ns: int, begin: int, end: int) -> int:
    return max(min(to_ns, end) - max(from_ns, begin), 0)
