"""Which of a driver's utilisation samples are new.

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
_MOST_PROCESSES = 10_000


@dataclass(frozen=True)
class Sample:
    """``utilization``: 0 to 1, NaN where not known. ``stamp_us``: by the driver's clock."""

    pid: int
    utilization: float
    stamp_us: int


class SampleStream:
    """The samples of one GPU, each once."""

    def __init__(self) -> None:
        self._newest_us = 0
        self._by_process: dict[int, int] = {}
        self._new_ns = 0  # when there last was a new one, or everything was asked for
        self._afresh = True

    def since_us(self, now_ns: int) -> int:
        """The stamp to ask the driver with."""
        self._afresh = now_ns - self._new_ns >= _AFRESH_NS
        return 0 if self._afresh else max(self._newest_us - _OVERLAP_US, 0)

    def take(self, samples: Sequence[Sample], now_ns: int) -> dict[int, float]:
        """Utilisation, 0 to 1, of every process with a new sample: the mean where it has several."""
        if self._afresh:
            self._new_ns = now_ns
            newest: dict[int, int] = {}
            for sample in samples:
                newest[sample.pid] = max(newest.get(sample.pid, 0), sample.stamp_us)
            if any(stamp < self._by_process.get(pid, 0) for pid, stamp in newest.items()):
                self._by_process.clear()  # the clock was set back
            self._newest_us = max(newest.values(), default=self._newest_us)
        found: dict[int, list[float]] = {}
        seen = dict(self._by_process)
        for sample in samples:
            if sample.stamp_us <= seen.get(sample.pid, 0):
                continue
            self._by_process[sample.pid] = max(sample.stamp_us, self._by_process.get(sample.pid, 0))
            self._newest_us = max(self._newest_us, sample.stamp_us)
            self._new_ns = now_ns
            if not math.isnan(sample.utilization):
                found.setdefault(sample.pid, []).append(sample.utilization)
        while len(self._by_process) > _MOST_PROCESSES:
            del self._by_process[next(iter(self._by_process))]
        return {pid: sum(uses) / len(uses) for pid, uses in found.items()}
