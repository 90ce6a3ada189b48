"""What the collector needs of the kernel side: the protocol that :class:`.tables.BpfTables` and tests' fakes fulfil."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..host.topology import Topology
from .launch import Loaded
from .table import Slices, Table


@dataclass(frozen=True)
class CgroupEvent:
    """A cgroup of the hierarchy that was made or removed. ``path``: below its root; empty if removed, or too long."""

    id: int
    removed: bool
    path: str


class KernelTables(Protocol):
    """Source 1: who ran on the CPUs, for how long.

    ``processes``, ``cgroups``: the tables. ``topology``: the CPUs. ``cycles``, ``misses``: whether those are counted.
    ``loaded``: the programs, and what loading them cost.
    """

    processes: Table
    cgroups: Table
    cycles: bool
    misses: bool
    loaded: Loaded

    @property
    def topology(self) -> Topology: ...

    @property
    def row_overflow_slices(self) -> int:
        """Slices booked to the overflow row since no row was free."""

    @property
    def cgroup_overflow_slices(self) -> int:
        """Slices booked to the overflow cgroup row since none was free."""

    def close_slices(self) -> None:
        """End the open slice on every CPU that runs something."""

    def sample(self) -> tuple[Slices, Slices]:
        """What processes and cgroups did since the last call."""

    def busy_seconds(self) -> NDArray[np.float64]:
        """Cumulative CPU seconds of all tasks but the idle ones, per package, float64[packages]."""

    def dead(self) -> NDArray[np.intp]:
        """Positions of process rows whose process is gone, given once each."""

    def sweep(self, everyone: bool = False) -> None:
        """Mark rows dead whose process ended without the kernel telling us."""

    def row_of_process(self, tgid: int) -> int | None:
        """A row of this process, or None where it has not run since the collector started."""

    def adopt_process(self, tgid: int) -> int | None:
        """Make a row for a process that has not run; None where it is gone or no row is free."""

    def retire_cgroup(self, index: int) -> None:
        """Let no new slice find this cgroup's row."""

    def cgroup_events(self) -> Iterator[CgroupEvent]:
        """Cgroups that were made and removed since the last call, in order."""
