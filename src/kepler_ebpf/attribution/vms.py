"""Virtual machines that share a cgroup with others: a QEMU process becomes a workload of its own."""

from __future__ import annotations

import threading
from collections import Counter, deque

import numpy as np

from ..columns import Floats, Indexes
from ..host import pids
from ..host.fs import HostFS, read_text
from ..kernel.source import KernelTables
from ..kernel.table import COUNTERS, Slices
from ..workloads.qemu import MAX_PER_USER, user_of, workload_of
from ..workloads.workload import Workload
from .workload_rows import WorkloadTable

_COMMS = (b"qemu", b"kvm", b"CPU ")  # with debug-threads=on the main thread may run as a vCPU's namesake
_MAX_READERS = 4
_Question = list[tuple[int, int]]  # rows and process ids


class VirtualMachines:
    """Takes the time of QEMU processes out of their cgroup's, where that is the host's and not a container's.

    Process rows stand in ``WorkloadTable`` behind the cgroup rows: their index there is ``offset`` more.
    """

    def __init__(self, fs: HostFS, tables: KernelTables, table: WorkloadTable) -> None:
        self._fs = fs
        self._asks = pids.are_the_kernels(fs)
        self._processes = tables.processes
        self._table = table
        self._packages = tables.packages
        self._offset = tables.cgroups.capacity
        self._looked = np.zeros(self._processes.capacity, self._processes.rows["comm"].dtype)
        self._taken = np.zeros(self._processes.capacity, np.bool_)
        self._owed: dict[int, Floats] = {}  # by process row: float64[counters, packages]
        self._asked: dict[int, _Question] = {}
        self._answers: deque[tuple[_Question, int, Workload | None, int]] = deque()
        self._users: dict[int, int] = {}  # by row
        self._of_user: Counter[int] = Counter()
        self._readers: list[threading.Thread] = []

    def look(self) -> None:
        """Look for virtual machines among processes that are new or have a new name; a later call takes those found.

        Reading /proc/PID/cmdline can block on the process's memory map or on a page of a FUSE file system, so up to
        four threads read them. While all four are blocked, no new process is examined.
        """
        while self._answers:
            question, row, workload, user = self._answers.popleft()
            if self._asked.get(row) is question:  # and the row is still the same process's
                del self._asked[row]
                # Any user can call processes qemu, and make series by the thousand.
                if workload is not None and (user == 0 or self._of_user[user] < MAX_PER_USER):
                    self._taken[row] = True
                    self._users[row] = user
                    self._of_user[user] += 1
                    self._owed[row] = np.zeros((len(COUNTERS), self._packages))
                    self._table.assign(self._offset + row, workload)
        self._readers = [thread for thread in self._readers if thread.is_alive()]
        if len(self._readers) == _MAX_READERS or not self._asks:
            return
        used = self._processes.used()
        comms = self._processes.rows["comm"][used]
        changed = comms != self._looked[used]
        used, comms = used[changed], comms[changed]
        self._looked[used] = comms
        candidates = [
            (row, int(self._processes.rows["tgid"][row]))
            for row, comm in zip(used.tolist(), comms.tolist())
            if comm.startswith(_COMMS) and not self._taken[row] and self._on_host(row)
        ]
        if candidates:
            self._asked.update((row, candidates) for row, _ in candidates)
            self._readers.append(threading.Thread(target=self._read, args=(candidates,), name="vms", daemon=True))
            self._readers[-1].start()

    def split(self, processes: Slices, cgroups: Slices) -> Slices:
        """``cgroups`` with the slices of virtual machines taken out of their cgroup's and put behind them, by sample.

        The process table may show a slice one sample before the cgroup table does. The difference waits in ``_owed``,
        so no cgroup goes negative and totals do not change.
        """
        if not self._owed:
            return cgroups
        figures = np.stack([getattr(cgroups, name) for name in COUNTERS])
        parts, index, packages, samples = [figures], [], [], []
        for position in np.flatnonzero(self._taken[processes.index]).tolist():
            row, package = int(processes.index[position]), int(processes.package[position])
            owed = self._owed[row][:, package]
            owed += [getattr(processes, name)[position] for name in COUNTERS]
            home = np.flatnonzero(
                (cgroups.index == self._processes.rows["cgroup_row"][row])
                & (cgroups.package == package)
                & (cgroups.sample == processes.sample[position])
            )
            if len(home):
                moved = np.minimum(owed, figures[:, home[0]])
                figures[:, home[0]] -= moved
                owed -= moved
                parts.append(moved[:, np.newaxis])
                index.append(self._offset + row)
                packages.append(package)
                samples.append(processes.sample[position])
        all_samples = np.concatenate([cgroups.sample, np.array(samples, np.intp)])
        split = Slices(
            all_samples,
            np.concatenate([cgroups.index, np.array(index, np.intp)]),
            np.concatenate([cgroups.package, np.array(packages, np.intp)]),
            *np.concatenate(parts, axis=1),
        )
        return split.take(all_samples.argsort(kind="stable"))

    def home(self, rows: Indexes) -> Indexes:
        """Kernel rows of these processes in ``WorkloadTable``: own ones for virtual machines, else their cgroup's."""
        cgroup_rows = self._processes.rows["cgroup_row"][rows].astype(np.intp)
        return np.where(self._taken[rows], rows + self._offset, cgroup_rows)

    def forget(self, rows: Indexes, now: float) -> None:
        """These process rows are about to be used for others."""
        self._looked[rows] = b""
        for row in rows.tolist():
            self._asked.pop(row, None)
        for row in rows[self._taken[rows]].tolist():
            self._taken[row] = False
            del self._owed[row]
            self._of_user[self._users.pop(row)] -= 1
            self._table.retire_row(self._offset + row, now)

    def _on_host(self, row: int) -> bool:
        cgroup_row = self._processes.rows["cgroup_row"][row : row + 1].astype(np.intp)
        return self._table.rows[int(self._table.of(cgroup_row)[0])].workload.kind == "system"

    def _read(self, question: _Question) -> None:
        for row, tgid in question:
            try:
                with (self._fs.proc / str(tgid) / "cmdline").open("rb") as file:
                    cmdline = file.read(1 << 16)
            except OSError:
                cmdline = b""
            workload = workload_of(cmdline, tgid)
            self._answers.append((question, row, workload, self._user_of(tgid) if workload else -1))

    def _user_of(self, tgid: int) -> int:
        try:
            return user_of(read_text(self._fs.proc / str(tgid) / "status"))
        except OSError:
            return -1
