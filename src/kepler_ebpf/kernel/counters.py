"""Hardware counters: one event per CPU, counting all tasks, always on, read by the BPF programs at every switch."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ..host.fs import HostFS, read_text
from ..host.syscalls import Element, perf_event_open


@dataclass(frozen=True)
class Event:
    """A perf event: ``type`` and ``config`` of perf_event_open(2)."""

    name: str
    type: int
    config: int


CYCLES = Event("cycles", 0, 0)  # PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES
LLC_MISSES = Event("llc-misses", 0, 3)  # PERF_COUNT_HW_CACHE_MISSES
CPU_CLOCK = Event("cpu-clock", 1, 0)  # PERF_TYPE_SOFTWARE: there on every machine, for tests


def open_event(event: Event, cpus: Sequence[int]) -> list[int] | None:
    """Descriptors of the event, one for each CPU of ``cpus`` in order, or None where any CPU refuses it."""
    descriptors: list[int] = []
    try:
        for cpu in cpus:
            descriptors.append(perf_event_open(event.type, event.config, cpu))  # noqa: PERF401 (kept on failure)
    except OSError:
        close_all(descriptors)
        return None
    return descriptors


def reserved(fs: HostFS) -> str:
    """Why CAP_PERFMON may not be enough here, as Debian's kernels know a stricter setting than Linux; or empty."""
    try:
        paranoid = int(read_text(fs.proc / "sys/kernel/perf_event_paranoid"))
    except (OSError, ValueError):
        return ""
    return f"kernel.perf_event_paranoid={paranoid} keeps counters for CAP_SYS_ADMIN" if paranoid > 2 else ""


def attach_event(map_fd: int, cpus: Sequence[int], descriptors: Sequence[int]) -> None:
    """Put the events into a perf event array.

    Through the collector's own descriptor of the map: the kernel removes entries when the descriptor that added them
    closes. Raises OSError.
    """
    element = Element(map_fd, 4, 4)
    for cpu, fd in zip(cpus, descriptors):
        struct.pack_into("=I", element.key, 0, cpu)
        struct.pack_into("=I", element.value, 0, fd)
        element.update()


def close_all(descriptors: Sequence[int]) -> None:
    """Close them, whatever happens."""
    for fd in descriptors:
        with contextlib.suppress(OSError):
            os.close(fd)
