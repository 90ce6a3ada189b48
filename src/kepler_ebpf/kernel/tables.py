"""The kernel's books: everything the BPF programs count, as the sampler reads it."""

from __future__ import annotations

import logging
import os
import struct
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import KeplerError
from ..host.fs import HostFS, read_text
from ..host.hierarchy import Hierarchy, path_in
from ..host.syscalls import Element, TestRun
from ..host.topology import Topology
from . import counters, layout
from .launch import Loaded, load_programs
from .source import CgroupEvent
from .table import Slices, Table, map_rows

log = logging.getLogger(__name__)

_PF_KTHREAD = 0x00200000  # include/linux/sched.h
_MAX_EVENTS_PER_CALL = 4096
_LONGEST_PATH = layout.CGROUP_EVENT["path"].itemsize - 1
KERNEL_THREAD, LEADER_EXITED = 1, 2  # bits of row.flags (bpf/rows.h)


class BpfTables:
    """Owns the programs, their maps and the counters; all of it goes away with :meth:`close` or with the process.

    ``processes``, ``cgroups``: the tables. ``hierarchy``: whose cgroups these are, None where there is none.
    ``topology``: CPUs as they were at start. ``cycles``, ``misses``: whether those are counted.
    """

    def __init__(
        self,
        fs: HostFS,
        topology: Topology,
        hierarchy: Hierarchy | None,
        rows: int,
        cgroup_rows: int,
        cycles: counters.Event | None = counters.CYCLES,
        misses: counters.Event | None = counters.LLC_MISSES,
    ) -> None:
        """Load and attach everything. ``rows``, ``cgroup_rows``: capacities. Raises KeplerError."""
        self.topology = topology
        self.hierarchy = hierarchy
        self._fs = fs
        events = {
            name: descriptors
            for name, event in (("cycle", cycles), ("miss", misses))
            if event is not None and (descriptors := counters.open_event(event, topology.online)) is not None
        }
        self.cycles = "cycle" in events
        self.misses = "miss" in events
        self._events = [fd for descriptors in events.values() for fd in descriptors]
        packages = topology.packages
        defines = {
            "ROWS": rows,
            "CGROUPS": cgroup_rows,
            "CPUS": topology.cpus,
            "PACKAGES": packages,
            **({"CYCLES": 1} if self.cycles else {}),
            **({"MISSES": 1} if self.misses else {}),
        }
        try:
            self.loaded: Loaded = load_programs(defines, self.hierarchy)
        except KeplerError:
            counters.close_all(self._events)
            raise
        maps = self.loaded.maps
        try:
            self._free_rows = Element(maps["free_rows"], 0, 4)
            self._free_cgroups = Element(maps["free_cgroups"], 0, 4)
            self.processes = Table(map_rows(maps["rows"], layout.ROW, rows), "tgid", packages, self._free_rows)
            self.cgroups = Table(
                map_rows(maps["cgroups"], layout.CGROUP, cgroup_rows), "taken", 2 * packages, self._free_cgroups
            )
            self.cpus = map_rows(maps["cpus"], layout.CPU, topology.cpus)
            self._totals = map_rows(maps["totals"], layout.TOTALS, 1)
            self._cgroup_of = Element(maps["cgroup_of"], 16, 4)
            self._row_of = Element(maps["row_of"], 8, 4)
            self._kernel_threads = Element(maps["kernel_threads"], 8, 4)
            self._cgroup_events = Element(maps["cgroup_events"], 0, layout.CGROUP_EVENT.itemsize)
            self._close_slice = TestRun(self.loaded.programs["close_slice"])
            for name, descriptors in events.items():
                counters.attach_event(maps[f"{name}_counters"], topology.online, descriptors)
            self._start()
        except OSError as error:
            self.close()
            raise KeplerError(f"cannot set up the BPF maps: {error}") from error

    def _start(self) -> None:
        packages = np.arange(self.topology.packages)
        self.processes.rows["package"][packages] = packages
        self.cgroups.rows["package"][packages] = packages
        self.cgroups.rows["package"][packages + len(packages)] = packages
        self.processes.fill_free()
        self.cgroups.fill_free()
        for tgid in kernel_threads(self._fs):
            struct.pack_into("=Q", self._kernel_threads.key, 0, tgid)
            struct.pack_into("=I", self._kernel_threads.value, 0, 1)
            self._kernel_threads.update()
        self.cpus["package"] = self.topology.package
        self.cpus["sibling"] = self.topology.sibling
        self._known_dead = 0
        self.cpus["enabled"] = 1
        self.close_slices()  # opens the first slice on every CPU

    def close(self) -> None:
        """Detach and free everything."""
        self.loaded.close()
        counters.close_all(self._events)

    def close_slices(self) -> None:
        """End the open slice on every CPU that runs something; idle CPUs are left asleep."""
        for cpu in np.flatnonzero(self.cpus["idle"] == 0).tolist():
            try:
                self._close_slice(cpu)
            except OSError:
                self.cpus["idle"][cpu] = 1  # offline: nothing runs there until a switch says otherwise

    def sample(self) -> tuple[Slices, Slices]:
        """What processes and cgroups did since the last call."""
        return self.processes.sample(), self.cgroups.sample()

    def busy_seconds(self) -> NDArray[np.float64]:
        """Cumulative CPU seconds spent on anything but the idle task, per package, float64[packages]."""
        return np.bincount(self.topology.package, self.cpus["busy_ns"] * 1e-9, minlength=self.topology.packages).astype(
            np.float64
        )

    def dead(self) -> NDArray[np.intp]:
        """Positions of process rows whose process is gone, given once each."""
        marked = int(self._totals["dead_rows"][0])
        if marked == self._known_dead:
            return np.empty(0, np.intp)
        self._known_dead = marked
        return np.flatnonzero(self.processes.rows["dead"][: self.processes.front()] == 1)

    def row_of_process(self, tgid: int) -> int | None:
        """A row of this process on any package, or None where it has not run since the collector started."""
        for package in range(self.topology.packages):
            struct.pack_into("=II", self._row_of.key, 0, tgid, package)
            if self._row_of.lookup():
                return int(struct.unpack_from("=I", self._row_of.value)[0])
        return None

    def adopt_process(self, tgid: int) -> int | None:
        """Make a row for a process that has not run since we started, because it uses a GPU, say.

        None where it is gone or no row is free.
        """
        try:
            comm = read_text(self._fs.proc / str(tgid) / "comm").encode()[:15]
            cgroup_id = cgroup_id_of(self._fs, self.hierarchy, tgid) if self.hierarchy else 0
        except (OSError, ValueError):
            return None
        if not self._free_rows.take():
            return None
        index = int(struct.unpack_from("=I", self._free_rows.value)[0])
        row = self.processes.rows
        row["start_ns"][index] = time.monotonic_ns()
        row["comm"][index] = comm
        row["cgroup_row"][index] = self._cgroup_row(cgroup_id)
        struct.pack_into("=II", self._row_of.key, 0, tgid, 0)
        struct.pack_into("=I", self._row_of.value, 0, index)
        self._row_of.update()
        row["tgid"][index] = tgid
        return index

    def _cgroup_row(self, cgroup_id: int) -> int:
        struct.pack_into("=QQ", self._cgroup_of.key, 0, cgroup_id, 0)
        if not self._cgroup_of.lookup():
            if not self._free_cgroups.take():
                return 0
            index = int(struct.unpack_from("=I", self._free_cgroups.value)[0])
            self.cgroups.rows["id"][index] = cgroup_id
            struct.pack_into("=I", self._cgroup_of.value, 0, index)
            self._cgroup_of.update()
            self.cgroups.rows["taken"][index] = 1
        return int(struct.unpack_from("=I", self._cgroup_of.value)[0])

    def sweep(self, everyone: bool = False) -> None:
        """Mark rows dead whose process ended without the kernel telling us.

        About one free event in two thousand does not reach us (measured on Linux 6.18 under a storm of forks), so each
        process whose leader is known to have exited is looked for in /proc; with ``everyone``, every process is.
        """
        end = self.processes.front()
        flags, dead = self.processes.rows["flags"][:end], self.processes.rows["dead"][:end]
        suspects = self.processes.used() if everyone else np.flatnonzero((flags & LEADER_EXITED) * (dead == 0))
        for index in suspects.tolist():
            row = self.processes.rows[index]
            if not row["dead"] and not (self._fs.proc / str(row["tgid"])).exists():
                struct.pack_into("=II", self._row_of.key, 0, int(row["tgid"]), int(row["package"]))
                self._row_of.delete()
                self.processes.rows["dead"][index] = 1
                self._known_dead = -1

    def retire_cgroup(self, index: int) -> None:
        """Let no new slice find this cgroup's row; recycle it later, when running slices have ended.

        Processes that point at the row look their cgroup up anew when they next run: a cgroup that was taken for gone
        and is not gets another row, and nobody is booked to the row's next owner.
        """
        row = self.cgroups.rows[index]
        processes = self.processes.rows[: self.processes.front()]
        processes["cgroup_id"][processes["cgroup_row"] == index] = 0
        struct.pack_into("=QQ", self._cgroup_of.key, 0, int(row["id"]), int(row["package"]))
        self._cgroup_of.delete()

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


def kernel_threads(fs: HostFS) -> Iterator[int]:
    """Process ids of the kernel threads there are now (proc_pid_stat(5), field 9)."""
    for entry in fs.proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            flags = int(read_text(entry / "stat").rpartition(")")[2].split()[6])
        except (OSError, ValueError, IndexError):
            continue  # it ended while we looked
        if flags & _PF_KTHREAD:
            yield int(entry.name)


def cgroup_id_of(fs: HostFS, hierarchy: Hierarchy, tgid: int) -> int:
    """The id of a process's cgroup: the inode number of its directory. Raises OSError, and ValueError outside of it."""
    path = path_in(read_text(fs.proc / str(tgid) / "cgroup"), hierarchy)
    if path is None:
        raise ValueError(f"process {tgid} is in no cgroup below {hierarchy.root}")
    return os.stat(hierarchy.root / path.lstrip("/")).st_ino
