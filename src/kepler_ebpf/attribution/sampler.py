"""One sample: read the kernel's tables and the meters, split the joules, book the frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from ..columns import NODE, WORKLOAD, Floats, Indexes
from ..energy.gpu_use import HOLD_SECONDS
from ..energy.meter import Interval, Meter
from ..kernel.source import OVERFLOW_ROW, KernelTables
from ..workloads.source import Workloads
from .charging import GpuUsers
from .domains import DomainColumns, FloorOptions
from .everyone import Everyone, counts_everyone
from .frame import Frame, Reading, Stretch
from .framing import Rules, clocks, make_frame, settled
from .ledger import Ledger, Level
from .lifecycle import Lifecycle
from .stretches import Stretches
from .vms import VirtualMachines
from .weights import DEFAULT_HYPERTHREAD_RATIO
from .workload_rows import WorkloadTable

_GPU_LINGER_SECONDS = HOLD_SECONDS + 1.0


@dataclass(frozen=True)
class SamplerOptions:
    """``idle_policy``: who is charged with idle energy (:class:`.framing.Rules`). ``tell_everyone``: let every frame
    say who is there, whatever the policy: to be charged by another one later."""

    floors: FloorOptions = field(default_factory=FloorOptions)
    idle_policy: str = "none"
    hyperthread_ratio: float = DEFAULT_HYPERTHREAD_RATIO
    tell_everyone: bool = False


class Sampler:
    """Everything that happens once per sample. Not thread-safe: one thread samples and publishes.

    ``meter``: what is read. ``ledger``: the books. ``rules``: how energy is shared. ``table``: which workload each
    cgroup counts for. ``lifecycle``: births and deaths.
    """

    def __init__(
        self,
        tables: KernelTables,
        meter: Meter,
        table: WorkloadTable,
        workloads: Workloads,
        vms: VirtualMachines,
        options: SamplerOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.table = table
        self.ledger = Ledger({"process": Level(NODE, tables.processes.capacity), "container": Level(WORKLOAD, 64)})
        self.lifecycle = Lifecycle(tables, self.ledger.levels["process"], table, workloads, vms, clock())
        self._tables = tables
        self.meter = meter
        self._vms = vms
        options = options or SamplerOptions()
        self._tells_everyone = options.tell_everyone or counts_everyone(options.idle_policy)
        self._clock = clock
        self._packages = tables.packages
        self._domains = DomainColumns(meter, self._packages, options.floors)
        self.rules = Rules(
            self._packages,
            options.hyperthread_ratio,
            tables.cycles,
            tables.misses,
            options.idle_policy,
            {"process": np.full(self._packages + 1, OVERFLOW_ROW), "container": table.overflow},
        )
        self._stretches = Stretches(clocks(self._packages))
        self._owed: Interval | None = None  # read but not booked: a sample that failed left it to the next
        self._last = clock()
        tables.sample()
        self._busy = tables.busy_seconds

    @property
    def owed_since(self) -> float:
        """Everything that ran before this moment has been charged (monotonic seconds)."""
        began = self._stretches.began
        return self._last if began is None else began

    def sample(self) -> Frame:
        """Take one sample and book it."""
        now = self._clock()
        # Not at the end: until the next sample, the rows that a frame names are still those of who ran.
        self.lifecycle.settle_processes(now)
        self.lifecycle.recycle_cgroups(now)
        processes, cgroups = self._tables.sample()
        self.lifecycle.follow_cgroups(now)
        cgroups = self._vms.split(processes, cgroups)
        workloads = cgroups.at(self.table.of(cgroups.index))
        # From here on nothing is lost where something fails: slices and joules are owed to the next sample.
        self._stretches.add(Stretch(self._last, processes, workloads))
        interval = self._owed = self.meter.read().plus(self._owed)
        elapsed, self._last = now - self._last, now
        busy, wall = self._cpu_time(elapsed)
        reading = self._domains.read(interval, busy, wall)
        gpus = self._gpu_users(reading)
        everyone = self._everyone() if self._tells_everyone else None
        frame = make_frame(self.rules, self._stretches, reading, gpus, everyone, elapsed, float(busy[-1]))
        self.ledger.book(frame)
        self._owed = None
        self._stretches.settle(settled(reading))
        # GPUs tell their users with a delay: who ended meanwhile is still to be found.
        linger = _GPU_LINGER_SECONDS if frame.reading.layout.is_gpu.any() else 0.0
        departed = self.lifecycle.find_dead(now, self.owed_since - linger)
        return frame if departed is None else replace(frame, departed=departed)

    def workloads_of(self, processes: Indexes) -> Indexes:
        """Rows of the container level that these process rows count for: intp[n]."""
        return self.table.of(self.home(processes))

    def hold_floors(self) -> None:
        """Learn no more of idle floors, so that runs can be compared: a floor that is not known stays unknown."""
        self._domains.hold_floors()

    def begin_publication(self) -> None:
        """Start a new publication interval: peaks and means are taken since this moment."""
        self.ledger.begin_publication()
        self.lifecycle.begin_publication()

    def home(self, processes: Indexes) -> Indexes:
        """The kernel row, as ``table`` numbers them, that each of these process rows counts for."""
        return self._vms.home(processes)

    def _cpu_time(self, elapsed: float) -> tuple[Floats, Floats]:
        """CPU time in use, and there to be used, since the sample before: float64[packages + 1] by payer."""
        now = self._tables.busy_seconds
        busy, wall = np.empty(self._packages + 1), np.empty(self._packages + 1)
        np.multiply(self._tables.cpus_per_package(), elapsed, out=wall[:-1])
        np.minimum(now - self._busy, wall[:-1], out=busy[:-1])
        busy[-1], wall[-1] = busy[:-1].sum(), wall[:-1].sum()
        self._busy = now
        return busy, wall

    def _gpu_users(self, reading: Reading) -> list[GpuUsers]:
        """For each GPU that used energy: the process rows of its users and their joules."""
        found = []
        for domain in reading.gpus():
            pids, weights = self.meter.users(domain)
            rows = [self.lifecycle.row_of(pid) for pid in pids.tolist()]
            known = [position for position, row in enumerate(rows) if row is not None]
            whole = float(weights.sum())
            if known and whole > 0:
                # A user whose row is not to be had leaves its share unattributed.
                index = np.array([rows[position] for position in known], np.intp)
                joules = reading.dynamic[domain] * weights[known] / whole
                found.append(GpuUsers({"process": index, "container": self.workloads_of(index)}, joules))
        return found

    def _everyone(self) -> Everyone:
        return Everyone(self._tables.processes.used(), *self.table.alive())
