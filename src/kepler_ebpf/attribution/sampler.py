"""Samples: read the kernel's tables and the meters; then, for several at once, split the joules and book the frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..columns import NODE, WORKLOAD, Indexes
from ..energy.gpu_use import HOLD_SECONDS
from ..energy.meter import Interval, Meter
from ..kernel.source import OVERFLOW_ROW, KernelTables
from ..workloads.source import Workloads
from .charging import GpuUsers
from .domains import DomainColumns, FloorOptions
from .everyone import Everyone, counts_everyone
from .frame import Frames, Reading, Stretch
from .framing import Rules, clocks, clocks_told, make_frames
from .ledger import Ledger, Level
from .lifecycle import Lifecycle
from .samples import GpuReading, Look, Sample, as_one, known_users
from .stretches import Stretches
from .vms import VirtualMachines
from .weights import DEFAULT_HYPERTHREAD_RATIO
from .workload_rows import WorkloadTable

_GPU_LINGER_SECONDS = HOLD_SECONDS + 1.0
_MOST_SAMPLES = 128
_MOST_CELLS = 1 << 16  # rows times samples: what is worked out at once has to fit into the caches


@dataclass(frozen=True)
class SamplerOptions:
    """``idle_policy``: who is charged with idle energy (:class:`.framing.Rules`). ``tell_everyone``: let every frame
    say who is there, whatever the policy: to be charged by another one later. ``batch_seconds``: about how much time is
    attributed at once; 0: every sample by itself, as an idle policy that asks who is there makes it, too."""

    floors: FloorOptions = field(default_factory=FloorOptions)
    idle_policy: str = "none"
    hyperthread_ratio: float = DEFAULT_HYPERTHREAD_RATIO
    tell_everyone: bool = False
    batch_seconds: float = 0.0


class Sampler:
    """Takes samples, and books them. Not thread-safe: one thread samples and publishes.

    :meth:`look` only copies counters, and costs little; :meth:`book` does all the rest, for all samples since it was
    called before. They are attributed one by one all the same: each one's joules to who ran in it.

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
        self._batch_seconds = 0.0 if counts_everyone(options.idle_policy) else options.batch_seconds
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
        self._looks: list[Look] = []  # of which the meters' readings are not worked out yet
        self._samples: list[Sample] = []  # not booked yet
        # A booking, and a sample, that failed leave what was read to the next one.
        self._owed: Sample | None = None
        self._interval: Interval | None = None
        self._looked = self._last = clock()  # the latest look, and the latest sample that is worked out
        tables.look()
        tables.tell()
        self._busy = tables.busy_seconds

    @property
    def owed_since(self) -> float:
        """Everything that ran before this moment has been charged (monotonic seconds)."""
        began = self._stretches.began
        if began is None:
            return self._samples[0].began if self._samples else self._last
        return began

    def sample(self) -> Frames:
        """Take one sample and book it, with those that were not booked yet."""
        self.look()
        frames = self.book()
        assert frames is not None
        return frames

    def look(self) -> None:
        """Take one sample, to be booked with others."""
        now = self._clock()
        if self.is_booked:
            # Not after the booking: until now, the rows that frames name are still those of who ran.
            self.lifecycle.settle_processes(now)
            self.lifecycle.recycle_cgroups(now)
        try:
            tables = self._tables
            tables.look()
            self.lifecycle.follow_cgroups(now)
            look = Look(self._looked, now, tables.busy_seconds, tables.cpus_per_package(), self.meter.look())
        except Exception:
            self._tables.keep(len(self._samples) + len(self._looks))
            raise
        self._looks.append(look)
        self._looked = now
        if self.meter.presses:  # users of GPUs, say, are looked for while they are there
            self._work_out()

    @property
    def is_booked(self) -> bool:
        """Whether no sample waits to be booked."""
        return not self._samples and not self._looks

    @property
    def is_pressed(self) -> bool:
        """Whether so many processes have ended that their rows are wanted back soon."""
        return self._tables.has_many_dead()

    @property
    def is_due(self) -> bool:
        """Whether samples are to be booked before the next one is taken."""
        waiting: list[Look | Sample] = [*self._samples, *self._looks]
        if not waiting:
            return False
        first, latest = waiting[0], waiting[-1]
        return (
            latest.ended - first.began + (latest.ended - latest.began) / 2 > self._batch_seconds
            or len(waiting) >= _MOST_SAMPLES
            or (len(waiting) + 1) * self._tables.processes.end > _MOST_CELLS
            or self.is_pressed
        )

    def book(self) -> Frames | None:
        """Book the samples that were taken since the last call; None where there are none."""
        self._work_out()
        if not self._samples:
            return None
        samples, self._samples = self._samples, []
        if self._owed is not None:
            samples[0], self._owed = samples[0].plus(self._owed), None
        try:
            frames = self._frames(samples)
            self.ledger.book(frames)
        except Exception:
            self._owed = as_one(samples)  # their slices and joules are owed to the next ones
            raise
        self._stretches.charged(clocks_told(frames.reading))
        # GPUs tell their users with a delay: who ended meanwhile is still to be found.
        linger = _GPU_LINGER_SECONDS if frames.reading.layout.is_gpu.any() else 0.0
        departed = self.lifecycle.find_dead(self._last, self.owed_since - linger)
        return frames if departed is None else replace(frames, departed=departed)

    def workloads_of(self, processes: Indexes) -> Indexes:
        """Rows of the container level that these process rows count for: intp[n]."""
        numbers = self.table.of_processes(self._tables.processes.rows[processes], self.home(processes))
        return np.where(numbers < 0, self.table.system, numbers)

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

    def _frames(self, samples: Sequence[Sample]) -> Frames:
        processes, cgroups = self._tables.tell()
        self.lifecycle.note_ran(cgroups.index, samples[-1].ended)
        cgroups = self._vms.split(processes, cgroups)
        workloads = cgroups.at(self.table.of(cgroups.index))
        # From here on nothing is lost where something fails.
        self._stretches.add(Stretch(np.array([sample.began for sample in samples]), processes, workloads))
        reading = self._domains.read(samples)
        return make_frames(
            self.rules,
            self._stretches,
            reading,
            self._gpu_users(samples, reading),
            Everyone(self._tables.processes.used(), *self.table.alive()) if self._tells_everyone else None,
            np.array([sample.seconds for sample in samples]),
            np.array([sample.busy_seconds[-1] for sample in samples]),
        )

    def _work_out(self) -> None:
        """Make samples of what was read at the looks. What a look that fails here has read is the next one's."""
        looks, self._looks = self._looks, []
        for look in looks:
            try:
                interval = self._interval = self.meter.take(look.meters).plus(self._interval)
                gpus = self._gpu_readings(interval)
            except Exception:
                self._tables.keep(len(self._samples))
                self._looked = self._last
                raise
            busy, wall = self._cpu_time(look)
            self._samples.append(Sample(self._last, look.ended, busy, wall, interval, self.meter.live, gpus))
            self._last, self._interval = look.ended, None

    def _cpu_time(self, look: Look) -> tuple[list[float], list[float]]:
        """CPU time in use, and there to be used, since the sample before, by payer."""
        wall = [cpus * (look.ended - self._last) for cpus in look.cpus]
        # More than there was where the tables were read later than the clock: the next sample has so much less.
        busy = [now - before for now, before in zip(look.busy_seconds, self._busy)]
        self._busy = look.busy_seconds
        return [*busy, sum(busy)], [*wall, sum(wall)]

    def _gpu_readings(self, interval: Interval) -> dict[int, GpuReading]:
        """By domain, of each GPU that told something: its load, its users, and where these are, as only known now."""
        found = {}
        for domain in self.meter.gpus:
            if interval.seconds[domain] > 0:
                pids, weights = self.meter.users(domain)
                rows, parts = known_users([self.lifecycle.row_of(pid) for pid in pids.tolist()], weights)
                levels = {"process": rows, "container": self.workloads_of(rows)}
                found[domain] = GpuReading(self.meter.load(domain), levels, parts)
        return found

    @staticmethod
    def _gpu_users(samples: Sequence[Sample], reading: Reading) -> list[GpuUsers]:
        """The rows of GPUs' users and their joules. What has no user that is known stays unattributed."""
        return [
            GpuUsers(number, gpu.rows, reading.dynamic[number, domain] * gpu.parts)
            for number, sample in enumerate(samples)
            for domain, gpu in sample.gpus.items()
            if len(gpu.parts) and reading.dynamic[number, domain] > 0
        ]
