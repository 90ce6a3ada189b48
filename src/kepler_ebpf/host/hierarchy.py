"""Which hierarchy of cgroups tells containers apart on this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .fs import HostFS, read_text

# Runtimes put a container into all of them; memory comes first, as its files are read too.
_V1_CONTROLLERS = ("memory", "cpuacct", "cpu", "pids", "devices")


@dataclass(frozen=True)
class Hierarchy:
    """``root``: where it is mounted. ``number``: its id in /proc/PID/cgroup, 0 for v2.

    ``controller``: a controller of the v1 hierarchy; empty for v2.
    """

    root: Path
    number: int = 0
    controller: str = ""


def hierarchies(fs: HostFS) -> list[Hierarchy]:
    """All that could tell containers apart: v2 first, alone or beside v1 (hybrid), then those of v1.

    They are looked for below ``fs.cgroup``. Where the user has not said where that is, and there is none, they are
    looked for where the mount table of process 1 has them.
    """
    found = _below(fs, fs.cgroup)
    if not found and fs.cgroup == HostFS().cgroup:
        for place in mounted(fs):
            found += [one for one in _below(fs, place) if one.root not in {known.root for known in found}]
    return found


def find_hierarchy(fs: HostFS) -> Hierarchy | None:
    """The first of all, None where there is none. :func:`..workloads.hierarchies.choose` looks at processes first."""
    return next(iter(hierarchies(fs)), None)


def _below(fs: HostFS, root: Path) -> list[Hierarchy]:
    """Hierarchies at this folder, or one below it."""
    found = []
    for place in (root, root / "unified"):
        # A file of every cgroup2 directory and of no v1 hierarchy.
        if (place / "cgroup.controllers").exists():
            found.append(Hierarchy(place))
            break
    numbers = _v1_numbers(fs)
    for controller in filter(numbers.__contains__, _V1_CONTROLLERS):
        number, together = numbers[controller]
        if number in {one.number for one in found}:
            continue  # cpu and cpuacct are one hierarchy
        for place in (root / controller, root / together, root):  # cpuacct is at cpuacct, or at cpu,cpuacct
            is_v1 = (place / "cgroup.procs").exists() and not (place / "cgroup.controllers").exists()
            if is_v1 and (place.name in (controller, together) or controller in _mounted_with(fs, place)):
                found.append(Hierarchy(place, number, controller))
                break
    return found


def mounted(fs: HostFS) -> list[Path]:
    """Folders that cgroup file systems are mounted on, as process 1 sees them (proc_pid_mountinfo(5))."""
    return list(dict.fromkeys(place for place, _ in _mounts(fs)))


def _mounts(fs: HostFS) -> list[tuple[Path, str]]:
    """Mount points that exist for us too, and their options."""
    for process in ("1", "self"):
        try:
            lines = read_text(fs.proc / process / "mountinfo", 1 << 20).splitlines()
        except OSError:
            continue
        found = []
        for line in lines:
            mount, _, source = line.partition(" - ")
            kind, *options = source.split(" ")
            fields = mount.split(" ")
            if kind in ("cgroup", "cgroup2") and len(fields) > 4:
                place = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
                found.append((place, options[-1] if options else ""))
        if found:
            return found
    return []


def _mounted_with(fs: HostFS, place: Path) -> tuple[str, ...]:
    return next((tuple(options.split(",")) for at, options in _mounts(fs) if at == place), ())


def _v1_numbers(fs: HostFS) -> dict[str, tuple[int, str]]:
    """By controller: its hierarchy's number, and the names of all controllers there (cgroups(7))."""
    found = {}
    try:
        lines = read_text(fs.proc / "1/cgroup").splitlines()
    except OSError:
        return {}
    for line in lines:
        number, _, rest = line.partition(":")
        controllers = rest.partition(":")[0]
        if number.isdigit() and number != "0":
            found.update({name: (int(number), controllers) for name in controllers.split(",")})
    return found


def path_in(cgroups: str, hierarchy: Hierarchy) -> str | None:
    """The path in this hierarchy by the text of a ``/proc/PID/cgroup``; None where it has none there."""
    for line in cgroups.splitlines():
        number, _, rest = line.partition(":")
        if number == str(hierarchy.number):
            return rest.partition(":")[2]
    return None
