"""RAPL through perf events: the kernel's 64-bit sums, which never wrap, in finer units than powercap's microjoules.

Event, scale and unit are read from ``/sys/bus/event_source/devices/power`` (Linux ``arch/x86/events/rapl.c``). One
counter per package, opened on the CPU that ``cpumask`` names for it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..columns import Component
from ..host.fs import HostFS, read_text
from ..host.topology import parse_cpu_list
from .source import Domain

log = logging.getLogger(__name__)

_EVENTS: dict[str, Component] = {
    "energy-pkg": "package",
    "energy-cores": "core",
    "energy-gpu": "uncore",
    "energy-ram": "dram",
    "energy-psys": "platform",
}
_COUNT = struct.Struct("=Q")


class OpenEvent(Protocol):
    """perf_event_open(2) for all tasks of one CPU. Returns a descriptor; raises OSError."""

    def __call__(self, event_type: int, config: int, cpu: int) -> int: ...


@dataclass
class _Event:
    domain: Domain
    fd: int
    joules_per_count: float
    start: int
    failing: bool = False


class PerfRaplSource:
    """Energy of every RAPL domain that the kernel offers as a perf event (see :class:`EnergySource`)."""

    name = "rapl-perf"

    def __init__(self, fs: HostFS, open_event: OpenEvent, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.faults: Counter[str] = Counter()
        self._clock_ns = clock_ns
        self._events: list[_Event] = []
        self._discover(fs, open_event)
        self.domains = tuple(event.domain for event in self._events)
        self.joules = np.zeros(len(self._events))
        self.time_ns = np.zeros(len(self._events), np.int64)

    def _discover(self, fs: HostFS, open_event: OpenEvent) -> None:
        root = fs.sys / "bus/event_source/devices/power"
        try:
            event_type = int(read_text(root / "type"))
            cpus = parse_cpu_list(read_text(root / "cpumask"))
        except (OSError, ValueError):
            return  # no such PMU on this machine
        for file_name, component in _EVENTS.items():
            try:
                config, joules_per_count = _parse(root / "events" / file_name)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                log.warning("RAPL event %s cannot be understood: %s", file_name, error)
                self.faults["malformed"] += 1
                continue
            for cpu in cpus[:1] if component == "platform" else cpus:
                package = _package_of(fs, cpu)
                try:
                    fd = open_event(event_type, config, cpu)
                    start = _COUNT.unpack(os.read(fd, _COUNT.size))[0]
                except (OSError, struct.error) as error:
                    reason = errno.errorcode.get(getattr(error, "errno", 0) or 0, "EIO")
                    log.info("RAPL event %s on CPU %d cannot be opened: %s", file_name, cpu, reason)
                    self.faults[reason] += 1
                    continue
                domain = Domain(component, package, self.name, str(package))
                self._events.append(_Event(domain, fd, joules_per_count, start))

    def read(self) -> None:
        """Read every counter; one that cannot be read keeps its value until it can."""
        for position, event in enumerate(self._events):
            try:
                count = _COUNT.unpack(os.read(event.fd, _COUNT.size))[0]
            except (OSError, struct.error) as error:
                reason = errno.errorcode.get(getattr(error, "errno", 0) or 0, "EIO")
                self.faults[reason] += 1
                if not event.failing:
                    log.warning(
                        "RAPL %s of package %s cannot be read: %s", event.domain.component, event.domain.zone, reason
                    )
                event.failing = True
                continue
            event.failing = False
            self.joules[position] = max(self.joules[position], (count - event.start) * event.joules_per_count)
            self.time_ns[position] = self._clock_ns()

    def close(self) -> None:
        for event in self._events:
            with contextlib.suppress(OSError):
                os.close(event.fd)


def _parse(event: Path) -> tuple[int, float]:
    """Config and joules per count of one event. Raises OSError, ValueError."""
    fields = dict(part.split("=", 1) for part in read_text(event).split(","))
    unit = read_text(event.with_name(event.name + ".unit"))
    if unit != "Joules":
        raise ValueError(f"its unit is {unit!r}, expected Joules")
    return int(fields.get("event", ""), 0), float(read_text(event.with_name(event.name + ".scale")))


def _package_of(fs: HostFS, cpu: int) -> int:
    try:
        return max(int(read_text(fs.sys / f"devices/system/cpu/cpu{cpu}/topology/physical_package_id")), 0)
    except (OSError, ValueError):
        return 0
