"""Which hierarchy of cgroups tells containers apart on this machine."""

from __future__ import annotations

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


def find_hierarchy(fs: HostFS) -> Hierarchy | None:
    """v2 where it is mounted, alone or beside v1 (hybrid); otherwise a hierarchy of v1; None where there is neither."""
    for root in (fs.cgroup, fs.cgroup / "unified"):
        # A file of every cgroup2 directory and of no v1 hierarchy.
        if (root / "cgroup.controllers").exists():
            return Hierarchy(root)
    numbers = _v1_numbers(fs)
    for controller in filter(numbers.__contains__, _V1_CONTROLLERS):
        number, together = numbers[controller]
        for name in (controller, together):  # cpuacct is at cpuacct, or at cpu,cpuacct
            if (fs.cgroup / name / "cgroup.procs").exists():
                return Hierarchy(fs.cgroup / name, number, controller)
    return None


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
