"""The kernel's tables: everything the BPF programs count, as the sampler reads it."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np

from ..columns import Indexes, are_among
from ..errors import KeplerError
from ..host import clocks
from ..host.fs import HostFS
from ..host.hierarchy import Hierarchy
from ..host.syscalls import Element, delete_keys
from ..host.topology import Topology
from ..waiting import waiting_for
from . import counters, layout, procfs
from .cgroup_events import take_events
from .cpus import Cpus
from .launch import Loaded, load_programs
from .looks import Looks
from .sizes import hints, packages_told_apart
from .source import KERNEL_CGROUP_ROW, OVERFLOW_ROW, CgroupEvent
from .table import Slices, Table, counted_columns, map_rows


class BpfTables:
    """Owns the programs, their maps and the counters; all of it goes away with :meth:`close` or with the process.

    ``processes``, ``cgroups``: the tables. ``packages``: how many packages they tell apart. ``topology``: the CPUs, as
    of the latest :meth:`follow_topology`. ``cycles``, ``misses``, ``instructions``: whether those are counted.
    """

    def __init__(
        self,
        fs: HostFS,
        topology: Topology,
        hierarchy: Hierarchy | None,
        rows: int,
        cgroup_rows: int,
        by_package: bool = True,
        cycles: counters.Event | None = counters.CYCLES,
        misses: counters.Event | None = counters.LLC_MISSES,
        instructions: counters.Event | None = counters.INSTRUCTIONS,
    ) -> None:
        """Load and attach everything. Raises KeplerError.

        ``hierarchy``: whose cgroups the rows are for. ``rows``, ``cgroup_rows``: capacities. ``by_package``: whether
        any meter tells packages apart; otherwise all CPUs count as one package.
        """
        self.packages = packages_told_apart(topology, rows) if by_package else 1
        self._known_dead = self._known_events = 0
        self._proc = procfs.ProcessFiles(fs)
        self._hierarchy = hierarchy
        every_cpu = range(topology.cpus)
        wanted = {"cycle": cycles, "miss": misses, "instruction": instructions}
        counters.allow_descriptors(len(wanted) * topology.cpus)
        opened = {name: counters.open_counters(event, every_cpu) for name, event in wanted.items() if event is not None}
        self._counters = {name: events for name, events in opened.items() if events.refused is None}
        self.cycles, self.misses, self.instructions = (name in self._counters for name in wanted)
        defines = {
            "ROWS": rows,
            "CGROUPS": cgroup_rows,
            "CPUS": topology.cpus,
            "PACKAGES": self.packages,
            "HINTS": hints(rows),
            **{
                macro: 1
                for macro, name in (("CYCLES", "cycle"), ("MISSES", "miss"), ("INSTRUCTIONS", "instruction"))
                if name in self._counters
            },
        }
        try:
            with waiting_for("the BPF programs to be compiled"):
                self.loaded: Loaded = load_programs(defines, hierarchy)
        except KeplerError:
            self._close_counters()
            raise
        maps = self.loaded.maps
        try:
            self._free_rows = Element(maps["free_rows"], 0, 4)
            self._free_cgroups = Element(maps["free_cgroups"], 0, 4)
            self.processes = self._table("processes", layout.PROCESS, rows, "tgid", OVERFLOW_ROW + 1, self._free_rows)
            reserved = KERNEL_CGROUP_ROW + 1
            self.cgroups = self._table("cgroups", layout.CGROUP, cgroup_rows, "taken", reserved, self._free_cgroups)
            self.cpus = map_rows(maps["cpus"], layout.CPU, topology.cpus)
            self._totals = map_rows(maps["totals"], layout.TOTALS, 1)
            self._dead_rows, self._events = self._totals["dead_rows"], self._totals["cgroup_events"]
            self._cgroup_of = Element(maps["cgroup_of"], 8, 4)
            self._row_of = Element(maps["row_of"], 16, 4)
            self._cgroup_events = Element(maps["cgroup_events"], 0, layout.CGROUP_EVENT.itemsize)
            for name, events in self._counters.items():
                events.attach(maps[f"{name}_counters"])
            self.processes.fill_free()
            self.cgroups.fill_free()
            program = self.loaded.programs.get("open_slice")
            self._cpus = Cpus(fs, topology, self.packages, self.cpus, list(self._counters.values()), program)
            self._cpus.start()
            ahead_ns = clocks.ahead_ns(fs, clocks.MONOTONIC)
            self._looks = Looks(self.processes, self.cgroups, self._cpus, ahead_ns)
        except OSError as error:
            self.close()
            raise KeplerError(f"cannot set up the BPF maps: {error}") from error

    def _table(
        self, name: str, dtype: np.dtype[np.void], rows: int, key: str, reserved: int, free_rows: Element
    ) -> Table:
        maps = self.loaded.maps
        uses = {"processes": "process_uses", "cgroups": "cgroup_uses"}[name]
        return Table(
            map_rows(maps[name], dtype, rows),
            map_rows(maps[uses], layout.USE, rows * self.packages),
            key,
            reserved,
            free_rows,
            counted_columns(self.cycles, self.misses, self.instructions),
        )

    def close(self) -> None:
        """Detach and free everything."""
        self.loaded.close()
        self._close_counters()

    def _close_counters(self) -> None:
        for events in self._counters.values():
            events.close()

    # -- CPUs -------------------------------------------------------------------------------------------------------

    @property
    def topology(self) -> Topology:
        """The CPUs, as of the latest :meth:`follow_topology`."""
        return self._cpus.topology

    def follow_topology(self) -> bool:
        """Take up what changed of the CPUs since the last call; whether anything did."""
        uses = self.cgroups.uses
        time_ns = int(uses["alone_ns"].sum() + uses["shared_ns"].sum())
        return self._cpus.follow(int(uses["cycles"].sum()) * 1000 // time_ns if time_ns else 0)

    def cpus_per_package(self) -> Sequence[int]:
        """How many CPUs are online now, by package."""
        return self._cpus.per_package

    # -- the sample -------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Read all counters as they are now, open slices included, for :meth:`tell`."""
        self._looks.look()

    def keep(self, looks: int) -> None:
        """Forget all but the first of the looks since the latest :meth:`tell`; nothing is lost, the next has it all."""
        self._looks.keep(looks)

    def tell(self) -> tuple[Slices, Slices]:
        """What processes and cgroups did from look to look since the last call, slices that were open included."""
        return self._looks.tell()

    def sample(self) -> tuple[Slices, Slices]:
        """Look, and tell what was done since the last call."""
        self.look()
        return self.tell()

    @property
    def busy_seconds(self) -> Sequence[float]:
        """Cumulative CPU seconds of all tasks but the idle ones, by package, as of the latest look."""
        return self._looks.busy_seconds

    @property
    def sampled_ns(self) -> int:
        """When that was (CLOCK_MONOTONIC)."""
        return self._looks.sampled_ns

    # -- processes --------------------------------------------------------------------------------------------------

    def dead(self) -> Indexes:
        """Positions of process rows whose process is gone, given once each."""
        marked = int(self._dead_rows[0])
        if marked == self._known_dead:
            return np.empty(0, np.intp)
        self._known_dead = marked
        return np.flatnonzero(self.processes.rows["dead"][: self.processes.front()] == 1)

    def has_many_dead(self) -> bool:
        """Whether so many processes have ended that their rows are wanted back soon."""
        return int(self._dead_rows[0]) - self._known_dead > self.processes.capacity // 16

    def recycle_processes(self, index: Indexes) -> None:
        """Give the rows of dead processes back to the kernel. Raises OSError."""
        if not len(index):
            return
        keys = np.zeros(len(index), [("start_ns", "<u8"), ("tgid", "<u8")])
        keys["tgid"] = self.processes.rows["tgid"][index]
        keys["start_ns"] = np.where(self.processes.rows["adopted"][index], 0, self.processes.rows["start_ns"][index])
        delete_keys(self.loaded.maps["row_of"], keys.tobytes(), len(index))
        self._looks.disown("use", index)
        self.processes.recycle(index)

    def row_of_process(self, tgid: int) -> int | None:
        """The row of this process, or None where it has not run since the collector started."""
        used = self.processes.used()
        mine = used[self.processes.rows["tgid"][used] == tgid]
        if not len(mine):
            return None
        return int(mine[np.argmax(self.processes.rows["start_ns"][mine])])

    def adopt_process(self, tgid: int) -> int | None:
        """Make a row for a process that has not run since we started, because it uses a GPU, say.

        None where it is gone or no row is free.
        """
        told = self._proc.look(tgid, self._hierarchy)
        if told is None or not self._free_rows.take():
            return None
        index = int(struct.unpack_from("=I", self._free_rows.value)[0])
        row = self.processes.rows
        row["start_ns"][index], row["parent"][index], row["adopted"][index] = told.start_ns, told.parent, 1
        row["comm"][index] = told.comm
        row["cgroup_id"][index], row["cgroup_row"][index] = told.cgroup_id, self._cgroup_row(told.cgroup_id)
        struct.pack_into("=QQ", self._row_of.key, 0, 0, tgid)
        struct.pack_into("=I", self._row_of.value, 0, index)
        self._row_of.update()
        row["tgid"][index] = tgid
        return index

    def sweep(self) -> None:
        """Mark rows dead whose process ended without the kernel telling us.

        A few events in ten thousand do not reach us on some virtual machines (measured on Linux 6.18).
        """
        rows = self.processes.rows
        used = self.processes.used()
        living = used[rows["dead"][used] == 0]
        latest: dict[int, int] = {}
        for index in living[np.argsort(rows["start_ns"][living])].tolist():
            tgid = int(rows["tgid"][index])
            earlier = latest.get(tgid)
            if earlier is not None:  # its number has another owner
                self._mark_dead(earlier)
            latest[tgid] = index
        for tgid, index in latest.items():
            if self._proc.is_gone(tgid):
                self._mark_dead(index)

    def _mark_dead(self, index: int) -> None:
        self.processes.rows["dead"][index] = 1
        self._known_dead = -1

    # -- cgroups ----------------------------------------------------------------------------------------------------

    def _cgroup_row(self, cgroup_id: int) -> int:
        struct.pack_into("=Q", self._cgroup_of.key, 0, cgroup_id)
        if not self._cgroup_of.lookup():
            if not self._free_cgroups.take():
                return OVERFLOW_ROW
            index = int(struct.unpack_from("=I", self._free_cgroups.value)[0])
            self.cgroups.rows["id"][index] = cgroup_id
            struct.pack_into("=I", self._cgroup_of.value, 0, index)
            self._cgroup_of.update()
            self.cgroups.rows["taken"][index] = 1
        return int(struct.unpack_from("=I", self._cgroup_of.value)[0])

    def retire_cgroups(self, index: Indexes) -> None:
        """Let no new slice find these cgroups' rows; recycle them later, when running slices have ended.

        Processes that point at a row look their cgroup up anew when they next run: a cgroup that was taken for gone
        and is not gets another row, and nobody is booked to the row's next owner.
        """
        if not len(index):
            return
        delete_keys(self.loaded.maps["cgroup_of"], self.cgroups.rows["id"][index].tobytes(), len(index))
        self._looks.disown("cgroup_use", index)
        front = self.processes.front()
        for rows in (self.processes.rows[:front], self.processes.uses[: front * self.packages]):
            rows["cgroup_id"][are_among(rows["cgroup_row"], index)] = 0

    def has_cgroup_events(self) -> bool:
        """Whether :meth:`cgroup_events` has something to tell."""
        return int(self._events[0]) != self._known_events

    def cgroup_events(self) -> Iterator[CgroupEvent]:
        """Cgroups that were made and removed since the last call, in order."""
        self._known_events = int(self._events[0])  # before: what comes meanwhile is asked for again
        return take_events(self._cgroup_events)

    @property
    def row_overflow_slices(self) -> int:
        """Slices booked to the overflow row since no row was free."""
        return int(self._totals["row_overflow_slices"][0])

    @property
    def cgroup_overflow_slices(self) -> int:
        """Slices booked to the overflow cgroup row since none was free."""
        return int(self._totals["cgroup_overflow_slices"][0])
