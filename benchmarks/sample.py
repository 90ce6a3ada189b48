"""What one sample costs by the number of live rows. The rows are synthetic: no kernel is asked, every row has run."""

from __future__ import annotations

import statistics
import time

import numpy as np
from tests.fakes import FakeSource, FakeTables, FixedFloor

from benchmarks.report import Figure
from kepler_ebpf.attribution.sampler import Sampler
from kepler_ebpf.attribution.vms import VirtualMachines
from kepler_ebpf.attribution.workload_rows import WorkloadTable
from kepler_ebpf.energy.meter import Meter
from kepler_ebpf.energy.source import Domain
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.workloads.workload import Workload

_GOALS_MS = {1_000: 0.5, 10_000: 2.0, 100_000: 25.0}
_ROUNDS = 40


def _machine(rows: int) -> tuple[Sampler, FakeTables, FakeSource]:
    """A sampler over ``rows`` live processes in 100 cgroups, on one package with DRAM."""
    kernel = FakeTables(1, rows + 2, 256)
    source = FakeSource((Domain("package", 0, "fake"), Domain("dram", 0, "fake")))
    groups = WorkloadTable(kernel, lambda cgroup: Workload("container", container_id=f"c{cgroup}"))  # type: ignore[arg-type]
    sampler = Sampler(
        kernel,  # type: ignore[arg-type]
        Meter([source]),
        groups,
        floor_of=lambda domain: FixedFloor(10.0),
        gpu_use=lambda domain: (np.empty(0, np.int32), np.empty(0)),
        learn_path=lambda cgroup, path: None,
        machines=VirtualMachines(HostFS(), kernel, groups),  # type: ignore[arg-type]
    )
    live = kernel.processes.rows[1 : rows + 1]
    live["tgid"] = np.arange(1, rows + 1)
    cgroups = kernel.cgroups.rows[2:102]
    cgroups["id"], cgroups["taken"] = np.arange(1, 101), 1
    sampler.sample()
    return sampler, kernel, source


def _sample_ms(rows: int, active: float) -> float:
    """Median milliseconds of a sample in which so large a part of the rows has run."""
    sampler, kernel, source = _machine(rows)
    live = kernel.processes.rows[1 : rows + 1]["alone_ns"][: max(int(rows * active), 1)]
    cgroups = kernel.cgroups.rows[2:102]["alone_ns"]
    times = []
    for _ in range(_ROUNDS):
        live += np.uint64(1_000_000)
        cgroups += np.uint64(1_000_000)
        source.use(np.array([5.0, 1.0]), 0.1)
        began = time.perf_counter()
        sampler.sample()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3


def measure() -> list[Figure]:
    """Medians, with all rows active and with one in twenty, and the slope between the sizes."""
    figures = []
    cost = {}
    for rows, goal in _GOALS_MS.items():
        cost[rows] = _sample_ms(rows, 1.0)
        figures.append(Figure(f"sample: {rows:,} rows, all active", cost[rows], "ms", goal, "synthetic rows"))
        figures.append(
            Figure(f"sample: {rows:,} rows, 5 % active", _sample_ms(rows, 0.05), "ms", goal, "synthetic rows")
        )
    slope = (cost[100_000] - cost[1_000]) / 99_000 * 1e6
    return [*figures, Figure("sample: slope", slope, "ns/row")]
