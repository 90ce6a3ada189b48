"""Hardware counters: one event per CPU, counting all tasks, always on, read by the BPF programs at every switch."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import platform
import resource
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..host.fs import HostFS, read_text
from ..host.syscalls import Element, perf_event_open

log = logging.getLogger(__name__)

_NO_SUCH_CPU = (errno.ENODEV, errno.ENXIO)
_OTHER_DESCRIPTORS = 256  # what the collector has open besides
_HARDWARE, _HW_CACHE = 0, 3  # PERF_TYPE_HARDWARE, PERF_TYPE_HW_CACHE
_LAST_LEVEL_READ_MISS = 0x10002  # PERF_COUNT_HW_CACHE_LL, OP_READ << 8, RESULT_MISS << 16


@dataclass(frozen=True)
class Event:
    """A perf event: ``type`` and ``config`` of perf_event_open(2)."""

    name: str
    type: int
    config: int


def llc_misses(machine: str) -> Event:
    """Misses of the last cache level on a machine that ``uname -m`` names so."""
    # What perf calls cache misses are refills of the first level on Arm (drivers/perf/arm_pmuv3.c,
    # armv8_pmuv3_perf_map). Those of the last level are in its table of caches, as LL_CACHE_MISS_RD; a processor
    # without that event refuses it.
    if machine == "aarch64":
        return Event("llc-misses", _HW_CACHE, _LAST_LEVEL_READ_MISS)
    return Event("llc-misses", _HARDWARE, 3)


CYCLES = Event("cycles", _HARDWARE, 0)
INSTRUCTIONS = Event("instructions", _HARDWARE, 1)
LLC_MISSES = llc_misses(platform.machine())
CPU_CLOCK = Event("cpu-clock", 1, 0)  # PERF_TYPE_SOFTWARE: there on every machine, for tests

Open = Callable[[int, int, int], int]


class EventCounters:
    """One event on every CPU. ``by_cpu``: descriptors. ``refused``: why it cannot be counted here, None where it is."""

    def __init__(self, event: Event, cpus: Iterable[int], open_event: Open = perf_event_open) -> None:
        self.event = event
        self.by_cpu: dict[int, int] = {}
        self.refused: OSError | None = None
        self._open = open_event
        self._map_fd = -1
        for cpu in cpus:
            error = self._add(cpu)
            if error is not None:
                self.refused = error
                self.close()
                return
        if not self.by_cpu:
            self.refused = OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    def attach(self, map_fd: int) -> None:
        """Put the events into a perf event array, those that come later too. Raises OSError.

        Through the collector's own descriptor of the map: the kernel removes entries when the descriptor that added
        them closes.
        """
        self._map_fd = map_fd
        for cpu in self.by_cpu:
            self._put(cpu)

    def follow(self, cpus: Sequence[int]) -> None:
        """Count on these CPUs, which have come online: the kernel ends a CPU's events when it goes.

        What is refused, as without the privileges of the start it may be, is logged and left out: the programs then
        take the CPU's time by the mean rate of all.
        """
        for cpu in cpus:
            descriptor = self.by_cpu.pop(cpu, None)
            if descriptor is not None:
                os.close(descriptor)
            error = self._add(cpu)
            try:
                if error is not None:
                    raise error
                if cpu in self.by_cpu:
                    self._put(cpu)
            except OSError as refused:
                log.warning("%s cannot be counted on CPU %d: %s", self.event.name, cpu, refused.strerror)

    def close(self) -> None:
        for descriptor in self.by_cpu.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.by_cpu.clear()

    def _add(self, cpu: int) -> OSError | None:
        try:
            self.by_cpu[cpu] = self._open(self.event.type, self.event.config, cpu)
        except OSError as error:
            return None if error.errno in _NO_SUCH_CPU and self.by_cpu else error
        return None

    def _put(self, cpu: int) -> None:
        element = Element(self._map_fd, 4, 4)
        struct.pack_into("=I", element.key, 0, cpu)
        struct.pack_into("=I", element.value, 0, self.by_cpu[cpu])
        element.update()


def open_counters(event: Event, cpus: Sequence[int], open_event: Open = perf_event_open) -> EventCounters:
    """The event on all of these CPUs, online or not; on none of them where one refuses it, with the reason."""
    opened = EventCounters(event, cpus, open_event)
    if opened.refused is not None and opened.refused.errno in (errno.EMFILE, errno.ENFILE):
        log.warning(
            "%s cannot be counted: no descriptors left for %d CPUs (%s); raise LimitNOFILE or the container's limit",
            event.name,
            len(cpus),
            opened.refused.strerror,
        )
    return opened


def why(refused: OSError) -> str:
    """Why an event is not counted, in words."""
    if refused.errno in (errno.EMFILE, errno.ENFILE):
        return f"no descriptors left ({refused.strerror}): raise the limit of open files"
    if refused.errno in (errno.EACCES, errno.EPERM):
        return f"not allowed ({refused.strerror})"
    return "not counted on this machine"


def allow_descriptors(count: int) -> None:
    """Raise the soft limit of open files (setrlimit(2)) as far as needed for so many more, and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def reserved(fs: HostFS) -> str:
    """The setting that keeps counters for CAP_SYS_ADMIN, as Debian's kernels know one; or empty."""
    try:
        paranoid = int(read_text(fs.proc / "sys/kernel/perf_event_paranoid"))
    except (OSError, ValueError):
        return ""
    return f"kernel.perf_event_paranoid={paranoid} keeps counters for CAP_SYS_ADMIN" if paranoid > 2 else ""
