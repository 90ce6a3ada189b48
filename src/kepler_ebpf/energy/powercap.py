"""RAPL through the powercap tree: Intel, and AMD since Family 17h (Documentation/power/powercap/powercap.rst).

Zones are read, one ``pread`` each, and every reading is believed or not (``believe.py``). ``zones.py`` finds them.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Union

from ..host.fs import HostFS, read_text, same_file
from .believe import Believer
from .figures import reason_of
from .marks import Mark
from .mirrors import Shown, Unmirrored
from .places import Places
from .plausible import LIMIT_HEADROOM, PLAUSIBLE_WATTS
from .source import Domain, Taking
from .zones import OF_NO_NAME, SOURCE, ZoneFinding, ZoneFolder, find_zones, one_counter_a_socket, unreadable

log = logging.getLogger(__name__)

_MICROJOULE = 1e-6
_MOST_OUT_OF_RANGE = 3
_A_SLEEP_NS = 100_000_000
_GONE = (errno.ENODEV, errno.ENOENT, errno.EBADF)

Pread = Callable[[int, int, int], bytes]


def boottime_ns() -> int:
    """Time that goes on while the machine is suspended: a counter may have wrapped meanwhile."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def asleep_ns() -> int:
    """For how long the machine has been suspended since its boot."""
    return boottime_ns() - time.monotonic_ns()


@dataclass(eq=False)
class _Counter(Shown):
    """A zone that is read. ``refusal``: why it is not open (errno). ``raw``: the latest reading, and ``asleep_ns``: for
    how long the machine had been suspended by then. ``out_of_range``: how many readings in a row were beyond its range.
    ``replaced``: another zone stands for it now."""

    zone: ZoneFolder
    fd: int = -1
    refusal: int = 0
    raw: int | None = None
    asleep_ns: int = 0
    out_of_range: int = 0
    replaced: bool = False

    @property
    def path(self) -> Path:
        return self.zone.path


_Raw = tuple[_Counter, Union[bytes, OSError], int]
"""A reading of a counter: what was read, and when."""


class PowercapSource(Unmirrored):
    """Energy of every zone (see :class:`EnergySource`)."""

    name = SOURCE

    def __init__(
        self,
        fs: HostFS,
        places: Places | None = None,
        clock_ns: Callable[[], int] = boottime_ns,
        pread: Pread = os.pread,
        virtual: bool = False,
        asleep_ns: Callable[[], int] = asleep_ns,
    ) -> None:
        """``virtual``: this is a virtual machine, whose packages may all show the one counter of the host."""
        super().__init__(fs, places, clock_ns, virtual, by_growth=False)
        self._by_socket = one_counter_a_socket(fs)
        self._pread = pread
        self._asleep_ns = asleep_ns
        self._counters: dict[Domain, _Counter] = {}
        self._domains: dict[tuple[str, str], Domain] = {}  # what each zone was when it was met: it stays that
        self._no_names: set[str] = set()  # reasons why names cannot be read that were told
        self._discover_first()

    def look(self) -> Taking:
        """Read every zone; one that cannot be read keeps its figures until it can."""
        raw: list[_Raw] = []
        is_gone = False
        for counter in self._counters.values():
            if counter.replaced:
                continue
            if counter.refusal:
                raw.append((counter, OSError(counter.refusal, "not open"), 0))
                continue
            try:
                raw.append((counter, self._pread(counter.fd, 32, 0), self._clock_ns()))
            except OSError as error:
                raw.append((counter, error, 0))
                is_gone = is_gone or error.errno in _GONE
        return partial(self._take_all, raw, self._asleep_ns(), self._looked(is_gone))

    def _take_all(self, raw: Sequence[_Raw], asleep_ns: int, looked_ns: int) -> None:
        gone = False
        readings: dict[Shown, int] = {}
        for counter, text, now in raw:
            try:
                if isinstance(text, OSError):
                    raise text
                value = int(text)
            except (OSError, ValueError) as error:
                self.fault(str(counter.path), reason_of(error))
                if not counter.refusal and getattr(error, "errno", None) in _GONE:
                    gone = True
                    self._close(counter, errno.ENODEV)
                continue
            if counter.raw is not None and value < counter.raw:
                counter.believer.span = _span(counter.path)  # it fell: at its range, or the range was never right
                if asleep_ns - counter.asleep_ns > _A_SLEEP_NS:  # or as it begins anew: nobody knows what was used
                    counter.believer.restart()
                    self.fault(str(counter.path), "reset")
            counter.raw = readings[counter] = value
            counter.asleep_ns = asleep_ns
            verdict = counter.believer.read(value, now)
            counter.out_of_range = counter.out_of_range + 1 if verdict.fault == "range" else 0
            if counter.out_of_range:
                # For the next reading: the range may be another by now, or the file never tells the right one.
                counter.believer.span = _span(counter.path) if counter.out_of_range < _MOST_OUT_OF_RANGE else 0
            self._take(counter, verdict, now)
        self._look_for_mirrors(readings, looked_ns)
        self.end_reading(looked_ns)
        missing = any(counter.refusal in _GONE for counter in self._counters.values())
        self._discover_again(looked_ns, at_once=gone, soon=missing)

    @property
    def longest_seconds(self) -> float:
        """For how long the zones may be left unread: after that one may have wrapped unseen."""
        believers = [counter.believer for counter in self._counters.values() if counter.believer.span]
        return min((one.span * _MICROJOULE / one.most_watts for one in believers), default=math.inf)

    def marks(self) -> dict[Domain, Mark]:
        """Where the counters stand: they run from boot to boot."""
        found = {}
        for counter in self._counters.values():
            one, believed = counter.believer, counter.believer.believed
            if counter.position is not None and believed is not None:
                found[self.domains[counter.position]] = Mark(*believed, one.span, _MICROJOULE, one.most_watts)
        return found

    def close(self) -> None:
        for counter in self._counters.values():
            self._close(counter)

    @staticmethod
    def _close(counter: _Counter, refusal: int = 0) -> None:
        if counter.fd >= 0:
            with contextlib.suppress(OSError):
                os.close(counter.fd)
        counter.fd, counter.refusal = -1, refusal

    def _discover(self) -> None:
        """Take up zones that have appeared, and those that have come back; let go of those that others stand for."""
        found = find_zones(self._fs, self._places, self._by_socket)
        for note in found.notes:
            self.note(note)
        for reason in found.of_no_name.keys() - self._no_names:  # asked for again and again, and counted once
            self._no_names.add(reason)
            self.faults[reason] += 1
            log.warning("%s: %s", found.of_no_name[reason], OF_NO_NAME)
        alike = Counter(zone.domain.component for zone in found.zones)
        for key in found.left_out & self._domains.keys():
            replaced = self._counters[self._domains[key]]
            replaced.replaced = True
            self._close(replaced)
        for one in found.zones:
            zone = replace(one, domain=self._domains.get(one.key, one.domain))
            component = zone.domain.component
            counter = self._counters.get(zone.domain)
            if counter is not None and counter.zone.key != zone.key:
                self.note(f"{zone.path} ({zone.name}): {component} {zone.domain.label} is {counter.path}'s: left out")
                continue
            if counter is not None and counter.fd >= 0 and same_file(counter.fd, zone.path / "energy_uj"):
                continue
            if counter is None:
                believer = Believer(0, _MICROJOULE, PLAUSIBLE_WATTS[component], stands_still=component != "package")
                counter = self._counters[zone.domain] = _Counter(zone.domain, str(zone.path), believer, zone)
                self._domains[zone.key] = zone.domain
                self._meet(counter, alike[component])
            self._open(counter, zone)

    def _open(self, counter: _Counter, zone: ZoneFolder) -> None:
        self._close(counter)
        try:
            counter.fd = os.open(zone.path / "energy_uj", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            counter.refusal = error.errno or errno.EIO  # each reading fails for that
            return
        believer = counter.believer
        believer.restart()  # what it counted while it was away, or before we met it, is not known to be ours
        believer.span = _span(zone.path)
        believer.most_watts = _most_watts(zone)
        counter.zone, counter.what = zone, str(zone.path)
        counter.raw, counter.out_of_range, counter.replaced = None, 0, False


def inspect_zones(fs: HostFS, places: Places | None = None) -> tuple[list[ZoneFinding], tuple[str, ...], bool]:
    """Every zone that is a domain, and whether it can be read; what is to be said of those whose name cannot be; and
    whether there is any zone at all."""
    findings = []
    found = find_zones(fs, places or Places(), one_counter_a_socket(fs))
    for zone in found.zones:
        reason = unreadable(zone.path)
        findings.append(ZoneFinding(zone.path, zone.name, not reason, reason))
    return findings, tuple(found.of_no_name.values()), bool(found.zones or found.of_no_name or found.left_out)


def _span(path: Path) -> int:
    """Values from 0 to the range, inclusive; 0 where the file does not say."""
    try:
        most = int(read_text(path / "max_energy_range_uj"))
    except (OSError, ValueError):
        return 0
    return most + 1 if most > 0 else 0


def _most_watts(zone: ZoneFolder) -> float:
    """More than the zone can draw, by the highest limit it has or can be set to (``constraint_*_power_limit_uw``,
    ``…_max_power_uw``): of a desktop's the thermal design power is less than half of what its short-term limit allows.

    A limit that is too low to be one is none; where one is set out of reach, as boards do that mean none, nothing is
    known, and the default of its kind stands.
    """
    default, limits = PLAUSIBLE_WATTS[zone.domain.component], []
    for file in (*zone.path.glob("constraint_*_max_power_uw"), *zone.path.glob("constraint_*_power_limit_uw")):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(read_text(file)) * 1e-6)
    most = max(limits, default=0.0)
    return max(most * LIMIT_HEADROOM, most + 50.0) if 1.0 <= most <= default / LIMIT_HEADROOM else default
