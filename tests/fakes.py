"""A kernel side and a meter without a kernel: they behave (rows are taken and given back, counters grow), in memory."""

from __future__ import annotations

import ctypes
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from kepler_ebpf.energy.source import Domain
from kepler_ebpf.host.topology import Topology
from kepler_ebpf.kernel import layout
from kepler_ebpf.kernel.launch import Loaded
from kepler_ebpf.kernel.table import Slices, Table
from kepler_ebpf.kernel.tables import CgroupEvent


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

    def __post_init__(self) -> None:
        self.joules = np.zeros(len(self.domains))
        self.time_ns = np.zeros(len(self.domains), np.int64)
        self.truth = np.zeros(len(self.domains))
        self.now_ns = 0
        self._failing: set[int] = set()

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


class FixedFloor:
    """An idle floor that is known."""

    def __init__(self, watts: float) -> None:
        self.watts = watts

    def update(self, power_watts: float, utilization: float, seconds: float) -> None:
        pass
