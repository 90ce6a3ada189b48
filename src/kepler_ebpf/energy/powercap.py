"""RAPL through the powercap tree: Intel, and AMD since Family 17h (Documentation/power/powercap/powercap.rst).

A zone is known by its ``name`` file, never by its number: ``package-0``, ``package-0-die-1``, ``core``, ``uncore``,
``dram``, ``psys``. Zones below a package belong to it.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..columns import Component
from ..host.fs import HostFS, read_text
from .counter import WrappingCounter
from .source import Domain

log = logging.getLogger(__name__)

_PACKAGE = re.compile(r"package-(\d+)(?:-die-(\d+))?")
_INNER: dict[str, Component] = {"core": "core", "uncore": "uncore", "dram": "dram"}
_MICROJOULE = 1e-6
_REDISCOVER_SECONDS = 5.0
# The same counters seen through other interfaces: taken only where the first has none of that name.
_CONTROL_TYPES = ("intel-rapl", "intel-rapl-tpmi", "intel-rapl-mmio")


def boottime_ns() -> int:
    """Time that goes on while the machine is suspended: a counter may have wrapped meanwhile."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


Pread = Callable[[int, int, int], bytes]


@dataclass(frozen=True)
class ZoneFinding:
    """A zone as ``kepler-ebpf doctor`` shows it."""

    path: Path
    name: str
    readable: bool
    reason: str


@dataclass
class _Zone:
    path: Path
    domain: Domain
    fd: int
    counter: WrappingCounter | None
    span: int
    failing: str = ""


def find_zones(fs: HostFS) -> Iterator[tuple[Path, Domain]]:
    """Every zone with its domain, duplicates of other control types left out."""
    root = fs.sys / "class/powercap"
    taken: set[tuple[str, str]] = set()
    for control_type in _CONTROL_TYPES:
        found = []
        for path in sorted(root.glob(f"{control_type}:*")):
            domain = _domain(path, control_type)
            if domain is not None and (domain.component, domain.zone) not in taken:
                found.append((path, domain))
        for path, domain in found:
            if (domain.component, domain.zone) not in taken:
                taken.add((domain.component, domain.zone))
                yield path, domain


def _domain(path: Path, control_type: str) -> Domain | None:
    """``intel-rapl:0`` is a zone, ``intel-rapl:0:1`` one inside it; what each is, its ``name`` says."""
    try:
        name = read_text(path / "name", 256)
        numbers = path.name[len(control_type) + 1 :].split(":")
        package_name = name
        if len(numbers) > 1:
            package_name = read_text(path.parent / f"{control_type}:{numbers[0]}" / "name", 256)
    except OSError:
        return None
    if name == "psys":
        return Domain("platform", 0, "rapl-powercap", "0")
    match = _PACKAGE.fullmatch(package_name)
    if not match:
        return None
    package, die = match.groups()
    zone = package if die is None else f"{package}-die-{die}"
    component: Component | None = "package" if len(numbers) == 1 else _INNER.get(name)
    return Domain(component, int(package), "rapl-powercap", zone) if component else None


def inspect_zones(fs: HostFS) -> list[ZoneFinding]:
    """Every zone there is, and whether it can be read."""
    findings = []
    for path, _ in find_zones(fs):
        reason = ""
        try:
            int(read_text(path / "energy_uj"))
        except OSError as error:
            reason = errno.errorcode.get(error.errno or 0, "EIO")
        except ValueError:
            reason = "not a number"
        findings.append(ZoneFinding(path, read_text(path / "name", 256), not reason, reason))
    return findings


class PowercapSource:
    """Energy of every zone (see :class:`EnergySource`). Files are held open and read with one ``pread`` each."""

    name = "rapl-powercap"

    def __init__(self, fs: HostFS, clock_ns: Callable[[], int] = boottime_ns, pread: Pread = os.pread) -> None:
        self.domains: tuple[Domain, ...] = ()
        self.joules = np.zeros(0)
        self.time_ns = np.zeros(0, np.int64)
        self.faults: Counter[str] = Counter()
        self._fs = fs
        self._clock_ns = clock_ns
        self._pread = pread
        self._zones: list[_Zone] = []
        self._looked_ns = clock_ns()
        self._discover()

    def read(self) -> None:
        """Read every zone; one that cannot be read keeps its value until it can."""
        gone = False
        for position, zone in enumerate(self._zones):
            try:
                if zone.fd < 0:
                    raise OSError(errno.ENODEV, "the zone is gone, or cannot be opened")
                value = int(self._pread(zone.fd, 32, 0))
            except OSError as error:
                self._fault(zone, errno.errorcode.get(error.errno or 0, "EIO"))
                gone = gone or error.errno in (errno.ENODEV, errno.ENOENT, errno.EBADF)
                continue
            except ValueError:
                self._fault(zone, "not a number")
                continue
            now = self._clock_ns()
            if zone.counter is None:
                zone.counter = WrappingCounter(zone.span, _MICROJOULE, value, now)
                reason = ""
            else:
                joules, reason = zone.counter.advance(value, now)
                self.joules[position] += joules
            self.time_ns[position] = now
            if reason:
                self._fault(zone, reason)
            elif zone.failing:
                log.info("%s can be read again", zone.path)
                zone.failing = ""
        if gone or self._clock_ns() - self._looked_ns > _REDISCOVER_SECONDS * 1e9:
            self._discover()

    def close(self) -> None:
        for zone in self._zones:
            if zone.fd >= 0:
                os.close(zone.fd)
                zone.fd = -1

    def _fault(self, zone: _Zone, reason: str) -> None:
        self.faults[reason] += 1
        if zone.failing != reason:
            log.warning("energy of %s is not known for now: %s", zone.path, reason)
            zone.failing = reason

    def _discover(self) -> None:
        """Take up zones that have appeared, and those that have come back."""
        self._looked_ns = self._clock_ns()
        known = {zone.domain: zone for zone in self._zones}
        for path, domain in find_zones(self._fs):
            zone = known.get(domain)
            if zone is not None and zone.fd >= 0 and _same_file(zone.fd, path / "energy_uj"):
                continue
            try:
                span = int(read_text(path / "max_energy_range_uj")) + 1
                fd = os.open(path / "energy_uj", os.O_RDONLY | os.O_CLOEXEC)
            except (OSError, ValueError) as error:
                reason = errno.errorcode.get(getattr(error, "errno", 0) or 0, "not a number")
                if zone is None:
                    self._add(_Zone(path, domain, -1, None, 1))
                    zone = known[domain] = self._zones[-1]
                    self._fault(zone, reason)
                continue
            if zone is None:
                self._add(_Zone(path, domain, fd, None, span))
            else:
                if zone.fd >= 0:
                    os.close(zone.fd)
                zone.fd, zone.span, zone.counter = fd, span, None

    def _add(self, zone: _Zone) -> None:
        self._zones.append(zone)
        self.domains += (zone.domain,)
        self.joules = np.append(self.joules, 0.0)
        self.time_ns = np.append(self.time_ns, np.int64(0))


def _same_file(fd: int, path: Path) -> bool:
    try:
        return os.fstat(fd).st_ino == os.stat(path).st_ino
    except OSError:
        return False
