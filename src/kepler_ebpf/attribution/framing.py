"""From readings and the slices they cover to frames: the same for live samples and for those that were recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..columns import NODE, WORKLOAD, Component, Floats, Indexes
from . import charging
from .charging import GpuUsers
from .everyone import Everyone, idle_weights
from .frame import CPU_COMPONENTS, Entry, Frames, Reading
from .stretches import Stretches, Told
from .weights import share

COMPONENTS: Mapping[str, tuple[Component, ...]] = {"process": NODE, "container": WORKLOAD}
"""Components that each level accounts for."""


@dataclass(frozen=True)
class Rules:
    """How energy is shared.

    ``packages``: how many the slices tell apart. ``by_cycles``, ``by_misses``: whether those were counted.
    ``idle_policy``: who is charged with idle energy: ``none``, ``proportional``, ``equal`` or ``requests``.
    ``overflow``: by level, intp[packages + 1], the row that stands in for a payer whose users are seen at the other
    level only.
    """

    packages: int
    hyperthread_ratio: float
    by_cycles: bool
    by_misses: bool
    idle_policy: str
    overflow: Mapping[str, Indexes]


def clocks(packages: int) -> int:
    """How many clocks there are: one for each component and payer, and one for CPU time, which every sample tells."""
    return len(CPU_COMPONENTS) * (packages + 1) + 1


def clocks_told(reading: Reading) -> Told:
    """Which clocks have told, with each sample, all there is. The clock of CPU time always has."""
    shape = len(reading.joules), clocks(reading.packages)
    everything, mute = np.ones(shape, np.bool_), np.zeros(shape, np.bool_)
    everything[:, :-1], mute[:, :-1] = reading.answered()
    return Told(everything, mute)


def _told(reading: Reading, everything: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which clocks have told anything with each sample: bool[k, clocks]. ``everything``: which have told all."""
    told = everything.copy()
    if not told.all():
        joules = reading.by_payer(reading.joules)
        of_clock = told[:, :-1].reshape(len(joules), len(CPU_COMPONENTS), -1)
        for component, clock in enumerate(charging.CLOCK_OF.tolist()):
            of_clock[:, clock] |= joules[:, component] > 0
    return told


def make_frames(
    rules: Rules,
    stretches: Stretches,
    reading: Reading,
    gpus: Sequence[GpuUsers],
    everyone: Everyone | None,
    seconds: Floats,
    busy_seconds: Floats,
) -> Frames:
    """Share what was read among those who ran since each clock told before.

    ``stretches``: its latest are of these k samples. ``reading``: of k samples. ``everyone``: all there are; some idle
    policies charge those too that did not run. ``seconds``, ``busy_seconds``: float64[k], wall and CPU time since the
    sample before. ``stretches`` is not changed.
    """
    weights = {} if everyone is None else idle_weights(rules.idle_policy, everyone)
    samples, shape = len(seconds), (len(CPU_COMPONENTS), rules.packages + 1)
    bills = []
    pieces: dict[str, list[Entry]] = {level: [] for level in COMPONENTS}
    everything = stretches.finished(clocks_told(reading))
    for told, stretch in stretches.owed(_told(reading, everything), everything):
        slices = {"process": stretch.processes, "container": stretch.workloads}
        splits = {
            level: share(ran, samples, rules.packages, rules.hyperthread_ratio, rules.by_cycles, rules.by_misses)
            for level, ran in slices.items()
        }
        bill, anyone = charging.bill(
            reading, told[:-1].reshape(shape), splits["process"], splits["container"], rules.idle_policy != "none"
        )
        bills.append(bill)
        for level, entries in pieces.items():
            split, components = splits[level], len(COMPONENTS[level])
            ran = charging.ran(slices[level], split, bool(told[-1]), rules.by_cycles)
            entries += charging.charge(bill, anyone, split, ran, components, rules.overflow[level], weights.get(level))
    for level, entries in pieces.items():
        entries += [charging.of_gpu(users, level, len(COMPONENTS[level])) for users in gpus]
    idle, unattributed = charging.rest(reading, bills, gpus)
    return Frames(
        seconds=seconds,
        busy_seconds=busy_seconds,
        reading=reading,
        ran=stretches.latest,
        measured=reading.by_component(reading.joules),
        idle=idle,
        unattributed=unattributed,
        watts=reading.by_component(reading.watts),
        process=Entry.joined(pieces["process"]),
        container=Entry.joined(pieces["container"]),
        everyone=everyone,
    )
