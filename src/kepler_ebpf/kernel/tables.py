"""The kernel's tables: everything the BPF programs count, as the sampler reads it."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import KeplerError
from ..host.fs import HostFS, read_text
from ..host.hierarchy import Hierarchy
from ..host.syscalls import Element, TestRun, delete_keys
from ..host.topology import Topology, online_cpus, read_topology
from . import counters, layout, procfs
from .launch import Loaded, load_programs
from .running import Running, figures, running_now
from .source import KERNEL_CGROUP_ROW, OVERFLOW_ROW, CgroupEvent
from .table import Slices, Table, map_rows

log = logging.getLogger(__name__)

_MAX_EVENTS_PER_CALL = 4096
_LONGEST_PATH = layout.CGROUP_EVENT["path"].itemsize - 1
_LONG_NS = 5_000_000  # kernel threads mostly run for microseconds
_MOST_BYTES = 128 << 20
_LONGEST_PID = 4 << 20  # PID_MAX_LIMIT, include/linux/threads.h


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
        self.topology = topology
        self.packages = _packages_told_apart(topology, rows) if by_package else 1
        self._fs = fs
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
            "HINTS": _hints(rows),
            **{
                macro: 1
                for macro, name in (("CYCLES", "cycle"), ("MISSES", "miss"), ("INSTRUCTIONS", "instruction"))
                if name in self._counters
            },
        }
        try:
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
            self._cgroup_of = Element(maps["cgroup_of"], 8, 4)
            self._row_of = Element(maps["row_of"], 16, 4)
            self._cgroup_events = Element(maps["cgroup_events"], 0, layout.CGROUP_EVENT.itemsize)
            for name, events in self._counters.items():
                events.attach(maps[f"{name}_counters"])
            self._start()
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
        )

    def _start(self) -> None:
        self.processes.fill_free()
        self.cgroups.fill_free()
        self._known_dead = 0
        self._busy_ns = np.zeros(self.packages)
        self._checked = np.zeros(len(self.cpus), np.uint64)
        self._place_cpus()
        self.cpus["enabled"] = 1
        self._open_slices(self.topology.online)

    def _place_cpus(self) -> None:
        self.cpus["package"] = self._package_of_cpu()
        self.cpus["sibling"] = self.topology.sibling

    def _package_of_cpu(self) -> NDArray[np.intp]:
        return np.minimum(np.array(self.topology.package, np.intp), self.packages - 1)

    def _open_slices(self, cpus: Sequence[int]) -> None:
        """Open a slice of what runs on these CPUs now: it may never be switched.

        Before Linux 5.11 the program cannot be had. There a visit to each CPU makes it switch, where the cgroup of
        the collector allows one.
        """
        program = self.loaded.programs.get("open_slice")
        if program is not None:
            run = TestRun(program)
            for cpu in cpus:
                try:
                    run(cpu)
                except OSError as error:  # gone offline meanwhile
                    log.debug("CPU %d: %s", cpu, error)
            return
        home = os.sched_getaffinity(0)
        for cpu in cpus:
            try:
                os.sched_setaffinity(0, {cpu})
            except OSError as error:
                log.debug("CPU %d: %s", cpu, error)
        os.sched_setaffinity(0, home)

    def close(self) -> None:
        """Detach and free everything."""
        self.loaded.close()
        self._close_counters()

    def _close_counters(self) -> None:
        for events in self._counters.values():
            events.close()

    # -- CPUs -------------------------------------------------------------------------------------------------------

    def follow_topology(self) -> bool:
        """Take up what changed of the CPUs since the last call; whether anything did. Raises KeplerError.

        CPUs that came online get their package, their sibling and their counters.
        """
        if self.cycles:
            self.cpus["cycles_per_us"] = self._mean_cycles_per_us()
        if tuple(online_cpus(self._fs)) == self.topology.online:
            return False
        before, self.topology = self.topology, read_topology(self._fs, self.topology)
        if self.topology.cpus > before.cpus:
            raise KeplerError(f"the kernel has {self.topology.cpus} CPUs where it had {before.cpus}: start anew")
        self._place_cpus()
        came = sorted(set(self.topology.online) - set(before.online))
        for events in self._counters.values():
            events.follow(came)
        log.info("CPUs online: %d, before %d", len(self.topology.online), len(before.online))
        return True

    def _mean_cycles_per_us(self) -> int:
        uses = self.cgroups.uses
        time_ns = int(uses["alone_ns"].sum() + uses["shared_ns"].sum())
        return int(uses["cycles"].sum()) * 1000 // time_ns if time_ns else 0

    def cpus_per_package(self) -> NDArray[np.intp]:
        """How many CPUs are online now, intp[packages]."""
        online = np.array(self.topology.online, np.intp)
        return np.bincount(self._package_of_cpu()[online], minlength=self.packages)

    def busy_seconds(self) -> NDArray[np.float64]:
        """Cumulative CPU seconds of all tasks but the idle ones, per package, float64[packages]."""
        return self._busy_seconds(running_now(self.cpus))

    def _busy_seconds(self, running: Running) -> NDArray[np.float64]:
        busy = np.bincount(self._package_of_cpu(), running.busy_ns.astype(np.float64), self.packages)
        np.maximum(self._busy_ns, busy, out=self._busy_ns)  # an open slice may turn out to be less
        return self._busy_ns * 1e-9

    # -- the sample -------------------------------------------------------------------------------------------------

    def sample(self) -> tuple[Slices, Slices]:
        """What processes and cgroups did since the last call, slices that are still open included."""
        self.processes.look()
        self.cgroups.look()
        running = running_now(self.cpus)
        if self._check_kernel_threads(running):
            running = running_now(self.cpus)
        used = figures(running, self.processes) * self._believed(running)
        return self.processes.tell(running.use, used), self.cgroups.tell(running.cgroup_use, used)

    def _check_kernel_threads(self, running: Running) -> bool:
        """Look what really runs where a kernel thread seems to run for long; whether there was anything to look at.

        A switch away from a CPU's stopper thread may not have been told. No slice is looked at twice.
        """
        elapsed = running.alone_ns + running.shared_ns
        suspect = self._of_kernel(running) & (elapsed > _LONG_NS) & (self._checked[running.cpu] != running.since_ns)
        if not suspect.any():
            return False
        self._checked[running.cpu[suspect]] = running.since_ns[suspect]
        self._open_slices(running.cpu[suspect].tolist())
        return True

    def _of_kernel(self, running: Running) -> NDArray[np.bool_]:
        of_kernel: NDArray[np.bool_] = self.processes.rows["kernel"][running.use // self.packages] != 0
        return of_kernel

    def _believed(self, running: Running) -> NDArray[np.bool_]:
        """Which open slices count: not those whose rows were recycled, and a kernel thread's only once looked at."""
        process, cgroup = running.use // self.packages, running.cgroup_use // self.packages
        owned: NDArray[np.bool_] = (self.processes.rows["tgid"][process] != 0) | (process < self.processes.reserved)
        owned &= (self.cgroups.rows["taken"][cgroup] != 0) | (cgroup < self.cgroups.reserved)
        return owned & (~self._of_kernel(running) | (self._checked[running.cpu] == running.since_ns))

    # -- processes --------------------------------------------------------------------------------------------------

    def dead(self) -> NDArray[np.intp]:
        """Positions of process rows whose process is gone, given once each."""
        marked = int(self._totals["dead_rows"][0])
        if marked == self._known_dead:
            return np.empty(0, np.intp)
        self._known_dead = marked
        return np.flatnonzero(self.processes.rows["dead"][: self.processes.front()] == 1)

    def recycle_processes(self, index: NDArray[np.intp]) -> None:
        """Give the rows of dead processes back to the kernel. Raises OSError."""
        if not len(index):
            return
        keys = np.zeros((2, len(index)), [("start_ns", "<u8"), ("tgid", "<u8")])
        keys["tgid"] = self.processes.rows["tgid"][index]
        uses = self.processes.uses["start_ns"].reshape(self.processes.capacity, self.packages)
        keys["start_ns"][0] = uses[index].max(axis=1)  # 0: adopted, and never run
        delete_keys(self.loaded.maps["row_of"], keys[0].tobytes(), len(index))
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
        try:
            comm = read_text(self._fs.proc / str(tgid) / "comm").encode()[:15]
            start_ns = procfs.start_ns_of(self._fs, tgid)
            cgroup_id = procfs.cgroup_id_of(self._fs, self._hierarchy, tgid) if self._hierarchy else 0
        except (OSError, ValueError, IndexError):
            return None
        if not self._free_rows.take():
            return None
        index = int(struct.unpack_from("=I", self._free_rows.value)[0])
        row = self.processes.rows
        row["start_ns"][index] = start_ns
        row["comm"][index] = comm
        row["cgroup_id"][index] = cgroup_id
        row["cgroup_row"][index] = self._cgroup_row(cgroup_id)
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
            if procfs.is_gone(self._fs, tgid):
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

    def retire_cgroup(self, index: int) -> None:
        """Let no new slice find this cgroup's row; recycle it later, when running slices have ended.

        Processes that point at the row look their cgroup up anew when they next run: a cgroup that was taken for gone
        and is not gets another row, and nobody is booked to the row's next owner.
        """
        struct.pack_into("=Q", self._cgroup_of.key, 0, int(self.cgroups.rows["id"][index]))
        self._cgroup_of.delete()
        front = self.processes.front()
        for rows in (self.processes.rows[:front], self.processes.uses[: front * self.packages]):
            rows["cgroup_id"][rows["cgroup_row"] == index] = 0

    def cgroup_events(self) -> Iterator[CgroupEvent]:
        """Cgroups that were made and removed since the last call, in order."""
        for _ in range(_MAX_EVENTS_PER_CALL):
            if not self._cgroup_events.take():
                return
            event = np.frombuffer(self._cgroup_events.value.raw, layout.CGROUP_EVENT, 1)[0]
            path = event["path"].split(b"\0", 1)[0]  # what stands behind the NUL is of an earlier event
            if len(path) == _LONGEST_PATH:
                path = b""  # cut off: what is left could be anybody's
            yield CgroupEvent(int(event["id"]), bool(event["removed"]), path.decode("utf-8", "replace"))

    @property
    def row_overflow_slices(self) -> int:
        """Slices booked to the overflow row since no row was free."""
        return int(self._totals["row_overflow_slices"][0])

    @property
    def cgroup_overflow_slices(self) -> int:
        """Slices booked to the overflow cgroup row since none was free."""
        return int(self._totals["cgroup_overflow_slices"][0])


def _packages_told_apart(topology: Topology, rows: int) -> int:
    """As many as there may be, unless that many columns would take too much memory: then all CPUs are one package."""
    size = topology.most_packages * rows * layout.USE.itemsize
    if size <= _MOST_BYTES:
        return topology.most_packages
    log.warning("%d packages are not told apart: their rows would take %d MiB", topology.most_packages, size >> 20)
    return 1


def _hints(rows: int) -> int:
    """How many hints: a power of two, so that few processes share one even where all rows are used."""
    return min(max(1 << (4 * rows - 1).bit_length(), 16), _LONGEST_PID)
