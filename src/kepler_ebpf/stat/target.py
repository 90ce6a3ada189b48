"""Whose energy is asked for: which entries of a frame count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..attribution.frame import Entry, Frame
from ..attribution.workload_rows import WorkloadTable
from ..columns import NODE, Floats, Indexes
from ..workloads.workload import Workload


@dataclass(frozen=True)
class Part:
    """What a target used in one frame. ``joules``: by component of ``NODE``, float64[3]."""

    joules: Floats
    cpu_seconds: float
    cycles: float

    @classmethod
    def of(cls, entry: Entry, take: Indexes) -> Part:
        """These positions of an entry."""
        return cls(
            entry.joules[: len(NODE), take].sum(axis=1),
            float(entry.seconds[take].sum()),
            float(entry.cycles[take].sum()),
        )


class Target(Protocol):
    """Whoever is measured."""

    def part(self, frame: Frame) -> Part:
        """What it used in this frame."""


@dataclass(frozen=True)
class WorkloadTarget:
    """One workload, at the level of containers: exact also for processes that live for less than a sample."""

    table: WorkloadTable
    workload: Workload

    def part(self, frame: Frame) -> Part:
        """See :class:`Target`."""
        number = self.table.number_of(self.workload)
        if number is None:  # nothing of it has run yet
            return Part(np.zeros(len(NODE)), 0.0, 0.0)
        return Part.of(frame.container, np.flatnonzero(frame.container.index == number))
