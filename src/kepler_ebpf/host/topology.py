"""Which package each CPU is on, and which hyperthread it shares a core with."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import KeplerError
from .fs import HostFS, read_text


def parse_cpu_list(text: str) -> list[int]:
    """``"0-2,8"`` → ``[0, 1, 2, 8]`` (the kernel's cpulist format). Raises ValueError."""
    cpus: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


@dataclass(frozen=True)
class Topology:
    """Indexed by CPU number, for every CPU the kernel may ever bring up.

    ``package``: dense index of each CPU's physical package; ``package_ids``: the kernel's id of each index.
    ``sibling``: the other hyperthread of the core, or the CPU itself. Cores with more than two threads are taken
    as pairs of neighbours: the overlap with the others is not seen.
    """

    package: tuple[int, ...]
    package_ids: tuple[int, ...]
    sibling: tuple[int, ...]
    online: tuple[int, ...]

    @property
    def cpus(self) -> int:
        return len(self.package)

    @property
    def packages(self) -> int:
        return len(self.package_ids)

    def cpus_per_package(self) -> list[int]:
        """How many online CPUs each package has."""
        return [sum(self.package[cpu] == p for cpu in self.online) for p in range(self.packages)]


def read_topology(fs: HostFS) -> Topology:
    """Read it from ``devices/system/cpu``. Raises KeplerError where sysfs lists no CPU."""
    root = fs.sys / "devices/system/cpu"
    try:
        possible = parse_cpu_list(read_text(root / "possible"))
        online = parse_cpu_list(read_text(root / "online"))
    except (OSError, ValueError) as error:
        raise KeplerError(f"cannot read the list of CPUs below {root}: {error}; is sysfs mounted there?") from error
    if not possible or not online:
        raise KeplerError(f"{root}/possible lists no CPU")
    ids: dict[int, int] = {}
    siblings: dict[int, int] = {}
    for cpu in online:
        topology = root / f"cpu{cpu}" / "topology"
        ids[cpu] = _number(topology / "physical_package_id", 0)
        try:
            threads = parse_cpu_list(read_text(topology / "thread_siblings_list"))
        except (OSError, ValueError):
            threads = [cpu]
        position = threads.index(cpu) if cpu in threads else 0
        partner = position ^ 1
        siblings[cpu] = threads[partner] if partner < len(threads) else cpu
    package_ids = tuple(sorted(set(ids.values())))
    size = max(*possible, *online, 0) + 1
    return Topology(
        package=tuple(package_ids.index(ids[cpu]) if cpu in ids else 0 for cpu in range(size)),
        package_ids=package_ids,
        sibling=tuple(siblings.get(cpu, cpu) for cpu in range(size)),
        online=tuple(online),
    )


def _number(path: object, default: int) -> int:
    try:
        # Virtual machines and some Arm boards say -1: one package.
        return max(int(read_text(str(path))), 0)
    except (OSError, ValueError):
        return default
