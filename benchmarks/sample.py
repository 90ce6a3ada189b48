"""What one sample costs by the number of live rows, its part of the booking included, as ``serve`` books at 100 ms.

The rows are synthetic: no kernel is asked, every row has run.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
from tests.fakes import FakeSource, FakeTables, sampler_over

from benchmarks.report import Figure
from kepler_ebpf.attribution.sampler import Sampler
from kepler_ebpf.energy.source import Domain
from kepler_ebpf.host import allocator
from kepler_ebpf.kernel import layout
from kepler_ebpf.kernel.running import CpuRows, figures, of_cgroups, running
from kepler_ebpf.kernel.table import Table

_GOALS_MS = {1_000: 0.5, 10_000: 2.0, 100_000: 25.0}
_ROUNDS = 20
_INTERVAL_SECONDS, _BATCH_SECONDS = 0.1, 1.0
_FEW_CPUS, _MANY_CPUS, _GOAL_OF_CPUS_MS = 2, 512, 1.0


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _machine(rows: int, clock: _Clock) -> tuple[Sampler, FakeTables, FakeSource]:
    """A sampler over ``rows`` live processes in 100 cgroups, on one package with DRAM."""
    kernel = FakeTables(1, rows + 2, 256)
    source = FakeSource((Domain("package", 0, "fake", idle_watts=10.0), Domain("dram", 0, "fake", idle_watts=10.0)))
    sampler = sampler_over(kernel, source, clock=clock, batch_seconds=_BATCH_SECONDS)
    live = kernel.processes.rows[1 : rows + 1]
    live["tgid"] = np.arange(1, rows + 1)
    cgroups = kernel.cgroups.rows[2:102]
    cgroups["id"], cgroups["taken"] = np.arange(1, 101), 1
    sampler.sample()
    return sampler, kernel, source


def _sample_ms(rows: int, active: float) -> float:
    """Median, over bookings, of the milliseconds of a sample in which so large a part of the rows has run."""
    clock = _Clock()
    sampler, kernel, source = _machine(rows, clock)
    live = kernel.processes.uses[1 : rows + 1]["alone_ns"][: max(int(rows * active), 1)]
    cgroups = kernel.cgroups.uses[2:102]["alone_ns"]
    times: list[float] = []
    spent, samples = 0.0, 0
    while len(times) < _ROUNDS:
        live += np.uint64(1_000_000)
        cgroups += np.uint64(1_000_000)
        clock.now += _INTERVAL_SECONDS
        source.use(np.array([5.0, 1.0]), _INTERVAL_SECONDS)
        began = time.perf_counter()
        sampler.look()
        if sampler.is_due:
            sampler.book()
        spent, samples = spent + time.perf_counter() - began, samples + 1
        if sampler.is_booked:
            times.append(spent / samples)
            spent, samples = 0.0, 0
    return statistics.median(times) * 1e3


def _open_slices_ms(cpus: int) -> float:
    """Median milliseconds of a sample of a thousand rows, with a slice that is open on each of so many CPUs."""
    rows = np.zeros(cpus, layout.CPU)
    rows["sibling"] = np.arange(cpus) ^ 1
    rows["since_ns"], rows["task"] = 1, 1
    rows["use"], rows["cgroup_use"] = np.arange(cpus) % 900 + 1, 2
    table = Table(np.zeros(1_000, layout.PROCESS), np.zeros(1_000, layout.USE), "tgid", 1)
    table.rows["tgid"][1:901] = 1
    machine = CpuRows(rows)
    looks, times = round(_BATCH_SECONDS / _INTERVAL_SECONDS), []
    for _ in range(3 * _ROUNDS):
        seen = []
        began = time.perf_counter()
        for _ in range(looks):
            table.look()
            seen.append(machine.look())
        slices = running(seen)
        used = figures(slices, table.seen())
        of_cgroups(slices, used)
        table.tell(slices.look, slices.use, used)
        times.append((time.perf_counter() - began) / looks)
    return statistics.median(times) * 1e3


def _busy_cpus() -> Figure:
    few, many = _open_slices_ms(_FEW_CPUS), _open_slices_ms(_MANY_CPUS)
    name = f"sample: {_MANY_CPUS} busy CPUs, more than {_FEW_CPUS}"
    return Figure(name, many - few, "ms", _GOAL_OF_CPUS_MS, f"synthetic rows; {few:.3f} ms with {_FEW_CPUS}")


def measure() -> list[Figure]:
    """Medians, with all rows active and with one in twenty, and the slope between the sizes."""
    allocator.keep_a_little()
    found = []
    cost = {}
    for rows, goal in _GOALS_MS.items():
        cost[rows] = _sample_ms(rows, 1.0)
        found.append(Figure(f"sample: {rows:,} rows, all active", cost[rows], "ms", goal, "synthetic rows"))
        found.append(Figure(f"sample: {rows:,} rows, 5 % active", _sample_ms(rows, 0.05), "ms", goal, "synthetic rows"))
    slope = (cost[100_000] - cost[1_000]) / 99_000 * 1e6
    return [*found, Figure("sample: slope", slope, "ns/row"), _busy_cpus()]
