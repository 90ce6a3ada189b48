"""RAPL through perf events: the kernel's 64-bit sums, which never wrap, in finer units than powercap's microjoules.

Event, scale and unit are read from ``/sys/bus/event_source/devices/power`` (Linux ``arch/x86/events/rapl.c``). One
counter per package or die, opened on the CPU that ``cpumask`` names for it.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, Union

from ..columns import Component
from ..host.fs import HostFS, read_text
from ..host.topology import parse_cpu_list
from .believe import Believer
from .figures import reason_of
from .mirrors import Shown, Unmirrored
from .places import Places
from .plausible import PLAUSIBLE_WATTS
from .source import ALL_PACKAGES, Domain, Taking
from .zones import one_counter_a_socket

_EVENTS: dict[str, Component] = {
    "energy-pkg": "package",
    "energy-cores": "core",
    "energy-gpu": "uncore",
    "energy-ram": "dram",
    "energy-psys": "platform",
}
_COUNT = struct.Struct("=Q")
_SPAN = 1 << 64
_TELLING_JOULES = 0.1
"""Growth by which events are told apart. Of less there are few ticks (15 to 61 µJ): they may be equal by chance."""


class OpenEvent(Protocol):
    """perf_event_open(2) for all tasks of one CPU. Returns a descriptor; raises OSError."""

    def __call__(self, event_type: int, config: int, cpu: int) -> int: ...


Key = tuple[str, int, int]
"""What an event counts: its component, the rank of the package, and the die of it."""


@dataclass(eq=False)
class _Event(Shown):
    fd: int = -1
    cpu: int = -1
    failing: bool = False


_Raw = tuple[_Event, Union[bytes, OSError], int]
"""A reading of a counter: what was read, and when."""


@dataclass(frozen=True)
class _Offer:
    """An event on a CPU, and the domain that it counts for when it is met."""

    key: Key
    domain: Domain
    config: int
    joules_per_count: float
    cpu: int


class PerfRaplSource(Unmirrored):
    """Energy of every RAPL domain that the kernel offers as a perf event (see :class:`EnergySource`)."""

    name = "rapl-perf"

    def __init__(
        self,
        fs: HostFS,
        open_event: OpenEvent,
        places: Places | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        virtual: bool = False,
    ) -> None:
        super().__init__(fs, places, clock_ns, virtual, by_growth=True)
        self._open_event = open_event
        self._by_socket = one_counter_a_socket(fs)
        self._events: dict[Key, _Event] = {}
        self._refused: dict[str, str] = {}
        self._discover_first()

    def look(self) -> Taking:
        """Read every counter; one that cannot be read keeps its figures until it can."""
        raw: list[_Raw] = []
        for event in self._events.values():
            if event.fd < 0:
                continue
            try:
                raw.append((event, os.read(event.fd, _COUNT.size), self._clock_ns()))
            except OSError as error:
                raw.append((event, error, 0))
        return partial(self._take_all, raw, self._looked(is_gone=False))  # it is looked for each five seconds

    def _take_all(self, raw: Sequence[_Raw], looked_ns: int) -> None:
        readings: dict[Shown, int] = {}
        for event, words, now in raw:
            try:
                if isinstance(words, OSError):
                    raise words
                count = _COUNT.unpack(words)[0]
            except (OSError, struct.error) as error:
                self.fault(event.what, "EIO" if isinstance(error, struct.error) else reason_of(error))
                event.failing = True  # its CPU may be offline: cpumask names another one then
                continue
            event.failing = False
            readings[event] = count
            self._take(event, event.believer.read(count, now), now)
        self._look_for_mirrors(readings, looked_ns)
        self.end_reading(looked_ns)
        self._discover_again(looked_ns)

    def close(self) -> None:
        for event in self._events.values():
            self._close(event)

    @staticmethod
    def _close(event: _Event) -> None:
        if event.fd >= 0:
            with contextlib.suppress(OSError):
                os.close(event.fd)
            event.fd = -1

    def _discover(self) -> None:
        """Open events that have appeared, and those that cannot be read: an event of a CPU that was taken off stays
        silent when it is back. Close those that are not offered any more."""
        root = self._fs.sys / "bus/event_source/devices/power"
        try:
            event_type = int(read_text(root / "type"))
            cpus = parse_cpu_list(read_text(root / "cpumask"))
        except (OSError, ValueError):
            return  # no such PMU on this machine
        if not cpus:
            return  # nor one that any CPU may be asked for
        offers = list(self._offers(root, cpus))
        alike = Counter(offer.domain.component for offer in offers)
        for key in self._events.keys() - {offer.key for offer in offers} if offers else ():
            self._close(self._events[key])
        for offer in offers:
            event = self._events.get(offer.key)
            if event is not None and event.fd >= 0 and event.cpu == offer.cpu and not event.failing:
                continue
            what = f"RAPL {offer.domain.component} of package {offer.domain.zone}"
            try:
                fd = self._open_event(event_type, offer.config, offer.cpu)
            except OSError as error:
                if self._refused.get(what) != reason_of(error):  # asked for again and again, and counted once
                    self._refused[what] = reason_of(error)
                    self.fault(what, reason_of(error))
                continue
            self._refused.pop(what, None)
            component = offer.domain.component
            if event is None:
                believer = Believer(
                    _SPAN, offer.joules_per_count, PLAUSIBLE_WATTS[component], stands_still=component != "package"
                )
                event = self._events[offer.key] = _Event(offer.domain, what, believer)
                event.least = round(_TELLING_JOULES / offer.joules_per_count)
                self._meet(event, alike[component])
            self._close(event)
            event.fd, event.cpu, event.failing = fd, offer.cpu, False
            event.believer.restart()
            with contextlib.suppress(OSError, struct.error):
                now = self._clock_ns()
                event.believer.read(_COUNT.unpack(os.read(fd, _COUNT.size))[0], now)

    def _offers(self, root: Path, cpus: list[int]) -> Iterator[_Offer]:
        by_rank: dict[int, dict[int, int]] = {}  # by rank and die: a CPU
        for cpu in cpus:
            dies = by_rank.setdefault(self._places.rank_of_cpu(cpu), {})
            die = self._die_of(cpu)
            dies[next(n for n in range(len(cpus)) if n not in dies) if die is None or die in dies else die] = cpu
        for file_name, component in _EVENTS.items():
            event = root / "events" / file_name
            if not event.exists():
                continue
            try:
                config, joules_per_count = _parse(event)
            except (OSError, ValueError) as error:
                if self.note(f"RAPL event {file_name} cannot be understood ({error}): left out"):
                    self.faults["malformed"] += 1
                continue
            if self._by_socket and component == "core":
                self.note(f"RAPL event {file_name}: a counter of one core on this vendor's processors: left out")
                continue
            for rank, dies in by_rank.items():
                first = next(iter(dies.values()))
                label = self._places.label(first, rank)
                if component == "platform":  # as powercap's psys and psys-1: each socket has its own, or shows none
                    domain = Domain(component, ALL_PACKAGES, self.name, label)
                    yield _Offer((component, rank, 0), domain, config, joules_per_count, first)
                    continue
                if self._by_socket and len(dies) > 1:
                    self.note(f"RAPL event {file_name}: several CPUs of package {label} show its one counter")
                for die, cpu in ((0, first),) if self._by_socket else dies.items():
                    zone = label if len(dies) == 1 or self._by_socket else f"{label}-die-{die}"
                    yield _Offer(
                        (component, rank, die), Domain(component, rank, self.name, zone), config, joules_per_count, cpu
                    )

    def _die_of(self, cpu: int) -> int | None:
        """The die that a CPU is on, by the kernel's number (Linux 5.2); None where that is not told."""
        try:
            die = int(read_text(self._fs.sys / f"devices/system/cpu/cpu{cpu}/topology/die_id"))
        except (OSError, ValueError):
            return None
        return die if die >= 0 else None


def _parse(event: Path) -> tuple[int, float]:
    """Config and joules per count of one event. Raises OSError, ValueError."""
    fields = dict(part.split("=", 1) for part in read_text(event).split(","))
    unit = read_text(event.with_name(event.name + ".unit"))
    if unit != "Joules":
        raise ValueError(f"its unit is {unit!r}, expected Joules")
    scale = float(read_text(event.with_name(event.name + ".scale")))
    if not 0 < scale < 1:
        raise ValueError(f"its scale is {scale!r}, expected joules per count")
    return int(fields.get("event", ""), 0), scale
