"""A simulated machine: what every process draws is known, so what the collector says can be held against the truth.

Time goes in steps of 1 ms, the rate at which RAPL counters are updated. Nothing here measures anything real.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from kepler_ebpf.attribution.weights import Split, share
from kepler_ebpf.energy.believe import Believer
from kepler_ebpf.kernel.table import Slices

Floats = NDArray[np.float64]
STEP_SECONDS = 1e-3
IDLE = -1


@dataclass
class Machine:
    """Packages of cores of two hyperthreads each, and a schedule.

    ``watts``: float64[processes], what each draws on a core of its own. ``hertz``: float64[processes], the frequency of
    a core while it runs each, 2 GHz where not given. ``ratio``: the energy of two
    busy hyperthreads over that of one. ``schedule``: int64[cpus, steps], which process each CPU runs, or ``IDLE``; CPUs
    2k and 2k + 1 share a core. ``idle_watts``: of each package. ``unit_joules``, ``span``: of its energy counter.
    """

    watts: Floats
    schedule: NDArray[np.int64]
    packages: int = 1
    hertz: Floats | None = None
    ratio: float = 1.1
    idle_watts: float = 20.0
    unit_joules: float = 61e-6
    span: int = 2**32
    start: int = 0
    package_of_cpu: NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        cpus, steps = self.schedule.shape
        self.package_of_cpu = np.arange(cpus) * self.packages // cpus
        busy = self.schedule != IDLE
        self.both = busy & busy.reshape(-1, 2, steps)[:, ::-1].reshape(cpus, steps)
        power = np.where(busy, self.watts[self.schedule], 0.0) * np.where(self.both, self.ratio / 2, 1.0)
        self._joules = power * STEP_SECONDS
        self.counter = self._count()

    def _count(self) -> NDArray[np.int64]:
        """Each package's counter after each step, int64[packages, steps + 1], wrapped."""
        per_step = np.stack([self._joules[self.package_of_cpu == p].sum(axis=0) for p in range(self.packages)])
        whole = np.cumsum(per_step + self.idle_watts * STEP_SECONDS, axis=1)
        units = np.floor(np.concatenate((np.zeros((self.packages, 1)), whole), axis=1) / self.unit_joules)
        return (units.astype(np.int64) + self.start) % self.span

    def truth(self) -> Floats:
        """Dynamic joules of each process over the whole run."""
        joules = np.zeros(len(self.watts))
        busy = self.schedule != IDLE
        np.add.at(joules, self.schedule[busy], self._joules[busy])
        return joules

    def slices(self, begin: int, end: int) -> Slices:
        """What the kernel's rows would have gained between two steps: one row per process and package."""
        count = len(self.watts)
        alone, shared = np.zeros((2, self.packages * count))
        part, both = self.schedule[:, begin:end], self.both[:, begin:end]
        rows = np.where(part == IDLE, 0, part) + self.package_of_cpu[:, None] * count
        np.add.at(alone, rows[(part != IDLE) & ~both], STEP_SECONDS * 1e9)
        np.add.at(shared, rows[(part != IDLE) & both], STEP_SECONDS * 1e9)
        index = np.flatnonzero(alone + shared)
        hertz = np.full(count, 2e9) if self.hertz is None else self.hertz
        cycles = (alone + shared)[index] * 1e-9 * hertz[index % count]
        return Slices(
            np.zeros(len(index), np.intp),
            index,
            index // count,
            alone[index],
            shared[index],
            cycles,
            *np.zeros((2, len(index))),
        )


@dataclass(frozen=True)
class Result:
    """``joules``: float64[processes]. ``peak_watts``: highest power of any process's sample."""

    joules: Floats
    peak_watts: Floats


def collect(
    machine: Machine, sample_steps: int, ratio: float = 1.1, sum_first: bool = False, by_cycles: bool = False
) -> Result:
    """Sample the machine as the collector would, with its own counters and attribution.

    ``by_cycles``: weigh by cycles, as with a PMU, rather than by time. ``sum_first``: divide the sum over packages, as
    tools do that do not keep them apart.
    """
    count, steps = len(machine.watts), machine.schedule.shape[1]
    joules, peak = np.zeros(count), np.zeros(count)
    counters = [Believer(machine.span, machine.unit_joules, 2000.0, stands_still=True) for _ in machine.counter[:, 0]]
    for believer, value in zip(counters, machine.counter[:, 0]):
        believer.read(int(value), 0)
    for begin in range(0, steps, sample_steps):
        end = min(begin + sample_steps, steps)
        seconds = (end - begin) * STEP_SECONDS
        used = np.array(
            [
                counter.read(int(machine.counter[package, end]), round(end * STEP_SECONDS * 1e9)).joules
                for package, counter in enumerate(counters)
            ]
        )
        dynamic = np.maximum(used - machine.idle_watts * seconds, 0.0)
        slices = machine.slices(begin, end)
        if sum_first:
            slices = replace(slices, package=np.zeros_like(slices.package))
            dynamic = np.array([dynamic.sum()])
        split: Split = share(slices, 1, len(dynamic), ratio, by_cycles=by_cycles, by_misses=False)
        mine = np.zeros(count)
        np.add.at(mine, slices.index % count, split.charge(np.append(dynamic, 0.0)[np.newaxis, np.newaxis])[0])
        joules += mine
        peak = np.maximum(peak, mine / seconds)
    return Result(joules, peak)


def worst_error(found: Floats, truth: Floats) -> float:
    """Largest relative error of any process."""
    return float(np.max(np.abs(found - truth) / truth))
