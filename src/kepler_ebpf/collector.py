"""The running collector: samples on a schedule, publishes snapshots, and hands them to whoever serves them."""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from .attribution.sampler import Sampler
from .attribution.vms import VirtualMachines
from .attribution.workload_rows import WorkloadTable
from .columns import NODE
from .config import Config
from .energy.meter import Meter
from .kernel.stats import program_stats
from .kernel.tables import BpfTables
from .schedule import Schedule
from .snapshot.containers import ContainerSeries, Names
from .snapshot.processes import ProcessSeries
from .snapshot.types import Health, Node, Process, Snapshot, Zone

log = logging.getLogger(__name__)

_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_ALIVE_FLOOR_SECONDS = 10.0
_SWEEP_SECONDS = 60.0


class Histogram:
    """Durations in cumulative buckets, as Prometheus counts them."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS_SECONDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(_BUCKETS_SECONDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> tuple[tuple[str, float], ...]:
        bounds = [*map(str, _BUCKETS_SECONDS), "+Inf"]
        return tuple(zip(bounds, map(float, accumulate(self._counts))))


class Collector:
    """Runs the sampler in a thread of its own. ``snapshot`` is replaced as a whole, never changed."""

    def __init__(
        self,
        config: Config,
        accounting: BpfTables,
        meter: Meter,
        sampler: Sampler,
        groups: WorkloadTable,
        machines: VirtualMachines,
        names: Names,
        info: dict[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.snapshot: Snapshot | None = None
        self._config = config
        self._accounting = accounting
        self._meter = meter
        self._sampler = sampler
        self._machines = machines
        self._names = names
        self._info = info
        self._clock = clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._durations = Histogram()
        self._samples = 0
        self._failed = 0
        self._failing = False
        self._last_tick = clock()
        self._published_at = clock()
        self._published_joules = sampler.ledger.measured.copy()
        self._published_busy = sampler.busy_cpu_seconds
        self._containers = ContainerSeries(sampler, groups, names, config.exit_hold)
        self._exited_figures = np.zeros(2)  # seconds and cycles of processes whose rows are gone
        self._swept_at = clock()
        self._series = (
            ProcessSeries(config.process_metrics, config.max_process_series, config.exit_hold, self._container_id_of)
            if config.process_metrics >= 0
            else None
        )
        self._schedule = Schedule(config.sample_interval, config.cpu_budget, clock())

    # -- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no further sample; returns when the one under way is done."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def alive(self) -> bool:
        """Whether the sampler has ticked recently."""
        running = self._thread is not None and self._thread.is_alive()
        return running and self._clock() - self._last_tick < max(_ALIVE_FLOOR_SECONDS, 3 * self._schedule.interval)

    def _run(self) -> None:
        due = self._schedule.next(self._clock())
        publish_at = self._published_at + self._config.metrics_interval
        first = True
        while not self._stop.wait(max(0.0, due - self._clock())):
            before, cpu_before = time.perf_counter(), time.thread_time()
            try:
                self.tick()
                now = self._clock()
                if now >= publish_at or first:
                    self.publish()
                    first = False
                    # On a grid of its own, so that publications do not drift with the samples.
                    while publish_at <= now:
                        publish_at += self._config.metrics_interval
                self._failing = False
            except Exception:
                self._failed += 1
                if not self._failing:
                    log.exception("a sample failed; the next one that does not covers its time and energy")
                self._failing = True
            self._durations.observe(time.perf_counter() - before)
            self._schedule.spent(time.thread_time() - cpu_before, self._clock())
            due = self._schedule.next(self._clock())

    def tick(self) -> None:
        """Take one sample now."""
        self._sampler.sample()
        self._samples += 1
        self._last_tick = self._clock()

    # -- publication ------------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """Make a snapshot of the books and put it in place of the one before."""
        now = self._clock()
        seconds = now - self._published_at
        number = self.snapshot.number + 1 if self.snapshot else 1
        thorough = now - self._swept_at > _SWEEP_SECONDS
        self._accounting.sweep(everyone=thorough)
        if thorough:
            self._sampler.miss_cgroups(self._names.is_gone)
            self._swept_at = now
        self._machines.look()
        containers = self._containers.publish(seconds, now)
        processes = self._processes(seconds, now)
        snapshot = Snapshot(
            number=number,
            node=self._node(seconds),
            zones=tuple(
                Zone(domain, joules)
                for domain, joules in zip(self._meter.domains, self._sampler.domains.joules.tolist())
            ),
            containers=containers,
            pods=self._containers.pods.publish(
                containers.workloads,
                containers.joules[: len(NODE)].sum(axis=0),
                containers.watts,
                containers.seconds,
                now,
            ),
            processes=processes,
            health=self._health(),
            info=self._info,
            counts_cycles=self._accounting.cycles,
        )
        self._published_at = now
        for cgroup_id in self._sampler.gone_cgroups:
            self._names.forget_cgroup(cgroup_id)
        self._sampler.begin_publication()
        self.snapshot = snapshot

    def _node(self, seconds: float) -> Node:
        sampler, ledger = self._sampler, self._sampler.ledger
        watts = (ledger.measured - self._published_joules) / seconds if seconds > 0 else np.zeros(len(NODE))
        self._published_joules = ledger.measured.copy()
        busy = sampler.busy_cpu_seconds - self._published_busy
        self._published_busy = sampler.busy_cpu_seconds
        threads = len(self._accounting.topology.online)
        metered = {domain.component for domain in self._meter.domains}
        return Node(
            joules=ledger.measured.copy(),
            idle_joules=ledger.idle.copy(),
            unattributed_joules=ledger.unattributed.copy(),
            component_watts=watts,
            has_component=("package" in metered, "dram" in metered, "gpu" in metered),
            max_watts=sampler.node_peak_watts,
            utilization=min(busy / (seconds * threads), 1.0) if seconds > 0 else 0.0,
            idle_watts=self._floors("package"),
            gpu_idle_watts=self._floors("gpu"),
        )

    def _floors(self, component: str) -> dict[str, float]:
        """Idle floors of the domains of one component, as far as they are known."""
        return {
            domain.zone or str(domain.index): float(watts)
            for domain, watts in zip(self._meter.domains, self._sampler.domains.floor_watts)
            if domain.component == component and not np.isnan(watts)
        }

    def _processes(self, seconds: float, now: float) -> tuple[Process, ...] | None:
        sampler, table = self._sampler, self._accounting.processes
        for gone in sampler.departed:
            self._exited_figures += _figures(gone.rows)
        if self._series is None:
            return None
        level = sampler.ledger.levels["process"]
        used = table.used()
        rows = table.rows[used]
        joules = level.joules[:, used].sum(axis=0)
        recent = joules - sampler.published_process_joules[used]
        live = _figures(rows) + _figures(table.rows[: table.reserved])
        total = np.concatenate(([float(level.total().sum())], live + self._exited_figures))
        return self._series.publish(rows, joules, recent, sampler.departed, total, seconds, now)

    def _container_id_of(self, cgroup_id: int) -> str:
        return self._names.identify(cgroup_id).container_id if cgroup_id else ""

    def _health(self) -> Health:
        accounting, ledger = self._accounting, self._sampler.ledger
        seconds, runs = program_stats(accounting.loaded.programs)
        return Health(
            samples=self._samples,
            late_samples=self._schedule.late,
            failed_samples=self._failed,
            sample_interval_seconds=self._schedule.interval,
            configured_interval_seconds=self._schedule.configured,
            sample_seconds_buckets=self._durations.buckets(),
            sample_seconds_sum=self._durations.sum,
            rows_used={"process": len(accounting.processes.used()), "cgroup": len(accounting.cgroups.used())},
            rows_capacity={
                "process": accounting.processes.capacity - accounting.processes.reserved,
                "cgroup": accounting.cgroups.capacity - accounting.cgroups.reserved,
            },
            overflow_slices={"process": accounting.row_overflow_slices, "cgroup": accounting.cgroup_overflow_slices},
            source_errors={
                (source.name, reason): count
                for source in self._meter.sources
                for reason, count in source.faults.items()
            },
            name_errors=self._names.faults(),
            gap_ratio={level: ledger.relative_gap(level) for level in ledger.levels},
            gap_exceeded=dict(ledger.gap_exceeded),
            program_seconds=seconds,
            program_runs=runs,
            loader_seconds=accounting.loaded.seconds,
            loader_peak_bytes=accounting.loaded.peak_bytes,
        )


def _figures(rows: NDArray[np.void]) -> NDArray[np.float64]:
    """Sums of CPU seconds and cycles, float64[2]."""
    return np.array([float((rows["alone_ns"] + rows["shared_ns"]).sum()) * 1e-9, float(rows["cycles"].sum())])
