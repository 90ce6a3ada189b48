"""CPU time that the hypervisor gave to others while our CPUs wanted to run."""

from __future__ import annotations

import os

from .fs import HostFS

_STEAL_FIELD = 8  # proc_stat(5): cpu user nice system idle iowait irq softirq steal


class StolenTime:
    """Cumulative stolen seconds over all CPUs; 0 where the kernel does not say."""

    def __init__(self, fs: HostFS) -> None:
        self._ticks = os.sysconf("SC_CLK_TCK")
        try:
            self._fd = os.open(fs.proc / "stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1

    def __call__(self) -> float:
        try:
            line = os.pread(self._fd, 256, 0).split(b"\n", 1)[0]
            return int(line.split()[_STEAL_FIELD]) / self._ticks
        except (OSError, ValueError, IndexError):
            return 0.0
