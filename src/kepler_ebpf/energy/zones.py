"""What zones the powercap tree has, and what each measures.

A zone is known by its ``name`` file, never by its number: ``package-0``, ``package-0-die-1``, ``core``, ``uncore``,
``dram``, ``psys``. Zones below a package belong to it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..columns import Component
from ..host.fs import HostFS, read_text
from ..host.processor import read_processor
from .figures import reason_of
from .places import Places
from .source import ALL_PACKAGES, Domain

SOURCE = "rapl-powercap"
_PACKAGE = re.compile(r"package-(\d+)(?:-die-(\d+))?")
_PSYS = re.compile(r"psys(?:-(\d+))?")
_INNER: dict[str, Component] = {"core": "core", "uncore": "uncore", "dram": "dram"}
# The same counters seen through other interfaces: taken only where the first has none of that name.
_CONTROL_TYPES = ("intel-rapl", "intel-rapl-tpmi", "intel-rapl-mmio")
ONE_COUNTER_A_SOCKET = ("AMD", "Hygon")
# Docker and containerd mask /sys/devices/virtual/powercap, and Docker's AppArmor profile denies it: by path.
OF_NO_NAME = (
    "container runtimes hide them: run privileged, or mount the host's /sys at another place and point --sysfs there"
)


@dataclass(frozen=True)
class ZoneFolder:
    """A folder of the tree, its ``name`` file, and what it measures as far as the tree tells now.

    ``key``: its name, and that of the zone it is in: what it is, whatever number or neighbours it has.
    """

    path: Path
    name: str
    domain: Domain
    key: tuple[str, str]


@dataclass(frozen=True)
class ZoneFinding:
    """A zone as ``kepler-ebpf doctor`` shows it."""

    path: Path
    name: str
    readable: bool
    reason: str


@dataclass(frozen=True)
class _Named:
    """A zone by its names: its own, and that of the zone that it is in."""

    path: Path
    name: str
    outer: str

    @property
    def key(self) -> tuple[str, str]:
        return self.outer, self.name


def one_counter_a_socket(fs: HostFS) -> bool:
    """Whether this vendor's dies all show their socket's counter.

    To be asked once: to read /proc/cpuinfo takes a while on many CPUs, and the vendor stays the same.
    """
    return read_processor(fs).vendor in ONE_COUNTER_A_SOCKET


@dataclass(frozen=True)
class Found:
    """``zones``: each is a domain of its own. ``left_out``: keys of those that are not, and ``notes`` why.

    ``of_no_name``: by the reason why names of zones cannot be read, what is to be said of these zones.
    """

    zones: tuple[ZoneFolder, ...]
    left_out: frozenset[tuple[str, str]]
    notes: tuple[str, ...]
    of_no_name: Mapping[str, str]


def find_zones(fs: HostFS, places: Places, by_socket: bool) -> Found:
    """What is in the tree. ``by_socket``: :func:`one_counter_a_socket`."""
    notes: list[str] = []
    no_names: Counter[str] = Counter()
    named = _one_of_each(fs, notes, no_names)
    packages = {int(match[1]) for zone in named.values() if (match := _PACKAGE.fullmatch(zone.outer))}
    dies = _dies(named.values()) if by_socket else {}
    zones: dict[Domain, ZoneFolder] = {}
    left_out = set()
    for zone in named.values():
        domain = _domain(zone, packages, places)
        if domain is None:
            reason = "not known what it measures"
        elif domain in zones:
            reason = f"the same as {zones[domain].path}"
        else:
            reason = _left_out_on_amd(zone, dies) if by_socket else ""
        if reason:
            left_out.add(zone.key)
            notes.append(f"{zone.path} ({zone.name}): {reason}: left out")
        elif domain is not None:
            zones[domain] = ZoneFolder(zone.path, zone.name, domain, zone.key)
    of_no_name = {
        reason: f"{number} RAPL zone{'s' * (number > 1)} below {fs.sys}/class/powercap: name cannot be read ({reason})"
        for reason, number in no_names.items()
    }
    return Found(tuple(zones.values()), frozenset(left_out), tuple(notes), of_no_name)


def _one_of_each(fs: HostFS, notes: list[str], no_names: Counter[str]) -> dict[tuple[str, str], _Named]:
    """The zones by key. Of several with one key the first that can be read: they show the same counter."""
    named: dict[tuple[str, str], _Named] = {}
    for control_type in _CONTROL_TYPES:
        for path in sorted((fs.sys / "class/powercap").glob(f"{control_type}:*")):
            try:
                zone = _names(path)
            except (OSError, ValueError) as error:
                if os.path.lexists(path):  # else it has just gone
                    no_names["malformed" if isinstance(error, ValueError) else reason_of(error)] += 1
                continue
            first = named.setdefault(zone.key, zone)
            if first is zone:
                continue
            if unreadable(first.path) and not unreadable(path):
                named[zone.key], zone, first = zone, first, zone
            notes.append(f"{zone.path} ({zone.name}): the same as {first.path}: left out")
    return named


def unreadable(path: Path) -> str:
    """Why a zone's counter cannot be read now; empty where it can."""
    try:
        int(read_text(path / "energy_uj"))
    except (OSError, ValueError) as error:
        return reason_of(error)
    return ""


def _names(path: Path) -> _Named:
    """``intel-rapl:0`` is a zone, ``intel-rapl:0:1`` one inside it; what each is, its ``name`` says.

    Raises OSError, ValueError.
    """
    name = read_text(path / "name", 256)
    control_type, number, *inner = path.name.split(":")
    outer = read_text(path.parent / f"{control_type}:{number}" / "name", 256) if inner else name
    return _Named(path, name, outer)


def _dies(zones: Iterable[_Named]) -> dict[int, int]:
    """The die that stands for each socket: the first whose counter can be read."""
    dies: dict[int, list[tuple[bool, int]]] = {}
    for zone in zones:
        match = _PACKAGE.fullmatch(zone.name)
        if match:
            dies.setdefault(int(match[1]), []).append((bool(unreadable(zone.path)), int(match[2] or 0)))
    return {package: min(of_package)[1] for package, of_package in dies.items()}


def _left_out_on_amd(zone: _Named, dies: Mapping[int, int]) -> str:
    """AMD counts energy once a socket: every die shows it; its core counter is one core's, of the CPU that reads it.

    Dies are numbered through the whole machine (CPUID 8000001Eh, NodeId): the second socket's need not begin with 0.
    """
    match = _PACKAGE.fullmatch(zone.outer)
    if match and int(match[2] or 0) != dies.get(int(match[1]), 0):
        return "a die of this vendor shows its socket's counter once more"
    if zone.name == "core":
        return "a counter of one core, that of the CPU which the driver reads on"
    return ""


def _domain(zone: _Named, packages: Collection[int], places: Places) -> Domain | None:
    psys = _PSYS.fullmatch(zone.name)
    if psys:  # psys-1 is the second socket's
        return Domain("platform", ALL_PACKAGES, SOURCE, psys[1] or "0")
    match = _PACKAGE.fullmatch(zone.outer)
    component: Component | None = "package" if zone.name == zone.outer else _INNER.get(zone.name)
    if not match or component is None:
        return None
    rank = places.rank(int(match[1]), packages, SOURCE)
    package = places.label(int(match[1]), rank)
    return Domain(component, rank, SOURCE, package if match[2] is None else f"{package}-die-{match[2]}")
