"""The CPUs' rows: where each CPU belongs, its counters, and what runs on it now."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import KeplerError
from ..host.fs import HostFS
from ..host.syscalls import TestRun
from ..host.topology import Topology, online_cpus, read_topology
from .counters import EventCounters

log = logging.getLogger(__name__)


class Cpus:
    """Owns what user space writes into the rows. ``rows``: as ``layout.CPU``. ``topology``: as of the latest look;
    ``per_package``: how many CPUs are online in it, by package."""

    def __init__(
        self,
        fs: HostFS,
        topology: Topology,
        packages: int,
        rows: NDArray[np.void],
        counters: Sequence[EventCounters],
        open_slice: int | None,
    ) -> None:
        """``packages``: how many are told apart. ``open_slice``: the program, None where the kernel cannot have it."""
        self.topology = topology
        self.rows = rows
        self._fs = fs
        self._packages = packages
        self._counters = counters
        self._open_slice = open_slice
        self._busy_ns = [0] * packages
        self._unreadable = False
        self._place()

    def start(self) -> None:
        """Count from now on: what runs on each CPU may never be switched."""
        self.rows["enabled"] = 1
        self.open_slices(self.topology.online)

    def open_slices(self, cpus: Sequence[int]) -> list[int]:
        """Open a slice of what runs on these CPUs now; which of them cannot be asked.

        Before Linux 5.11 the program cannot be had. There a visit to each CPU makes it switch, where the cgroup of
        the collector allows one.
        """
        refused = []
        home = os.sched_getaffinity(0)
        run = TestRun(self._open_slice) if self._open_slice is not None else lambda cpu: os.sched_setaffinity(0, {cpu})
        for cpu in cpus:
            try:
                run(cpu)
            except OSError as error:
                log.debug("CPU %d: %s", cpu, error)
                refused.append(cpu)
        if self._open_slice is None:
            os.sched_setaffinity(0, home)
        return refused

    def close_offline(self, cpus: Sequence[int]) -> list[int]:
        """End the open slices of those of these CPUs that are offline; which these are.

        A CPU's last switch, from the kernel thread that takes it off to its idle task, is not told: tracepoints are
        silent on a CPU that is not online (include/linux/tracepoint.h).
        """
        try:
            online = online_cpus(self._fs)
        except KeplerError:  # said where the topology is followed
            return []
        offline = [cpu for cpu in cpus if cpu not in online]
        self.rows["task"][offline] = 0
        return offline

    def follow(self, cycles_per_us: int) -> bool:
        """Take up what changed of the topology; whether anything did.

        CPUs that came online get their package, their sibling and their counters. ``cycles_per_us``: what to take for
        CPUs that have none.
        """
        self.rows["cycles_per_us"] = cycles_per_us
        try:
            if tuple(online_cpus(self._fs)) == self.topology.online:
                return False
            now = read_topology(self._fs, self.topology)
        except KeplerError as error:
            if not self._unreadable:
                log.warning("%s", error)
            self._unreadable = True
            return False
        before, self.topology = self.topology, now
        self._place()
        came = sorted(set(now.online) - set(before.online))
        for events in self._counters:
            events.follow(came)
        log.info("CPUs online: %d, before %d", len(now.online), len(before.online))
        return True

    def busy_seconds(self, busy_ns: Sequence[int]) -> list[float]:
        """Cumulative CPU seconds of all tasks but the idle ones, by package; they never fall.

        ``busy_ns``: those of each CPU. An open slice may have turned out to be less.
        """
        busy = [0] * self._packages
        for package, ns in zip(self._package, busy_ns):
            busy[package] += ns
        self._busy_ns = [max(before, now) for before, now in zip(self._busy_ns, busy)]
        return [ns * 1e-9 for ns in self._busy_ns]

    def _place(self) -> None:
        self._package = [min(rank, self._packages - 1) for rank in self.topology.package[: len(self.rows)]]
        online = Counter(self._package[cpu] for cpu in self.topology.online)
        self.per_package = [online[package] for package in range(self._packages)]
        self.rows["package"] = self._package
        self.rows["sibling"] = self.topology.sibling[: len(self.rows)]
