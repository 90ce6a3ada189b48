"""One sample: close the running slices, read the meters, split the joules, book them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .attribution import hyperthread_weights, shares, split_idle
from .energy.meter import NODE_COMPONENTS, Meter
from .kernel.accounting import Accounting
from .kernel.table import Slices
from .ledger import Entry, Ledger, Level
from .rollup import Groups

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
PROCESS_COMPONENTS = NODE_COMPONENTS
CONTAINER_COMPONENTS = (*NODE_COMPONENTS, "core", "uncore")
_PACKAGE, _DRAM, _GPU = 0, 1, 2  # positions in both
IDLE_POLICIES = ("none", "proportional", "equal")
GAP_LIMIT = 1e-6
_CGROUP_GRACE_SECONDS = 5.0
_Piece = tuple[NDArray[np.intp], Floats]


class Floor(Protocol):
    """An idle floor that is learned on line, or set: ``watts`` is NaN until it is known."""

    @property
    def watts(self) -> float: ...

    def update(self, power_watts: float, utilization: float, seconds: float) -> None: ...


class GpuUse(Protocol):
    """Who used a GPU: process ids, int32[n], and their weights, float64[n], for a domain of the meter."""

    def __call__(self, domain: int) -> tuple[NDArray[np.int32], Floats]: ...


@dataclass(frozen=True)
class Departed:
    """Rows of processes that ended: a copy of their kernel rows and their joules (all, and those since publication)."""

    rows: NDArray[np.void]
    joules: Floats
    recent_joules: Floats


@dataclass(frozen=True)
class Split:
    """How the rows of one level share one sample: parts of their package, float64[n], and weight sums, float64[p]."""

    package: NDArray[np.intp]
    part: Floats
    dram_part: Floats
    total: Floats

    def charge(self, joules: Floats) -> Floats:
        """Joules by component and package, float64[c, p] → by component and row, float64[c, n]."""
        charged = joules[:, self.package] * self.part
        charged[_DRAM] = joules[_DRAM, self.package] * self.dram_part
        return charged


class Sampler:
    """Everything that happens once per sample. Not thread-safe: one thread samples and publishes.

    ``power_watts``: latest power of each domain, float64[d]. ``seconds_total``: time covered so far.
    """

    def __init__(
        self,
        accounting: Accounting,
        meter: Meter,
        groups: Groups,
        floor_of: Callable[[int], Floor],
        gpu_use: GpuUse,
        learn_path: Callable[[int, str], None],
        idle_policy: str = "none",
        hyperthread_ratio: float = 1.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.accounting = accounting
        self.meter = meter
        self.groups = groups
        self.ledger = Ledger(
            {
                "process": Level(PROCESS_COMPONENTS, accounting.processes.capacity),
                "container": Level(CONTAINER_COMPONENTS, max(len(groups), 64)),
            }
        )
        self._floor_of = floor_of
        self._floors: list[Floor] = []
        self._gpu_use = gpu_use
        self._learn_path = learn_path
        self._idle_policy = idle_policy
        self._ratio = hyperthread_ratio
        self._clock = clock
        self._packages = accounting.topology.packages
        self._threads = np.maximum(accounting.topology.cpus_per_package(), 1)
        self.domain_joules: Floats = np.zeros(0)
        self.power_watts: Floats = np.zeros(0)
        self._adopt_domains()
        self._dying = np.empty(0, np.intp)
        self._gone_cgroups: dict[int, float] = {}
        self._last = clock()
        self._busy = accounting.busy_seconds()
        accounting.close_slices()
        accounting.sample()
        self.seconds = np.zeros(64)  # CPU time by group
        self.cycles = np.zeros(64)
        self.busy_cpu_seconds = 0.0
        self.begin_publication()

    # -- the sample -------------------------------------------------------------------------------------------------

    def sample(self) -> float:
        """Take one sample. Returns the seconds since the one before."""
        now = self._clock()
        self._follow_cgroups(now)
        self.accounting.close_slices()
        processes, cgroups = self.accounting.sample()
        interval = self.meter.read()
        if len(self.meter.domains) != len(self.domain_joules):
            self._adopt_domains()
        elapsed, self._last = now - self._last, now
        busy = self.accounting.busy_seconds()
        utilization = np.clip((busy - self._busy) / (max(elapsed, 1e-9) * self._threads), 0.0, 1.0)
        self._busy = busy

        dynamic, idle = self._split_idle(interval.joules, interval.seconds, utilization)
        self._book(processes, cgroups, interval.joules, dynamic, idle, elapsed)
        self._measure_power(interval.joules, interval.seconds, elapsed, utilization)
        self._bury()
        return elapsed

    def begin_publication(self) -> None:
        """Start a new publication interval: peaks and means are taken since this moment."""
        self.peak_watts = np.zeros(max(len(self.groups), len(self.seconds)))
        self.node_peak_watts = 0.0
        self.departed: list[Departed] = []
        self.published_process_joules = self.ledger.levels["process"].joules.sum(axis=0)

    def _split_idle(self, joules: Floats, seconds: Floats, utilization: Floats) -> tuple[Floats, Floats]:
        """Teach the idle floors this sample, then part the joules of every domain."""
        watts = np.divide(joules, seconds, out=np.zeros(len(joules)), where=seconds > 0)
        for domain in np.flatnonzero(self._floored & (seconds > 0)).tolist():
            package = self._package[domain]
            load = float(utilization[package]) if package >= 0 else self._gpu_load(domain)
            self._floors[domain].update(float(watts[domain]), load, float(seconds[domain]))
            self.floor_watts[domain] = self._floors[domain].watts
        dynamic, idle = split_idle(joules, self.floor_watts, seconds)
        inner = np.flatnonzero(~self._floored & (self._package >= 0))
        if len(inner):
            # Core and uncore are inside the package: of what they used, as large a part is dynamic.
            whole = np.bincount(self._package[self._packaged], joules[self._packaged], self._packages)
            moving = np.bincount(self._package[self._packaged], dynamic[self._packaged], self._packages)
            ratio = np.divide(moving, whole, out=np.zeros(self._packages), where=whole > 0)
            dynamic[inner] = joules[inner] * ratio[self._package[inner]]
        return dynamic, idle

    def _gpu_load(self, domain: int) -> float:
        return float(min(self._gpu_use(domain)[1].sum(), 1.0))

    def _book(
        self, processes: Slices, cgroups: Slices, joules: Floats, dynamic: Floats, idle: Floats, elapsed: float
    ) -> None:
        self.domain_joules += joules
        by_process, by_container = self._share(processes), self._share(cgroups)
        groups = self.groups.of(cgroups.index, self._last)
        self._make_room()

        # Where nobody ran nothing can be charged. A slice that ended between the reads of the two tables may be seen
        # at one level only: both levels then account for the same joules, the other one in its overflow row.
        anyone = (by_process.total > 0) | (by_container.total > 0)
        charged = self._by_package(dynamic, anyone)
        idle_sum = self._by_component(idle)
        shared_idle = np.zeros_like(charged)
        if self._idle_policy != "none":
            shared_idle[:2] = self._by_package(idle, anyone)[:2]
            idle_sum[:2] -= shared_idle[:2].sum(axis=1)
        if self._idle_policy == "proportional":
            charged[:2] += shared_idle[:2]
        users = self._gpu_users(dynamic)

        entries = {}
        for name, split, index, overflow in (
            ("process", by_process, processes.index, np.arange(self._packages)),
            ("container", by_container, groups, self.groups.of_row[: self._packages]),
        ):
            components = len(self.ledger.levels[name].components)
            pieces = [(index, split.charge(charged[:components]))]
            unseen = np.flatnonzero(anyone & (split.total == 0))
            pieces.append((overflow[unseen], charged[:components, unseen]))
            pieces += [self._gpu_piece(name, rows, share) for rows, share in users]
            if self._idle_policy == "equal" and shared_idle.any():
                pieces.append(self._equal_piece(name, shared_idle[:components]))
            entries[name] = Entry(
                np.concatenate([piece[0] for piece in pieces]), np.concatenate([piece[1] for piece in pieces], axis=1)
            )
        given = self._by_package(dynamic, anyone)[: len(NODE_COMPONENTS)].sum(axis=1)
        given[_GPU] = sum(float(share.sum()) for _, share in users)
        unattributed = self._by_component(dynamic) - given
        gaps = self.ledger.book(self._by_component(joules), idle_sum, unattributed, entries)
        for name, gap in gaps.items():
            if gap > GAP_LIMIT:
                self._report_gap(name, gap)

        self.seconds += np.bincount(groups, cgroups.alone_ns + cgroups.shared_ns, len(self.seconds)) * 1e-9
        if self.accounting.cycles:
            self.cycles += np.bincount(groups, cgroups.cycles, len(self.cycles))
        if elapsed > 0:
            entry = entries["container"]
            drawn = np.bincount(entry.index, entry.joules[: len(NODE_COMPONENTS)].sum(axis=0), len(self.peak_watts))
            np.maximum(self.peak_watts, drawn / elapsed, out=self.peak_watts)

    def _report_gap(self, name: str, gap: float) -> None:
        if not self.ledger.gap_exceeded[name]:
            log.error("the books of the %s level do not close: relative gap %.3g in one sample", name, gap)
        self.ledger.gap_exceeded[name] += 1

    def _share(self, slices: Slices) -> Split:
        time_ns = slices.alone_ns + slices.shared_ns
        weights = hyperthread_weights(slices.alone_ns, slices.shared_ns, self._ratio)
        if self.accounting.cycles:
            weights = slices.cycles * np.divide(weights, time_ns, out=np.ones(len(time_ns)), where=time_ns > 0)
        part, total = shares(weights, slices.package, self._packages)
        dram_part = part
        if self.accounting.misses:
            by_misses, misses = shares(slices.misses, slices.package, self._packages)
            dram_part = np.where(misses[slices.package] > 0, by_misses, part)
        return Split(slices.package, part, dram_part, total)

    # -- domains ----------------------------------------------------------------------------------------------------

    def _adopt_domains(self) -> None:
        """Take up domains that the meter has come to offer."""
        ids = self.accounting.topology.package_ids
        known = len(self._floors)
        for domain in self.meter.domains[known:]:
            self._floors.append(self._floor_of(len(self._floors)))
            if domain.component != "gpu" and domain.index not in ids:
                log.warning("energy of package %d (%s): no CPU of ours is on it", domain.index, domain.source)
        self._component = self.meter.component
        self._package = np.array(
            [ids.index(d.index) if d.component != "gpu" and d.index in ids else -1 for d in self.meter.domains], np.intp
        )
        self._floored = np.isin(self._component, [Meter.COMPONENTS.index(c) for c in NODE_COMPONENTS])
        # Positions of each domain in the [component, package] matrix of the containers' components, -1 for none.
        self._row = np.array(
            [
                CONTAINER_COMPONENTS.index(d.component) if d.component in CONTAINER_COMPONENTS else -1
                for d in self.meter.domains
            ],
            np.intp,
        )
        self._summed = self._floored
        self._packaged = (self._component == Meter.COMPONENTS.index("package")) & (self._package >= 0)
        self._gpus = np.flatnonzero(self._component == Meter.COMPONENTS.index("gpu"))
        pad = (0, len(self.meter.domains) - known)
        self.domain_joules = np.pad(self.domain_joules, pad)
        self.power_watts = np.pad(self.power_watts, pad)
        self.floor_watts = np.array([floor.watts for floor in self._floors], np.float64)

    def _by_component(self, joules: Floats) -> Floats:
        """Sum over the domains that make up the node: float64[3]."""
        sums = np.zeros(len(NODE_COMPONENTS))
        np.add.at(sums, self._row[self._summed], joules[self._summed])
        return sums

    def _by_package(self, dynamic: Floats, where: NDArray[np.bool_]) -> Floats:
        """Dynamic joules as float64[components, packages], zero outside of ``where``.

        Domains on no package of ours stay out, and so end up unattributed.
        """
        sums = np.zeros((len(CONTAINER_COMPONENTS), self._packages))
        placed = (self._package >= 0) & (self._row >= 0)
        np.add.at(sums, (self._row[placed], self._package[placed]), dynamic[placed])
        return sums * where

    # -- GPUs -------------------------------------------------------------------------------------------------------

    def _gpu_users(self, dynamic: Floats) -> list[tuple[NDArray[np.intp], Floats]]:
        """For each GPU that used energy: the process rows of its users and their joules."""
        users = []
        for domain in self._gpus[dynamic[self._gpus] > 0].tolist():
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
            rows = self.groups.of(self.accounting.processes.rows["cgroup_row"][rows].astype(np.intp), self._last)
            self._make_room()
        joules = np.zeros((len(self.ledger.levels[level].components), len(rows)))
        joules[_GPU] = share
        return rows, joules

    def _equal_piece(self, level: str, idle: Floats) -> _Piece:
        """Idle energy in equal parts for everyone there is."""
        if level == "process":
            everyone = self.accounting.processes.used()
        else:
            everyone = np.array([number for number, group in self.groups.living() if group.died is None], np.intp)
        if not len(everyone):
            everyone = np.zeros(1, np.intp)  # nobody has a row: the overflow row stands for them
        whole = idle.sum(axis=1, keepdims=True)
        return everyone, np.repeat(whole / len(everyone), len(everyone), axis=1)

    # -- power ------------------------------------------------------------------------------------------------------

    def _measure_power(self, joules: Floats, seconds: Floats, elapsed: float, utilization: Floats) -> None:
        np.divide(joules, seconds, out=self.power_watts, where=seconds > 0)  # held where there is no new reading
        self.node_peak_watts = max(self.node_peak_watts, float(self.power_watts[self._summed].sum()))
        self.busy_cpu_seconds += float(utilization @ self._threads) * elapsed

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

    def _bury(self) -> None:
        """Settle rows that were already dead at the sample before, so that their last slice has been booked."""
        if len(self._dying):
            index, level = self._dying, self.ledger.levels["process"]
            rows = self.accounting.processes.rows[index]
            before = self.published_process_joules[index]
            joules = level.settle(index).sum(axis=0)
            self.published_process_joules[index] = 0.0
            self.departed.append(Departed(rows, joules, joules - before))
            self.accounting.processes.recycle(index)
        self._dying = self.accounting.dead()

    def _make_room(self) -> None:
        """Columns by group grow with the number of groups."""
        short = len(self.groups) - len(self.seconds)
        if short > 0:
            pad = (0, max(short, len(self.seconds)))
            self.seconds, self.cycles = np.pad(self.seconds, pad), np.pad(self.cycles, pad)
            self.peak_watts = np.pad(self.peak_watts, (0, len(self.seconds) - len(self.peak_watts)))
            self.ledger.levels["container"].grow(len(self.seconds))
