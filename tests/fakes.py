"""A kernel side and a meter without a kernel: they behave (rows are taken and given back, counters grow), in memory."""

from __future__ import annotations

import ctypes
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from kepler_ebpf.attribution.sampler import Sampler, SamplerOptions
from kepler_ebpf.attribution.vms import VirtualMachines
from kepler_ebpf.attribution.workload_rows import WorkloadTable
from kepler_ebpf.energy.meter import Meter
from kepler_ebpf.energy.source import Domain, EnergySource
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.topology import Topology
from kepler_ebpf.kernel import layout
from kepler_ebpf.kernel.launch import Loaded
from kepler_ebpf.kernel.source import CgroupEvent, KernelTables
from kepler_ebpf.kernel.table import Slices, Table
from kepler_ebpf.workloads.source import Workloads
from kepler_ebpf.workloads.workload import Workload


class FreeRows:
    """A stack of free rows as the kernel keeps it."""

    def __init__(self) -> None:
        self.value = ctypes.create_string_buffer(4)
        self.rows: list[int] = []

    def update(self) -> None:
        self.rows.append(struct.unpack_from("=I", self.value)[0])


class FakeTables:
    """Stands in for ``BpfTables``: tests play the kernel's part with :meth:`run` and :meth:`kill`."""

    def __init__(self, packages: int = 1, rows: int = 512, cgroup_rows: int = 64, cycles: bool = False) -> None:
        cpus = 2 * packages
        self.topology = Topology(
            tuple(cpu // 2 for cpu in range(cpus)), tuple(range(packages)), tuple(range(cpus)), tuple(range(cpus))
        )
        self.cycles, self.misses = cycles, False
        self._free, self._free_cgroups = FreeRows(), FreeRows()
        self.processes = Table(np.zeros(rows, layout.ROW), "tgid", packages, self._free)  # type: ignore[arg-type]
        self.cgroups = Table(
            np.zeros(cgroup_rows, layout.CGROUP),
            "taken",
            2 * packages,
            self._free_cgroups,  # type: ignore[arg-type]
        )
        self.processes.fill_free()
        self.cgroups.fill_free()
        self.processes.rows["package"][:packages] = range(packages)
        self._row_of: dict[tuple[int, int], int] = {}
        self._cgroup_of: dict[tuple[int, int], int] = {}
        self._dead: list[int] = []
        self._busy = np.zeros(packages)
        self.events: list[CgroupEvent] = []
        self.loaded = Loaded({}, {}, {}, 0.0, 0, True)
        self.row_overflow_slices = self.cgroup_overflow_slices = 0

    def run(self, tgid: int, cgroup: int, package: int, alone_ns: int, shared_ns: int = 0, cycles: int = 0) -> None:
        """One slice, booked as the BPF programs would."""
        key = (tgid, package)
        if key not in self._row_of:
            self._row_of[key] = self._free.rows.pop() if self._free.rows else package
            row = self.processes.rows[self._row_of[key]]
            if self._row_of[key] >= self.topology.packages:
                row["tgid"], row["package"], row["start_ns"], row["comm"] = tgid, package, 1, f"p{tgid}".encode()
        place = (cgroup, package)
        if place not in self._cgroup_of:
            self._cgroup_of[place] = self._free_cgroups.rows.pop() if self._free_cgroups.rows else package
            row = self.cgroups.rows[self._cgroup_of[place]]
            if self._cgroup_of[place] >= 2 * self.topology.packages:
                row["id"], row["package"], row["taken"] = cgroup, package, 1
        for row in (self.processes.rows[self._row_of[key]], self.cgroups.rows[self._cgroup_of[place]]):
            row["alone_ns"] += np.uint64(alone_ns)
            row["shared_ns"] += np.uint64(shared_ns)
            row["cycles"] += np.uint64(cycles)
        self.processes.rows["cgroup_row"][self._row_of[key]] = self._cgroup_of[place]
        self._busy[package] += (alone_ns + shared_ns) * 1e-9

    def kill(self, tgid: int) -> None:
        """The process ends."""
        for key in [key for key in self._row_of if key[0] == tgid]:
            index = self._row_of.pop(key)
            if index >= self.topology.packages:
                self.processes.rows["dead"][index] = 1
                self._dead.append(index)

    def close_slices(self) -> None:
        pass

    def sweep(self, everyone: bool = False) -> None:
        pass

    def sample(self) -> tuple[Slices, Slices]:
        return self.processes.sample(), self.cgroups.sample()

    def busy_seconds(self) -> np.ndarray:
        return self._busy.copy()

    def dead(self) -> np.ndarray:
        dead, self._dead = np.array(self._dead, np.intp), []
        return dead

    def cgroup_events(self) -> Iterator[CgroupEvent]:
        events, self.events = self.events, []
        return iter(events)

    def retire_cgroup(self, index: int) -> None:
        self._cgroup_of = {key: row for key, row in self._cgroup_of.items() if row != index}

    def row_of_process(self, tgid: int) -> int | None:
        return next((row for (number, _), row in self._row_of.items() if number == tgid), None)

    def adopt_process(self, tgid: int) -> int | None:
        return None


@dataclass
class FakeSource:
    """A meter whose joules the test hands out; :meth:`fail` makes a domain's next reading fail."""

    domains: tuple[Domain, ...]
    name: str = "fake"
    faults: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.joules = np.zeros(len(self.domains))
        self.time_ns = np.zeros(len(self.domains), np.int64)
        self.truth = np.zeros(len(self.domains))
        self.now_ns = 0
        self._failing: set[int] = set()

    @property
    def live(self) -> NDArray[np.bool_]:
        return self.time_ns > 0

    def use(self, joules: np.ndarray, seconds: float) -> None:
        self.truth += joules
        self.now_ns += round(seconds * 1e9)

    def fail(self, domain: int) -> None:
        self._failing.add(domain)

    def read(self) -> None:
        for domain in range(len(self.domains)):
            if domain in self._failing:
                self.faults["EIO"] += 1
            else:
                self.joules[domain] = self.truth[domain]
                self.time_ns[domain] = self.now_ns
        self._failing.clear()

    def close(self) -> None:
        pass


class FakeGpus(FakeSource):
    """GPUs whose users the test tells: ``users``, weights by process id, the same for every device."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.users: dict[int, float] = {}

    def shares(self, position: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        return np.array(list(self.users), np.int32), np.array(list(self.users.values()), np.float64)

    def load(self, position: int) -> float:
        return min(sum(self.users.values()), 1.0)


@dataclass
class FakeWorkloads:
    """Every cgroup is a container called after its id, unless ``known`` says otherwise; names as ``names`` has them.

    ``names``: by container id; None while the name is looked up.
    """

    known: dict[int, Workload | None] = field(default_factory=dict)
    names: dict[str, str | None] = field(default_factory=dict)
    faults: dict[tuple[str, str], int] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)

    def identify(self, cgroup_id: int) -> Workload | None:
        if cgroup_id in self.known:
            return self.known[cgroup_id]
        return Workload("container", f"c{cgroup_id}", cpu_request=cgroup_id)

    def current(self, workload: Workload) -> Workload | None:
        name = self.names.get(workload.container_id, workload.container)
        return None if name is None else replace(workload, container=name)

    def learn_path(self, cgroup_id: int, path: str) -> None:
        pass

    def working_set(self, workload: Workload) -> int | None:
        return 1

    def is_gone(self, cgroup_id: int) -> bool:
        return cgroup_id in self.gone

    def forget_cgroup(self, cgroup_id: int) -> None:
        pass

    def forget(self, workload: Workload) -> None:
        self.forgotten.append(workload.container_id)


def sampler_over(
    kernel: KernelTables,
    *sources: EnergySource,
    workloads: Workloads | None = None,
    policy: str = "none",
    fs: HostFS | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Sampler:
    """A sampler over these, floors as the sources' domains know them."""
    workloads = workloads or FakeWorkloads()
    table = WorkloadTable(kernel, workloads)
    vms = VirtualMachines(fs or HostFS(), kernel, table)
    return Sampler(kernel, Meter(sources), table, workloads, vms, SamplerOptions(idle_policy=policy), clock)
