"""Which of a driver's utilisation samples are new, and which cannot be.

The driver keeps the latest sample of each process, each with a stamp of its own, and gives those later than the stamp
that it is asked with. Stamps of two processes are not in step, and follow the wall clock, which may be set back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_OVERLAP_US = 2_000_000
"""So much is asked for again: a process's sample can appear after a later one of another process."""
_AFRESH_NS = 10_000_000_000
"""After so long without any new sample everything is asked for: the clock of the stamps may have been set back."""
_AHEAD_US = 5_000_000
"""No stamp is further ahead of the wall clock: one that is would make all that follow look old."""
_OLD_US = 10_000_000
"""A sample so much older than others tells of a time that is over: drivers keep those of processes idle for hours."""
_MOST_PROCESSES = 10_000


@dataclass(frozen=True)
class GpuSample:
    """``utilization``: 0 to 1, NaN where not known. ``stamp_us``: by the driver's clock."""

    pid: int
    utilization: float
    stamp_us: int


class SampleStream:
    """The samples of one GPU, each once. ``refused``: how many of the latest reply have stamps that cannot be."""

    def __init__(self) -> None:
        self.refused = 0
        self._newest_us = 0
        self._by_process: dict[int, int] = {}
        self._new_ns: int | None = None  # when there last was a new one, or everything was asked for
        self._afresh = True
        self._unfamiliar = True  # what the next reply has may date from long before it
        self._lead_us = 0  # of the stamps' clock, where that is another than the wall clock
        self._refused_us = 0  # the middle stamp of the latest reply that had none but those that cannot be

    def since_us(self, now_ns: int, wall_us: int) -> int:
        """The stamp to ask the driver with. ``wall_us``: the wall clock."""
        clock_us = wall_us + self._lead_us
        if self._newest_us > clock_us + _AHEAD_US:  # the clock was set back
            self._forget()
        self._afresh = self._unfamiliar or self._new_ns is None or now_ns - self._new_ns >= _AFRESH_NS
        return 0 if self._afresh else max(min(self._newest_us, clock_us) - _OVERLAP_US, 0)

    def take(self, samples: Sequence[GpuSample], now_ns: int, wall_us: int) -> dict[int, float]:
        """Utilisation, 0 to 1, of every process with a new sample: the mean where it has several."""
        believed = self._believe(samples, wall_us)
        if self._afresh:
            self._new_ns = now_ns
            self._follow(believed)
        oldest_us = max((sample.stamp_us for sample in believed), default=0) - _OLD_US
        if self._unfamiliar:
            oldest_us = max(oldest_us, wall_us + self._lead_us - _OLD_US)
            self._unfamiliar = False
        found: dict[int, list[float]] = {}
        seen = dict(self._by_process)
        for sample in believed:
            if sample.stamp_us <= seen.get(sample.pid, 0):
                continue
            self._by_process[sample.pid] = max(sample.stamp_us, self._by_process.get(sample.pid, 0))
            self._newest_us = max(self._newest_us, sample.stamp_us)
            self._new_ns = now_ns
            if sample.stamp_us >= oldest_us and not math.isnan(sample.utilization):
                found.setdefault(sample.pid, []).append(sample.utilization)
        while len(self._by_process) > _MOST_PROCESSES:
            del self._by_process[next(iter(self._by_process))]
        return {pid: sum(uses) / len(uses) for pid, uses in found.items()}

    def _believe(self, samples: Sequence[GpuSample], wall_us: int) -> list[GpuSample]:
        """Those whose stamps can be."""
        if self._afresh and samples:
            self._compare(sorted(sample.stamp_us for sample in samples), wall_us)
        latest_us = wall_us + self._lead_us + _AHEAD_US
        believed = [sample for sample in samples if sample.stamp_us <= latest_us]
        self.refused = len(samples) - len(believed)
        return believed

    def _compare(self, stamps: list[int], wall_us: int) -> None:
        """Stamps all ahead of the wall clock that go on are of another clock, which counts from then on."""
        middle_us = stamps[(len(stamps) - 1) // 2]
        if stamps[0] <= wall_us + _AHEAD_US:
            self._lead_us = self._refused_us = 0
        elif 0 < self._refused_us < middle_us:
            self._lead_us = middle_us - wall_us
        else:
            self._refused_us = middle_us

    def _follow(self, believed: Sequence[GpuSample]) -> None:
        """Everything was asked for: stamps may have gone back."""
        newest: dict[int, int] = {}
        for sample in believed:
            newest[sample.pid] = max(newest.get(sample.pid, 0), sample.stamp_us)
        if any(stamp < self._by_process.get(pid, 0) for pid, stamp in newest.items()):
            self._forget()
        self._newest_us = max(newest.values(), default=self._newest_us)

    def _forget(self) -> None:
        self._by_process.clear()
        self._newest_us = 0
        self._unfamiliar = True
