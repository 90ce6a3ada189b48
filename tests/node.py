"""A node for tests: a sampler over a fake kernel and meter, with a clock of its own."""

from __future__ import annotations

import numpy as np

from kepler_ebpf.attribution.frame import Frames
from kepler_ebpf.energy.source import Domain
from tests.fakes import FakeGpus, FakeTables, FakeWorkloads, sampler_over

DOMAINS = (
    *(Domain("package", number, "fake", str(number), idle_watts=2.0) for number in (0, 1)),
    *(Domain("dram", number, "fake", str(number), idle_watts=0.0) for number in (0, 1)),
    *(Domain("core", number, "fake", str(number)) for number in (0, 1)),
    Domain("gpu", 0, "fake", uuid="GPU-0", idle_watts=2.0),
    Domain("platform", 0, "fake", "0"),
)
SECONDS = 0.1


def package(index: int = 0, floor: float = 0.0) -> Domain:
    return Domain("package", index, "fake", str(index), idle_watts=floor)


class Node:
    """A sampler over a fake kernel and meter, with a clock of its own."""

    def __init__(
        self,
        domains: tuple[Domain, ...] = DOMAINS,
        packages: int = 2,
        policy: str = "none",
        batch_seconds: float = 0.0,
        **options: object,
    ) -> None:
        self.now = 0.0
        self.kernel = FakeTables(packages, **options)  # type: ignore[arg-type]
        self.source = FakeGpus(domains)
        self.workloads = FakeWorkloads()
        self.sampler = sampler_over(
            self.kernel,
            self.source,
            workloads=self.workloads,
            policy=policy,
            clock=lambda: self.now,
            batch_seconds=batch_seconds,
        )
        self.table = self.sampler.table
        self.ledger = self.sampler.ledger

    def tick(self, joules: np.ndarray, seconds: float = SECONDS) -> Frames:
        self.now += seconds
        self.source.use(joules, seconds)
        return self.sampler.sample()

    def look(self, joules: np.ndarray, seconds: float = SECONDS) -> Frames | None:
        """One sample, booked with others where that is due."""
        self.now += seconds
        self.source.use(joules, seconds)
        self.sampler.look()
        return self.sampler.book() if self.sampler.is_due else None

    def number(self, cgroup: int) -> int:
        return next(n for n, row in self.table.rows.items() if row.workload.container_id == f"c{cgroup}")

    def container(self, cgroup: int) -> float:
        return float(self.ledger.levels["container"].joules[:3, self.number(cgroup)].sum())

    def process(self, tgid: int) -> float:
        rows = self.kernel.processes.rows["tgid"] == tgid
        return float(self.ledger.levels["process"].joules[:, : len(rows)][:, rows].sum())
