"""One sample: close the running slices, read the meters, split the joules, book them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..columns import GPU, NODE, WORKLOAD, Floats
from ..energy.meter import Interval, Meter
from ..kernel.table import Slices
from ..kernel.tables import BpfTables
from .domains import DomainColumns, Floor
from .ledger import Entry, Ledger, Level
from .vms import VirtualMachines
from .weights import DEFAULT_HYPERTHREAD_RATIO, Split, share
from .workload_rows import WorkloadTable

log = logging.getLogger(__name__)

GAP_LIMIT = 1e-6
_ROUNDING = 1e-12
_CGROUP_GRACE_SECONDS = 5.0
_Piece = tuple[NDArray[np.intp], Floats]


class GpuUse(Protocol):
    """Who used a GPU: process ids, int32[n], and their weights, float64[n], for a domain of the meter."""

    def __call__(self, domain: int) -> tuple[NDArray[np.int32], Floats]: ...


@dataclass(frozen=True)
class Departed:
    """Rows of processes that ended: a copy of their kernel rows and their joules (all, and those since publication)."""

    rows: NDArray[np.void]
    joules: Floats
    recent_joules: Floats


class Sampler:
    """Everything that happens once per sample. Not thread-safe: one thread samples and publishes.

    ``ledger``: the books. ``seconds``, ``cycles``: float64[groups], CPU time and cycles. Since the latest
    :meth:`begin_publication`: ``peak_watts``, float64[groups], and ``node_peak_watts``, highest power of one sample;
    ``departed``, processes that ended; ``gone_cgroups``, ids of cgroups that will not be seen again.
    ``busy_cpu_seconds``: CPU time of everybody.
    """

    def __init__(
        self,
        accounting: BpfTables,
        meter: Meter,
        groups: WorkloadTable,
        floor_of: Callable[[int], Floor],
        gpu_use: GpuUse,
        learn_path: Callable[[int, str], None],
        machines: VirtualMachines,
        idle_policy: str = "none",
        hyperthread_ratio: float = DEFAULT_HYPERTHREAD_RATIO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.accounting = accounting
        self.meter = meter
        self.groups = groups
        self.ledger = Ledger(
            {
                "process": Level(NODE, accounting.processes.capacity),
                "container": Level(WORKLOAD, max(len(groups), 64)),
            }
        )
        self._gpu_use = gpu_use
        self._learn_path = learn_path
        self._machines = machines
        self._idle_policy = idle_policy
        self._ratio = hyperthread_ratio
        self._clock = clock
        self._packages = accounting.topology.packages
        self._threads = np.maximum(accounting.topology.cpus_per_package(), 1)
        self.domains = DomainColumns(meter, accounting.topology, floor_of)
        self._dying = np.empty(0, np.intp)
        self._gone_cgroups: dict[int, float] = {}
        self._last = clock()
        self._owed: Interval | None = None  # read but not booked: a sample that failed left it to the next
        self._busy = accounting.busy_seconds()
        accounting.close_slices()
        accounting.sample()
        self.seconds = np.zeros(64)
        self.cycles = np.zeros(64)
        self.busy_cpu_seconds = 0.0
        self.node_peak_watts = 0.0
        self.departed: list[Departed] = []
        self.gone_cgroups: list[int] = []
        self.begin_publication()

    # -- the sample -------------------------------------------------------------------------------------------------

    def sample(self) -> float:
        """Take one sample. Returns the seconds since the one before."""
        now = self._clock()
        self._follow_cgroups(now)
        self.accounting.close_slices()
        processes, cgroups = self.accounting.sample()
        cgroups = self._machines.part(processes, cgroups)
        interval = self._owed = self.meter.read().plus(self._owed)
        self.domains.adopt()
        elapsed, self._last = now - self._last, now
        busy = self.accounting.busy_seconds()
        utilization = np.clip((busy - self._busy) / (max(elapsed, 1e-9) * self._threads), 0.0, 1.0)
        self._busy = busy

        self.busy_cpu_seconds += float(utilization @ self._threads) * elapsed
        dynamic, idle = self.domains.part(interval, utilization, self._gpu_load)
        self.node_peak_watts = max(self.node_peak_watts, self.domains.node_watts())
        self._book(processes, cgroups, interval.joules, dynamic, idle, elapsed)
        self.domains.joules += interval.joules
        self._owed = None
        self._bury()
        return elapsed

    def begin_publication(self) -> None:
        """Start a new publication interval: peaks and means are taken since this moment."""
        self.peak_watts = np.zeros(max(len(self.groups), len(self.seconds)))
        self.node_peak_watts = 0.0
        self.departed, self.gone_cgroups = [], []
        self.published_process_joules = self.ledger.levels["process"].joules.sum(axis=0)

    def _gpu_load(self, domain: int) -> float:
        return float(min(self._gpu_use(domain)[1].sum(), 1.0))

    def _book(
        self, processes: Slices, cgroups: Slices, joules: Floats, dynamic: Floats, idle: Floats, elapsed: float
    ) -> None:
        by_process, by_container = self._share(processes), self._share(cgroups)
        groups = self.groups.of(cgroups.index)
        self.make_room()

        # Where nobody ran nothing can be charged. A slice that ended between the reads of the two tables may be seen
        # at one level only: both levels then account for the same joules, the other one in its overflow row.
        anyone = (by_process.total > 0) | (by_container.total > 0)
        charged = self.domains.by_package(dynamic, anyone)
        idle_sum = self.domains.by_component(idle)
        shared_idle = np.zeros_like(charged)
        if self._idle_policy != "none":
            shared_idle[:2] = self.domains.by_package(idle, anyone)[:2]
            idle_sum[:2] -= shared_idle[:2].sum(axis=1)
        users = self._gpu_users(dynamic)

        entries = {}
        for name, split, index, overflow in (
            ("process", by_process, processes.index, np.arange(self._packages)),
            ("container", by_container, groups, self.groups.of_row[: self._packages]),
        ):
            components = len(self.ledger.levels[name].components)
            idle_weights = self._idle_weights(name)
            # Without weights of its own, idle energy is shared like dynamic energy: by use.
            shared = charged if idle_weights is not None else charged + shared_idle
            pieces = [(index, split.charge(shared[:components]))]
            unseen = np.flatnonzero(anyone & (split.total == 0))
            pieces.append((overflow[unseen], shared[:components, unseen]))
            pieces += [self._gpu_piece(name, rows, part) for rows, part in users]
            if idle_weights is not None:
                everyone, weights = idle_weights
                pieces.append((everyone, shared_idle[:components].sum(axis=1, keepdims=True) * weights))
            entries[name] = Entry(
                np.concatenate([piece[0] for piece in pieces]), np.concatenate([piece[1] for piece in pieces], axis=1)
            )
        given = self.domains.by_package(dynamic, anyone)[: len(NODE)].sum(axis=1)
        given[GPU] = sum(float(share.sum()) for _, share in users)
        to_give = self.domains.by_component(dynamic)
        unattributed = to_give - given
        # Where all was given away the difference is rounding, of either sign; but counters do not fall.
        unattributed[unattributed < _ROUNDING * to_give] = 0.0
        gaps = self.ledger.book(self.domains.by_component(joules), idle_sum, unattributed, entries)
        for name, gap in gaps.items():
            if gap > GAP_LIMIT:
                self._report_gap(name, gap)

        self.seconds += np.bincount(groups, cgroups.alone_ns + cgroups.shared_ns, len(self.seconds)) * 1e-9
        if self.accounting.cycles:
            self.cycles += np.bincount(groups, cgroups.cycles, len(self.cycles))
        if elapsed > 0:
            entry = entries["container"]
            drawn = np.bincount(entry.index, entry.joules[: len(NODE)].sum(axis=0), len(self.peak_watts))
            np.maximum(self.peak_watts, drawn / elapsed, out=self.peak_watts)

    def _report_gap(self, name: str, gap: float) -> None:
        if not self.ledger.gap_exceeded[name]:
            log.error("the books of the %s level do not close: relative gap %.3g in one sample", name, gap)
        self.ledger.gap_exceeded[name] += 1

    def _share(self, slices: Slices) -> Split:
        return share(slices, self._packages, self._ratio, self.accounting.cycles, self.accounting.misses)

    # -- GPUs -------------------------------------------------------------------------------------------------------

    def _gpu_users(self, dynamic: Floats) -> list[tuple[NDArray[np.intp], Floats]]:
        """For each GPU that used energy: the process rows of its users and their joules."""
        users = []
        for domain in self.domains.gpus[dynamic[self.domains.gpus] > 0].tolist():
            pids, weights = self._gpu_use(domain)
            rows = [self._row_of(int(pid)) for pid in pids]
            known = [position for position, row in enumerate(rows) if row is not None]
            whole = float(weights.sum())
            if known and whole > 0:
                # A user whose row is not to be had leaves its share unattributed.
                index = np.array([rows[position] for position in known], np.intp)
                users.append((index, dynamic[domain] * weights[known] / whole))
        return users

    def _row_of(self, pid: int) -> int | None:
        row = self.accounting.row_of_process(pid)
        return self.accounting.adopt_process(pid) if row is None else row

    def _gpu_piece(self, level: str, rows: NDArray[np.intp], share: Floats) -> _Piece:
        if level == "container":
            rows = self.groups.of(self._machines.home(rows))
            self.make_room()
        joules = np.zeros((len(self.ledger.levels[level].components), len(rows)))
        joules[GPU] = share
        return rows, joules

    def _idle_weights(self, level: str) -> _Piece | None:
        """Everyone who is charged with idle energy whether it ran or not, and its part of 1; None for: by use.

        Processes ask for nothing, so by ``requests`` they are charged by use; so are containers where none asked.
        """
        if self._idle_policy == "equal" and level == "process":
            everyone = self.accounting.processes.used()
            weights = np.ones(len(everyone))
        elif self._idle_policy in ("equal", "requests") and level == "container":
            living = [(number, group.workload) for number, group in self.groups.living() if group.died is None]
            everyone = np.array([number for number, _ in living], np.intp)
            asked = [workload.cpu_request for _, workload in living]
            weights = np.ones(len(living)) if self._idle_policy == "equal" else np.array(asked)
        else:
            return None
        whole = weights.sum()
        return (everyone, weights / whole) if whole > 0 else None

    # -- births and deaths ------------------------------------------------------------------------------------------

    def _follow_cgroups(self, now: float) -> None:
        for event in self.accounting.cgroup_events():
            if event.removed:
                self._gone_cgroups[event.id] = now
            else:
                self._learn_path(event.id, event.path)
        if not self._gone_cgroups:
            return
        # A cgroup can be removed while its last process is still on its way out: give that one time to finish.
        due = [cgroup for cgroup, since in self._gone_cgroups.items() if now - since > _CGROUP_GRACE_SECONDS]
        if due:
            used = self.accounting.cgroups.used()
            rows = used[np.isin(self.accounting.cgroups.rows["id"][used], due)]
            for row in rows.tolist():
                self.accounting.retire_cgroup(row)
                self.groups.release_row(row, now)
            self.accounting.cgroups.recycle(rows)
            for cgroup in due:
                del self._gone_cgroups[cgroup]
            self.gone_cgroups += due

    def miss_cgroups(self, is_gone: Callable[[int], bool]) -> None:
        """Look for cgroups whose end nobody told: a burst of events can overflow, and some kernels have none."""
        cgroups = self.accounting.cgroups
        for cgroup in np.unique(cgroups.rows["id"][cgroups.used()]).tolist():
            if cgroup and cgroup not in self._gone_cgroups and is_gone(cgroup):
                self._gone_cgroups[cgroup] = self._last

    def _bury(self) -> None:
        """Settle rows that were already dead at the sample before, so that their last slice has been booked."""
        if len(self._dying):
            index, level = self._dying, self.ledger.levels["process"]
            rows = self.accounting.processes.rows[index]
            before = self.published_process_joules[index]
            joules = level.settle(index).sum(axis=0)
            self.published_process_joules[index] = 0.0
            self.departed.append(Departed(rows, joules, joules - before))
            self._machines.bury(index, self._last)
            self.accounting.processes.recycle(index)
        self._dying = self.accounting.dead()

    def make_room(self) -> None:
        """Columns by group grow with the number of groups."""
        short = len(self.groups) - len(self.seconds)
        if short > 0:
            pad = (0, max(short, len(self.seconds)))
            self.seconds, self.cycles = np.pad(self.seconds, pad), np.pad(self.cycles, pad)
            self.peak_watts = np.pad(self.peak_watts, (0, len(self.seconds) - len(self.peak_watts)))
            self.ledger.levels["container"].grow(len(self.seconds))
