"""Which package each CPU is on, and which hyperthread it shares a core with."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import KeplerError
from .fs import HostFS, read_text

_MOST_CPUS = 1 << 16
"""More than any kernel is built for (CONFIG_NR_CPUS)."""


def parse_cpu_list(text: str) -> list[int]:
    """``"0-2,8"`` → ``[0, 1, 2, 8]`` (the kernel's cpulist format). Raises ValueError."""
    cpus: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        start, end = int(first), int(last or first) + 1
        if not 0 <= start <= end <= _MOST_CPUS or len(cpus) + end - start > _MOST_CPUS:
            raise ValueError(f"no list of CPUs: {text[:80]!r}")
        cpus.extend(range(start, end))
    return cpus


@dataclass(frozen=True)
class Topology:
    """Indexed by CPU number, for every CPU the kernel may ever bring up.

    ``package``: rank of each CPU's package, 0 where a CPU has not been online yet. ``physical_ids``: the kernel's id of
    the package of each rank: nobody outside of this module needs them. ``sibling``: the other hyperthread of the core
    that is online, or the CPU itself. Cores with more than two threads are taken as pairs of neighbours: the overlap
    with the others is not seen.
    """

    package: tuple[int, ...]
    physical_ids: tuple[int, ...]
    sibling: tuple[int, ...]
    online: tuple[int, ...]

    @property
    def cpus(self) -> int:
        return len(self.package)

    @property
    def packages(self) -> int:
        """How many packages have been seen."""
        return len(self.physical_ids)

    @property
    def most_packages(self) -> int:
        """How many there can be once every possible CPU is online, if all packages are at least as large as those."""
        per_package = max(min(filter(None, self.cpus_per_package()), default=1), 1)
        return max(self.packages, -(-self.cpus // per_package))

    def cpus_per_package(self) -> list[int]:
        """How many online CPUs each package has."""
        counts = [0] * self.packages
        for cpu in self.online:
            counts[self.package[cpu]] += 1
        return counts

    def rank_of(self, physical_id: int) -> int | None:
        """The rank of the package with this id of the kernel's; None where no CPU of it has been seen."""
        try:
            return self.physical_ids.index(physical_id)
        except ValueError:
            return None


def online_cpus(fs: HostFS) -> list[int]:
    """Numbers of the CPUs that are online now. Raises KeplerError."""
    return _cpu_list(fs, "online")


def read_topology(fs: HostFS, before: Topology | None = None) -> Topology:
    """Read it from ``devices/system/cpu``. Raises KeplerError where sysfs lists no CPU.

    ``before``: what was read earlier. Packages keep their rank whatever goes and comes back, new ones get the next, and
    a CPU that is offline now is on the package it was on. Without it, ranks are in the order of the kernel's ids.
    """
    root = fs.sys / "devices/system/cpu"
    possible, online = _cpu_list(fs, "possible"), _cpu_list(fs, "online")
    size = max(*possible, *online, before.cpus - 1 if before else 0) + 1
    found: dict[int, int] = {}
    siblings: dict[int, int] = {}
    for cpu in online:
        topology = root / f"cpu{cpu}" / "topology"
        found[cpu] = _number(topology / "physical_package_id", 0)
        try:
            threads = parse_cpu_list(read_text(topology / "thread_siblings_list"))
        except (OSError, ValueError):
            threads = [cpu]
        position = threads.index(cpu) if cpu in threads else 0
        partner = position ^ 1
        siblings[cpu] = threads[partner] if partner < len(threads) and threads[partner] < size else cpu
    known = before.physical_ids if before else ()
    ids = (*known, *sorted(set(found.values()) - set(known)))
    earlier = before.package if before else ()
    return Topology(
        package=tuple(
            ids.index(found[cpu]) if cpu in found else earlier[cpu] if cpu < len(earlier) else 0 for cpu in range(size)
        ),
        physical_ids=ids,
        sibling=tuple(siblings.get(cpu, cpu) for cpu in range(size)),
        online=tuple(online),
    )


def packages_of_nodes(fs: HostFS, topology: Topology) -> dict[int, int]:
    """NUMA nodes with CPUs that are online, by number: the kernel's id of the package that the first of them is on."""
    found = {}
    for path in (fs.sys / "devices/system/node").glob("node*/cpulist"):
        try:
            node, cpus = int(path.parent.name[len("node") :]), parse_cpu_list(read_text(path))
        except (OSError, ValueError):
            continue
        online = sorted(set(cpus) & set(topology.online))
        if online:
            found[node] = topology.physical_ids[topology.package[online[0]]]
    return found


def _cpu_list(fs: HostFS, name: str) -> list[int]:
    path = fs.sys / "devices/system/cpu" / name
    try:
        cpus = parse_cpu_list(read_text(path))
    except (OSError, ValueError) as error:
        raise KeplerError(
            f"cannot read the list of CPUs below {path.parent}: {error}; is sysfs mounted there?"
        ) from error
    if not cpus:
        raise KeplerError(f"{path} lists no CPU")
    return cpus


def _number(path: object, default: int) -> int:
    try:
        # Virtual machines and some Arm boards say -1: one package.
        return max(int(read_text(str(path))), 0)
    except (OSError, ValueError):
        return default
