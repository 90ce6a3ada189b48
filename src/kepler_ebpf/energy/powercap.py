"""RAPL through the powercap tree: Intel, and AMD since Family 17h (Documentation/power/powercap/powercap.rst).

Zones are read, one ``pread`` each, and every reading is believed or not (``believe.py``). ``zones.py`` finds them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..host.fs import HostFS, read_text
from .believe import LIMIT_HEADROOM, PLAUSIBLE_WATTS, Believer
from .figures import Figures, reason_of
from .places import Places
from .source import Domain
from .zones import Zone, ZoneFinding, find_zones

_MICROJOULE = 1e-6
_REDISCOVER_SECONDS = 5.0
_MIRRORED_SAMPLES = 10

Pread = Callable[[int, int, int], bytes]


def boottime_ns() -> int:
    """Time that goes on while the machine is suspended: a counter may have wrapped meanwhile."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass
class _Counter:
    """A zone that is read. ``raw``: the latest reading; ``alike``: for how many samples it went as ``twin`` did."""

    zone: Zone
    position: int
    believer: Believer
    fd: int = -1
    raw: int | None = None
    moved: int = 0
    alike: int = 0
    mirror: bool = False

    @property
    def path(self) -> Path:
        return self.zone.path


class PowercapSource(Figures):
    """Energy of every zone (see :class:`EnergySource`)."""

    name = "rapl-powercap"

    def __init__(
        self,
        fs: HostFS,
        places: Places | None = None,
        clock_ns: Callable[[], int] = boottime_ns,
        pread: Pread = os.pread,
        virtual: bool = False,
    ) -> None:
        """``virtual``: this is a virtual machine, whose packages may all show the one counter of the host."""
        super().__init__(clock_ns)
        self._fs = fs
        self._places = places or Places()
        self._pread = pread
        self._virtual = virtual
        self._counters: dict[Domain, _Counter] = {}
        self._looked_ns = clock_ns()
        self._discover()

    def read(self) -> None:
        """Read every zone; one that cannot be read keeps its figures until it can."""
        gone = False
        for counter in self._counters.values():
            try:
                if counter.fd < 0:
                    raise OSError(errno.ENODEV, "the zone is gone, or cannot be opened")
                value = int(self._pread(counter.fd, 32, 0))
            except (OSError, ValueError) as error:
                self.fault(str(counter.path), reason_of(error))
                gone = gone or getattr(error, "errno", 0) in (errno.ENODEV, errno.ENOENT, errno.EBADF)
                continue
            now = self._clock_ns()
            if counter.raw is not None and value < counter.raw:
                counter.believer.span = _span(counter.path)  # it fell: at its range, or the range was never right
            counter.moved, counter.raw = value - (value if counter.raw is None else counter.raw), value
            verdict = counter.believer.read(value, now)
            if verdict.fault == "range":
                counter.believer.span = _span(counter.path)  # for the next reading: the range may be another by now
            if not counter.mirror:
                self.book(counter.position, verdict, now, str(counter.path))
        now = self._clock_ns()
        if self._virtual:
            self._find_mirrors()
        self.settle(now)
        if gone or now - self._looked_ns > _REDISCOVER_SECONDS * 1e9:
            self._discover()

    def close(self) -> None:
        for counter in self._counters.values():
            if counter.fd >= 0:
                os.close(counter.fd)
                counter.fd = -1

    def _find_mirrors(self) -> None:
        """In a virtual machine packages whose readings stay equal to the tick are the one counter of the host."""
        first: dict[str, _Counter] = {}
        for counter in self._counters.values():
            component = counter.zone.domain.component
            twin = first.setdefault(component, counter)
            if twin is counter or counter.mirror or counter.raw is None or not counter.moved:
                continue
            counter.alike = counter.alike + 1 if (counter.raw, counter.moved) == (twin.raw, twin.moved) else 0
            if counter.alike >= _MIRRORED_SAMPLES:
                counter.mirror = True
                self.live[counter.position] = False
                self.note(f"{counter.path} shows the same counter as {twin.path}: left out")

    def _discover(self) -> None:
        """Take up zones that have appeared, and those that have come back."""
        self._looked_ns = self._clock_ns()
        zones, notes = find_zones(self._fs, self._places)
        for note in notes:
            self.note(note)
        for zone in zones:
            counter = self._counters.get(zone.domain)
            if counter is not None and counter.fd >= 0 and _same_file(counter.fd, zone.path / "energy_uj"):
                continue
            if counter is None:
                component = zone.domain.component
                believer = Believer(0, _MICROJOULE, PLAUSIBLE_WATTS[component], stands_still=component != "package")
                counter = self._counters[zone.domain] = _Counter(zone, self.add(zone.domain), believer)
            self._open(counter, zone)

    def _open(self, counter: _Counter, zone: Zone) -> None:
        if counter.fd >= 0:
            with contextlib.suppress(OSError):
                os.close(counter.fd)
            counter.fd = -1
        try:
            counter.fd = os.open(zone.path / "energy_uj", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self.fault(str(zone.path), reason_of(error))
            return
        believer = counter.believer
        believer.restart()  # what it counted while it was away, or before we met it, is not known to be ours
        believer.span = _span(zone.path)
        most = _limit_watts(zone.path)
        if most:
            believer.most_watts = max(most * LIMIT_HEADROOM, most + 50.0)
        counter.zone, counter.raw = zone, None


def inspect_zones(fs: HostFS, places: Places | None = None) -> tuple[list[ZoneFinding], tuple[str, ...]]:
    """Every zone there is, and whether it can be read; and what is left out."""
    findings = []
    zones, notes = find_zones(fs, places or Places())
    for zone in zones:
        reason = ""
        try:
            int(read_text(zone.path / "energy_uj"))
        except (OSError, ValueError) as error:
            reason = reason_of(error)
        findings.append(ZoneFinding(zone.path, zone.name, not reason, reason))
    return findings, notes


def _span(path: Path) -> int:
    """Values from 0 to the range, inclusive; 0 where the file does not say."""
    try:
        most = int(read_text(path / "max_energy_range_uj"))
    except (OSError, ValueError):
        return 0
    return most + 1 if most > 0 else 0


def _limit_watts(path: Path) -> float:
    """The highest power that the zone can be limited to (``constraint_*_max_power_uw``); 0 where none is told."""
    limits = []
    for file in path.glob("constraint_*_max_power_uw"):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(read_text(file)) * 1e-6)
    return max(limits, default=0.0)


def _same_file(fd: int, path: Path) -> bool:
    try:
        return os.fstat(fd).st_ino == os.stat(path).st_ino
    except OSError:
        return False
