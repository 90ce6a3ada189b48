"""A history for tests: of a sampler over fakes."""

from __future__ import annotations

import numpy as np

from kepler_ebpf.energy.source import Domain
from kepler_ebpf.history.ring import History
from kepler_ebpf.history.step import Step
from tests.fakes import FakeSource, FakeTables, FakeWorkloads, sampler_over


class World:
    """A sampler over fakes with a history behind it; time goes where the test says."""

    def __init__(self, *domains: Domain, rows: int = 512, cgroups: int = 64, **options: float) -> None:
        self.now = 1000.0
        self.kernel = FakeTables(1, rows, cgroups)
        self.source = FakeSource(domains or (Domain("package", 0, "fake", idle_watts=10.0),))
        self.workloads = FakeWorkloads()
        self.sampler = sampler_over(self.kernel, self.source, workloads=self.workloads, clock=lambda: self.now)
        self.history = History(
            self.sampler,
            self.kernel,
            clock=lambda: self.now,
            wall=lambda: self.now + 5e8,
            **options,  # type: ignore[arg-type]
        )

    def frame(self, *joules: float, seconds: float = 0.1, runs: tuple[tuple[int, int], ...] = ((10, 1),)) -> None:
        """One sample in which these processes, each in its cgroup, ran equally long."""
        for tgid, cgroup in runs:
            self.kernel.run(tgid, cgroup, 0, round(seconds * 1e9 / len(runs)))
        self.now += seconds
        self.source.use(np.array(joules), seconds)
        self.history.add(self.sampler.sample())

    @property
    def last(self) -> Step:
        return self.history.steps[-1]
