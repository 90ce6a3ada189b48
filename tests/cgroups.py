"""The machine's cgroups, as tests make them."""

from __future__ import annotations

from pathlib import Path

from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.hierarchy import Hierarchy, hierarchies
from tests.needs import require


def find_hierarchy(fs: HostFS) -> Hierarchy | None:
    """The first of all, None where there is none."""
    return next(iter(hierarchies(fs)), None)


def cgroup_root() -> Path:
    """Where the hierarchy is mounted that tells containers apart here: v2's."""
    hierarchy = find_hierarchy(HostFS())
    require(hierarchy is not None and not hierarchy.controller, "needs a cgroup2 file system")
    assert hierarchy is not None
    return hierarchy.root


def only_v1(folder: Path) -> HostFS:
    """The machine as if it had no v2: links to its hierarchies of v1."""
    folder.mkdir()
    for controller in ("memory", "cpuacct"):
        place = Path("/sys/fs/cgroup") / controller
        require((place / "cgroup.procs").exists(), f"needs the {controller} controller on cgroup v1")
        (folder / controller).symlink_to(place)
    return HostFS(cgroup=folder)
