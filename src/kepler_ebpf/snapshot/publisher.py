"""From the books to one snapshot."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..attribution.sampler import Sampler
from ..columns import NODE
from ..kernel.source import KernelTables
from ..kernel.stats import program_stats
from ..workloads.source import Workloads
from .containers import ContainerSeries
from .processes import Candidates, ProcessSeries
from .types import Health, Loop, Node, Processes, Snapshot, Zone


@dataclass(frozen=True)
class SeriesOptions:
    """``processes``: most process series, None for no process families. ``hold_seconds``: how long the dead stay."""

    processes: int | None = 100
    hold_seconds: float = 120.0


class Publisher:
    """Makes the snapshots of one collector. Runs in the sampler's thread."""

    def __init__(
        self,
        sampler: Sampler,
        tables: KernelTables,
        workloads: Workloads,
        options: SeriesOptions,
        info: dict[str, str],
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``info``: labels of kepler_node_info that do not change. ``wall``: the time of day, for when series began."""
        self._ledger = sampler.ledger
        self._lifecycle = sampler.lifecycle
        self._tables = tables
        self._meter = sampler.meter
        self._workloads = workloads
        self._info = info
        self._number = 0
        self._wall, self._since = wall, wall()
        self._containers = ContainerSeries(
            self._ledger.levels["container"], sampler.table, workloads, options.hold_seconds
        )
        self._processes = (
            None
            if options.processes is None
            else ProcessSeries(
                options.processes, options.hold_seconds, workloads, self._since, self._ledger.levels["process"].exited
            )
        )

    def publish(self, loop: Loop, now: float, owed_since: float) -> Snapshot:
        """End the publication interval. ``owed_since``: what ran before this moment has been charged."""
        self._number += 1
        since, self._since = self._since, self._wall()
        self._ledger.end_publication()
        containers = self._containers.publish(now, owed_since, since)
        node_joules = containers.joules[: len(NODE)].sum(axis=0)
        snapshot = Snapshot(
            number=self._number,
            node=self._node(),
            zones=tuple(
                Zone(domain, joules)
                for domain, joules, live in zip(self._meter.domains, self._ledger.domains.tolist(), self._meter.live)
                if live
            ),
            containers=containers,
            pods=self._containers.pods.publish(
                containers.workloads, node_joules, containers.watts, containers.seconds, containers.began, now
            ),
            processes=self._publish_processes(now, since),
            health=self._health(loop),
            info=self._facts(),
            counts_cycles=self._tables.cycles,
        )
        self._lifecycle.forget_gone()
        return snapshot

    def _facts(self) -> dict[str, str]:
        """Labels of kepler_node_info. The model's are empty while a meter is read."""
        label = self._meter.label
        modelled = "model" in label.split("+")
        facts = {name: value for name, value in self._info.items() if modelled or not name.startswith("power_model")}
        return {**facts, "power_source": label}

    def _node(self) -> Node:
        ledger = self._ledger
        live = {domain.component for domain, live in zip(self._meter.domains, self._meter.live) if live}
        metered = np.array([component in live for component in NODE])
        watts = np.where(metered, ledger.watts, 0.0)
        return Node(
            joules=ledger.measured.copy(),
            idle_joules=ledger.idle.copy(),
            unattributed_joules=ledger.unattributed.copy(),
            component_watts=watts,
            has_component=(bool(metered[0]), bool(metered[1]), bool(metered[2])),
            max_watts=max(ledger.peak_watts, float(watts.sum())),  # the components of a mean may have peaked apart
            utilization=ledger.utilization(len(self._tables.topology.online)),
            idle_watts=self._floors("package"),
            gpu_idle_watts=self._floors("gpu"),
        )

    def _floors(self, component: str) -> dict[str, float]:
        """Idle floors of the live domains of one component, as far as they are known."""
        return {
            domain.label: float(watts)
            for domain, watts, live in zip(self._meter.domains, self._ledger.floor_watts, self._meter.live)
            if domain.component == component and live and not np.isnan(watts)
        }

    def _publish_processes(self, now: float, since: float) -> Processes | None:
        if self._processes is None:
            return None
        level, table = self._ledger.levels["process"], self._tables.processes
        candidates = Candidates.gather(
            table.rows, table.used(), level, self._lifecycle.departed, self._ledger.covered_seconds
        )
        return self._processes.publish(candidates, level.total(), self._ledger.charged_watts("process"), now, since)

    def _health(self, loop: Loop) -> Health:
        tables, ledger = self._tables, self._ledger
        seconds, runs = program_stats(tables.loaded.programs)
        return Health(
            loop=loop,
            rows_used={"process": len(tables.processes.used()), "cgroup": len(tables.cgroups.used())},
            rows_capacity={
                "process": tables.processes.capacity - tables.processes.reserved,
                "cgroup": tables.cgroups.capacity - tables.cgroups.reserved,
            },
            overflow_slices={"process": tables.row_overflow_slices, "cgroup": tables.cgroup_overflow_slices},
            source_errors=self._meter.errors(),
            name_errors=dict(self._workloads.faults),
            gap_ratio={level: ledger.relative_gap(level) for level in ledger.levels},
            gap_exceeded=dict(ledger.gap_exceeded),
            program_seconds=seconds,
            program_runs=runs,
            loader_seconds=tables.loaded.seconds,
            loader_peak_bytes=tables.loaded.peak_bytes,
        )
