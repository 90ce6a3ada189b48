"""A simulated machine whose meter's truth is known, on a clock of its own: only what is measured is real."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from kepler_ebpf.energy.source import Domain, Taking
from kepler_ebpf.stat.probe import Probe
from kepler_ebpf.stat.target import Lineage, Target, WorkloadTarget
from kepler_ebpf.stat.usage import Usage
from kepler_ebpf.workloads.workload import Workload
from tests.fakes import FakeSource, FakeTables, FakeWorkloads, sampler_over

STEP_SECONDS = 1e-3
COMMAND, OTHER = 7, 9
"""Cgroups."""
IDLE_WATTS = {"package": 10.0, "dram": 2.0}


class Refreshed(FakeSource):
    """A meter that shows what was used as of its latest refresh."""

    refresh_seconds = STEP_SECONDS
    _shown_at = 0

    def look(self) -> Taking:
        if self.now_ns - self._shown_at < round(self.refresh_seconds * 1e9):
            return lambda: None
        self._shown_at = self.now_ns
        return super().look()


@dataclass
class Program:
    """Processes of a cgroup that share a CPU: each runs for a step in turn. ``watts``: package and DRAM, while it runs.

    ``seconds``: how long it runs; infinity for what runs beside. ``children``: whether each step is a process of its
    own, which ends. ``busy``: the part of its steps in which it runs.
    """

    cgroup: int
    watts: tuple[float, float]
    seconds: float = float("inf")
    children: bool = False
    busy: float = 1.0


@dataclass
class Machine:
    """Two CPUs: one for the program that is measured, one for what runs beside it. It stands in for signals, too."""

    beside: Program = field(default_factory=lambda: Program(OTHER, (20.0, 1.0)))
    refresh_seconds: float = STEP_SECONDS
    seed: int = 1
    told: Sequence[int] = ()

    def __post_init__(self) -> None:
        self.now = 0.0
        self.kernel = FakeTables(1, cycles=True)
        self.source = Refreshed(
            tuple(Domain(name, 0, "fake", "0", idle_watts=IDLE_WATTS[name]) for name in ("package", "dram"))
        )
        self.source.refresh_seconds = self.refresh_seconds
        self.sampler = sampler_over(self.kernel, self.source, workloads=FakeWorkloads(), clock=lambda: self.now)
        self.probe = Probe(self.sampler, self, 0.01, cycles=True, clock=lambda: self.now)
        self.chance = random.Random(self.seed)
        self.program: Program | None = None
        self.truth = np.zeros(2)
        self.cpu_seconds = 0.0
        self._pid = 100

    def wait(self, seconds: float) -> None:
        """Time passes, a step at least, until the program ends at the latest."""
        until = self.now + max(seconds, STEP_SECONDS) - STEP_SECONDS / 2
        running = self.program is not None
        while self.now < until and (self.program is not None) == running:
            self._step()

    def measure(
        self,
        program: Program,
        target: Target | None = None,
        status: Callable[[], tuple[int | None, int]] = lambda: (0, 0),
    ) -> Usage:
        """One run of a program, by the real probe. ``status``: what is asked when it has ended."""
        self.truth, self.cpu_seconds = np.zeros(2), 0.0
        self.probe.begin()
        self.program, self._left = program, program.seconds
        return self.probe.watch(target or self.by_cgroup(), lambda: self.program is None, status)

    def by_cgroup(self) -> Target:
        return WorkloadTarget(self.sampler.table, Workload("container", f"c{COMMAND}"))

    def by_ancestry(self) -> Target:
        return Lineage(self.kernel.processes, [100], newcomers_only=True)

    def _step(self) -> None:
        joules = np.array([IDLE_WATTS["package"], IDLE_WATTS["dram"]]) * STEP_SECONDS
        for program in (self.beside, self.program):
            if program is not None and self.chance.random() < program.busy:
                self._run(program)
                joules += np.array(program.watts) * STEP_SECONDS
        self.source.use(joules, STEP_SECONDS)
        self.now += STEP_SECONDS
        if self.program is not None:
            self._left -= STEP_SECONDS
            if self._left <= STEP_SECONDS / 2:
                self.program = None

    def _run(self, program: Program) -> None:
        pid = 1 if program is self.beside else 100
        if program is self.program:
            self.truth += np.array(program.watts) * STEP_SECONDS
            self.cpu_seconds += STEP_SECONDS
            if program.children and self.chance.random() < 0.9:  # and the rest is their parent's
                self._pid += 1
                pid = self._pid
        # Cycles are as many as joules, so that the meter's truth is what cycles tell.
        self.kernel.run(pid, program.cgroup, 0, round(STEP_SECONDS * 1e9), cycles=round(program.watts[0] * 1e5))
        if pid > 100:
            row = self.kernel.row_of_process(pid)
            self.kernel.processes.rows["parent"][row] = 100
            self.kernel.processes.rows["start_ns"][row] = round(self.now * 1e9) + 1
            self.kernel.kill(pid)
