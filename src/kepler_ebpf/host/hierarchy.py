"""Hierarchies of cgroups on this machine: where they are mounted, and how ``/proc/PID/cgroup`` calls them.

Which of them tells containers apart is decided in ``workloads/hierarchies.py``, by looking at processes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from .fs import HostFS, read_lines, read_text

# Memory comes first, as its files are read too. All have a subsystem of this name in the kernel (cgroup_subsys.h).
_V1_CONTROLLERS = ("memory", "cpuacct", "cpu", "pids", "devices", "freezer", "cpuset")

_MAX_MOUNTINFO = 1 << 20
_MAX_PROCS = 1 << 22
_MAX_FOLDERS = 5000


@dataclass(frozen=True)
class Hierarchy:
    """``root``: where it is mounted. ``number``: its id in /proc/PID/cgroup, 0 for v2.

    ``controller``: a controller of the v1 hierarchy; empty for v2. ``memory``: where the memory controller of v1 is
    mounted, which has the same paths; None where there is none. ``above``: the path of our cgroup namespace in it, from
    which ``/proc/PID/cgroup`` counts (cgroup_namespaces(7)); empty where that counts from ``root``.
    """

    root: Path
    number: int = 0
    controller: str = ""
    memory: Path | None = field(default=None, compare=False)
    above: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{'v1' if self.controller else 'v2'} at {self.root}"


@dataclass(frozen=True)
class _Mount:
    """``part``: of the hierarchy only one cgroup is mounted there, with those below it."""

    place: Path
    options: tuple[str, ...]
    part: bool


def hierarchies(fs: HostFS) -> list[Hierarchy]:
    """All that are mounted, each with the place of our cgroup namespace, which may take a walk through its folders."""
    return [replace(one, above=_namespace(fs, one)) for one in mounted(fs)]


def mounted(fs: HostFS) -> list[Hierarchy]:
    """All that could tell containers apart: v2 first, alone or beside v1 (hybrid), then those of v1.

    They are looked for below ``fs.cgroup``, and where that has none, wherever they are mounted (``fs.anywhere``).
    """
    mounts = _mounts(fs)
    found = _below(fs, fs.cgroup, mounts)
    if not found and fs.anywhere and _sees_mounts(fs):
        for mount in mounts:
            known = {one.number for one in found}
            found += [one for one in _below(fs, mount.place, mounts) if one.number not in known]
        found.sort(key=lambda one: _V1_CONTROLLERS.index(one.controller) if one.controller else -1)
    memory = next((one.root for one in found if one.controller == "memory"), None)
    return [replace(one, memory=memory) for one in found]


def folders_to_name(fs: HostFS) -> list[Path]:
    """What ``--cgroupfs`` could be set to, by the mount table of process 1, v2's place first."""
    places = [mount.place for mount in _mounts(fs)]
    controllers = {*_V1_CONTROLLERS, "unified", "systemd", "blkio", "cpu,cpuacct", "cpuacct,cpu"}
    folders = [place.parent if place.name in controllers else place for place in places]
    return list(dict.fromkeys(folders))


def path_in(cgroups: str, hierarchy: Hierarchy) -> str | None:
    """The path in this hierarchy by the text of a ``/proc/PID/cgroup``; None where it has none there."""
    for line in cgroups.split("\n"):  # alone "\n" is in no name of a cgroup (cgroup_mkdir in kernel/cgroup/cgroup.c)
        number, _, rest = line.partition(":")
        if number == str(hierarchy.number):
            path = rest.partition(":")[2]
            return os.path.normpath(f"{hierarchy.above}{path}") if hierarchy.above else path
    return None


def folders(root: Path) -> Iterator[str]:
    """Paths of the cgroups below a root, it first, those near it before others: at most 5,000."""
    queue = [""]
    for relative in queue:
        yield relative or "/"
        try:
            with os.scandir(f"{root}{relative}") as entries:
                below = [f"{relative}/{entry.name}" for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        queue.extend(below[: max(0, _MAX_FOLDERS - len(queue))])


def _namespace(fs: HostFS, hierarchy: Hierarchy) -> str:
    """The path of our cgroup namespace: that of the cgroup we are in, without what we see of it ourselves."""
    try:
        ours = path_in(read_text(fs.proc / "self/cgroup"), hierarchy)
    except OSError:
        return ""
    if ours is None or _has_us(hierarchy.root, ours):
        return ""
    seen = ours.rstrip("/")
    found = (path for path in folders(hierarchy.root) if path.endswith(seen) and _has_us(hierarchy.root, path))
    return next((path[: len(path) - len(seen)] for path in found), "")


def _has_us(root: Path, path: str) -> bool:
    try:
        return str(os.getpid()) in read_lines(f"{root}{path}/cgroup.procs", _MAX_PROCS)
    except OSError:
        return False


def _below(fs: HostFS, root: Path, mounts: list[_Mount]) -> list[Hierarchy]:
    """Hierarchies at this folder, or one below it."""
    found = []
    for place in (root, root / "unified"):
        if _is_v2(place):
            found.append(Hierarchy(place))
            break
    numbers = _v1_numbers(fs)
    for controller in filter(numbers.__contains__, _V1_CONTROLLERS):
        number, together = numbers[controller]
        if number in {one.number for one in found}:
            continue  # cpu and cpuacct are one hierarchy
        # A hierarchy can be mounted at a folder called after its controllers (cpuacct, or cpu,cpuacct) or after one of
        # them, or anywhere with the controller among its options.
        named = [root / controller, root / together]
        mounted = [one.place for one in mounts if controller in one.options and root in (one.place, one.place.parent)]
        if root.name in (controller, together):
            named.append(root)
        found += [Hierarchy(place, number, controller) for place in (*named, *mounted) if _is_v1(place)][:1]
    return found


def _is_v2(place: Path) -> bool:
    # A file of every cgroup2 directory and of no v1 hierarchy.
    return _exists(place / "cgroup.controllers")


def _is_v1(place: Path) -> bool:
    return _exists(place / "cgroup.procs") and not _is_v2(place)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder that may not be searched
        return False


def _mounts(fs: HostFS) -> list[_Mount]:
    """Cgroup file systems that are mounted for process 1, or else for us (proc_pid_mountinfo(5)).

    v2's come first; of each kind those of a whole hierarchy: a part, bound to some other place, lacks most containers.
    """
    for process in ("1", "self"):
        try:
            lines = read_lines(fs.proc / process / "mountinfo", _MAX_MOUNTINFO)
        except OSError:
            continue
        found: dict[str, list[_Mount]] = {"cgroup2": [], "cgroup": []}
        for line in lines:
            mount, _, source = line.partition(" - ")
            fields, (kind, *options) = mount.split(" "), source.split(" ")
            if kind in found and len(fields) > 4:
                place = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
                # Roots are told from our cgroup namespace: "/../.." is above it, not a part (cgroup_namespaces(7)).
                part = not set(fields[3].split("/")) <= {"", ".."}
                found[kind].append(_Mount(Path(place), tuple(options[-1].split(",")) if options else (), part))
        if found["cgroup2"] or found["cgroup"]:
            return [mount for kind in found for mount in sorted(found[kind], key=lambda one: one.part)]
    return []


def _sees_mounts(fs: HostFS) -> bool:
    """Whether process 1's mounts are ours: in a container the same path is another file system."""
    try:
        return os.readlink(fs.proc / "1/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    except FileNotFoundError:
        return True  # a folder that stands in for /proc has no namespaces
    except OSError:
        return False


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
