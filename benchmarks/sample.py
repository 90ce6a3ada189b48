"""What one sample costs by the number of live rows. The rows are synthetic: no kernel is asked, every row has run."""

from __future__ import annotations

import statistics
import time

import numpy as np
from tests.fakes import FakeSource, FakeTables, sampler_over

from benchmarks.report import Figure
from kepler_ebpf.attribution.sampler import Sampler
from kepler_ebpf.energy.source import Domain

_GOALS_MS = {1_000: 0.5, 10_000: 2.0, 100_000: 25.0}
_ROUNDS = 40


def _machine(rows: int) -> tuple[Sampler, FakeTables, FakeSource]:
    """A sampler over ``rows`` live processes in 100 cgroups, on one package with DRAM."""
    kernel = FakeTables(1, rows + 2, 256)
    source = FakeSource((Domain("package", 0, "fake", idle_watts=10.0), Domain("dram", 0, "fake", idle_watts=10.0)))
    sampler = sampler_over(kernel, source)
    live = kernel.processes.rows[1 : rows + 1]
    live["tgid"] = np.arange(1, rows + 1)
    cgroups = kernel.cgroups.rows[2:102]
    cgroups["id"], cgroups["taken"] = np.arange(1, 101), 1
    sampler.sample()
    return sampler, kernel, source


def _sample_ms(rows: int, active: float) -> float:
    """Median milliseconds of a sample in which so large a part of the rows has run."""
    sampler, kernel, source = _machine(rows)
    live = kernel.processes.uses[1 : rows + 1]["alone_ns"][: max(int(rows * active), 1)]
    cgroups = kernel.cgroups.uses[2:102]["alone_ns"]
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
