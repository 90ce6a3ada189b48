"""A kernel side and a meter without a kernel: they behave (rows are taken and given back, counters grow), in memory."""

from __future__ import annotations

import ctypes
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kepler_ebpf.attribution.sampler import Sampler, SamplerOptions
from kepler_ebpf.attribution.vms import VirtualMachines
from kepler_ebpf.attribution.workload_rows import WorkloadTable
from kepler_ebpf.energy.meter import Meter
from kepler_ebpf.energy.source import Counted, Domain, EnergySource, Taking
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.topology import Topology
from kepler_ebpf.kernel import layout
from kepler_ebpf.kernel.launch import Loaded
from kepler_ebpf.kernel.source import KERNEL_CGROUP_ROW, OVERFLOW_ROW, CgroupEvent, KernelTables
from kepler_ebpf.kernel.table import Slices, Table, counted_columns
from kepler_ebpf.workloads.source import Workloads
from kepler_ebpf.workloads.workload import SYSTEM, Workload


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
        self.packages = packages
        self.cycles, self.misses, self.instructions = cycles, False, False
        self._free, self._free_cgroups = FreeRows(), FreeRows()
        self.processes = _table(layout.PROCESS, rows, packages, "tgid", OVERFLOW_ROW + 1, self._free, cycles)
        self.cgroups = _table(
            layout.CGROUP, cgroup_rows, packages, "taken", KERNEL_CGROUP_ROW + 1, self._free_cgroups, cycles
        )
        self._row_of: dict[int, int] = {}
        self._cgroup_of: dict[int, int] = {}
        self._dead: list[int] = []
        self.busy_seconds = [0.0] * packages
        self.clock_ns: Callable[[], int] = time.monotonic_ns
        self.events: list[CgroupEvent] = []
        self.loaded = Loaded({}, {}, {}, 0.0, 0, True)
        self.row_overflow_slices = self.cgroup_overflow_slices = 0

    def run(self, tgid: int, cgroup: int, package: int, alone_ns: int, shared_ns: int = 0, cycles: int = 0) -> None:
        """One slice, booked as the BPF programs would."""
        process, place = self._process(tgid), self._cgroup(cgroup)
        for table, row in ((self.processes, process), (self.cgroups, place)):
            use = table.uses[row * self.packages + package]
            use["alone_ns"] += np.uint64(alone_ns)
            use["shared_ns"] += np.uint64(shared_ns)
            use["cycles"] += np.uint64(cycles)
        if process != OVERFLOW_ROW:
            self.processes.rows["cgroup_row"][process] = place
            self.processes.rows["cgroup_id"][process] = cgroup
        self.busy_seconds = self.busy_seconds.copy()  # who has the list from before keeps it
        self.busy_seconds[package] += (alone_ns + shared_ns) * 1e-9

    def _process(self, tgid: int) -> int:
        if tgid not in self._row_of:
            if not self._free.rows:
                return OVERFLOW_ROW
            index = self._row_of[tgid] = self._free.rows.pop()
            row = self.processes.rows[index]
            row["tgid"], row["start_ns"], row["comm"] = tgid, 1, f"p{tgid}".encode()
        return self._row_of[tgid]

    def _cgroup(self, cgroup: int) -> int:
        if cgroup not in self._cgroup_of:
            if not self._free_cgroups.rows:
                return OVERFLOW_ROW
            index = self._cgroup_of[cgroup] = self._free_cgroups.rows.pop()
            row = self.cgroups.rows[index]
            row["id"], row["taken"] = cgroup, 1
        return self._cgroup_of[cgroup]

    def kill(self, tgid: int) -> None:
        """The process ends."""
        index = self._row_of.pop(tgid, None)
        if index is not None:
            self.processes.rows["dead"][index] = 1
            self._dead.append(index)

    @property
    def sampled_ns(self) -> int:
        return self.clock_ns()

    def follow_topology(self) -> bool:
        return False

    def cpus_per_package(self) -> Sequence[int]:
        return self.topology.cpus_per_package()

    def sweep(self) -> None:
        pass

    def look(self) -> None:
        self.processes.look()
        self.cgroups.look()

    def keep(self, looks: int) -> None:
        self.processes.keep(looks)
        self.cgroups.keep(looks)

    def tell(self) -> tuple[Slices, Slices]:
        nowhere = np.empty(0, np.intp)
        processes, cgroups = (
            table.tell(nowhere, nowhere, np.empty((len(table.counted), 0), np.uint64))
            for table in (self.processes, self.cgroups)
        )
        return processes, cgroups

    def sample(self) -> tuple[Slices, Slices]:
        self.look()
        return self.tell()

    def has_cgroup_events(self) -> bool:
        return bool(self.events)

    def has_many_dead(self) -> bool:
        return len(self._dead) > self.processes.capacity // 16

    def dead(self) -> NDArray[np.intp]:
        dead, self._dead = np.array(self._dead, np.intp), []
        return dead

    def recycle_processes(self, index: NDArray[np.intp]) -> None:
        self.processes.recycle(index)

    def cgroup_events(self) -> Iterator[CgroupEvent]:
        events, self.events = self.events, []
        return iter(events)

    def retire_cgroups(self, index: NDArray[np.intp]) -> None:
        self._cgroup_of = {key: row for key, row in self._cgroup_of.items() if row not in index}

    def row_of_process(self, tgid: int) -> int | None:
        return self._row_of.get(tgid)

    def adopt_process(self, tgid: int) -> int | None:
        return None


def _table(
    dtype: np.dtype[np.void], rows: int, packages: int, key: str, reserved: int, free: FreeRows, cycles: bool
) -> Table:
    counted = counted_columns(cycles, False, False)
    uses = np.zeros(rows * packages, layout.USE)
    table = Table(np.zeros(rows, dtype), uses, key, reserved, free, counted)  # type: ignore[arg-type]
    table.fill_free()
    return table


@dataclass
class FakeSource:
    """A meter whose joules the test hands out; :meth:`fail` makes a domain's next reading fail."""

    domains: tuple[Domain, ...]
    name: str = "fake"
    faults: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()
    presses: bool = False

    def __post_init__(self) -> None:
        self.joules = np.zeros(len(self.domains))
        self.time_ns = np.zeros(len(self.domains), np.int64)
        self.truth = np.zeros(len(self.domains))
        self.now_ns = 0
        self._failing: set[int] = set()

    @property
    def live(self) -> NDArray[np.bool_]:
        return self.time_ns > 0

    def counted(self) -> Counted:
        return Counted(self.joules.tolist(), self.time_ns.tolist(), self.live.tolist())

    def use(self, joules: np.ndarray, seconds: float) -> None:
        self.truth += joules
        self.now_ns += round(seconds * 1e9)

    def fail(self, domain: int) -> None:
        self._failing.add(domain)

    def look(self) -> Taking:
        failing, self._failing = self._failing, set()
        return partial(self._take, failing, self.truth.copy(), self.now_ns)

    def _take(self, failing: set[int], truth: NDArray[np.float64], now_ns: int) -> None:
        for domain in range(len(self.domains)):
            if domain in failing:
                self.faults["EIO"] += 1
            else:
                self.joules[domain] = truth[domain]
                self.time_ns[domain] = now_ns

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
    makers: dict[int, str] = field(default_factory=dict)

    def identify(self, cgroup_id: int) -> Workload | None:
        if cgroup_id in self.known:
            return self.known[cgroup_id]
        return Workload("container", f"c{cgroup_id}", cpu_request=cgroup_id)

    def meanwhile(self, cgroup_id: int) -> Workload:
        return SYSTEM

    def current(self, workload: Workload) -> Workload | None:
        name = self.names.get(workload.container_id, workload.container)
        return None if name is None else replace(workload, container=name)

    def learn_path(self, cgroup_id: int, path: str) -> None:
        pass

    def maker(self, cgroup_id: int) -> str:
        return self.makers.get(cgroup_id, "")

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
    batch_seconds: float = 0.0,
) -> Sampler:
    """A sampler over these, floors as the sources' domains know them; its frames can be recorded."""
    workloads = workloads or FakeWorkloads()
    table = WorkloadTable(kernel, workloads)
    vms = VirtualMachines(fs or HostFS(), kernel, table)
    options = SamplerOptions(idle_policy=policy, tell_everyone=True, batch_seconds=batch_seconds)
    return Sampler(kernel, Meter(sources), table, workloads, vms, options, clock)
