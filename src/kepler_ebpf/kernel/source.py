"""What the collector needs of the kernel side: the protocol that :class:`.tables.BpfTables` and tests' fakes fulfil."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..columns import Indexes
from ..host.topology import Topology
from .launch import Loaded
from .table import Slices, Table

OVERFLOW_ROW = 0
"""The row, of either table, of what found no row of its own."""
KERNEL_CGROUP_ROW = 1
"""The cgroup row of all kernel threads."""


@dataclass(frozen=True)
class CgroupEvent:
    """A cgroup of the hierarchy that was made or removed. ``path``: below its root; empty if removed, or too long."""

    id: int
    removed: bool
    path: str


class KernelTables(Protocol):
    """Source 1: who ran on the CPUs, for how long.

    ``processes``, ``cgroups``: the tables. ``packages``: how many packages their slices tell apart, 1 where no meter
    does; slices name them by rank, below that. ``cycles``, ``misses``, ``instructions``: whether those are counted.
    ``loaded``: the programs, and what loading them cost.
    """

    processes: Table
    cgroups: Table
    packages: int
    cycles: bool
    misses: bool
    instructions: bool
    loaded: Loaded

    @property
    def topology(self) -> Topology:
        """The CPUs, as of the latest :meth:`follow_topology`."""

    @property
    def row_overflow_slices(self) -> int:
        """Slices booked to the overflow row since no row was free."""

    @property
    def cgroup_overflow_slices(self) -> int:
        """Slices booked to the overflow cgroup row since none was free."""

    def follow_topology(self) -> bool:
        """Take up what changed of the CPUs; whether anything did. To be called at each publication."""

    def cpus_per_package(self) -> Sequence[int]:
        """How many CPUs are online now, by package."""

    def look(self) -> None:
        """Read all counters as they are now, open slices included, for :meth:`tell`."""

    def keep(self, looks: int) -> None:
        """Forget all but the first of the looks since the latest :meth:`tell`; nothing is lost, the next has it all."""

    def tell(self) -> tuple[Slices, Slices]:
        """What processes and cgroups did from look to look since the last call, slices that were open included."""

    def has_cgroup_events(self) -> bool:
        """Whether :meth:`cgroup_events` has something to tell."""

    def has_many_dead(self) -> bool:
        """Whether so many processes have ended that their rows are wanted back soon."""

    @property
    def busy_seconds(self) -> Sequence[float]:
        """Cumulative CPU seconds of all tasks but the idle ones, by package, as of the latest look."""

    @property
    def sampled_ns(self) -> int:
        """When that was (CLOCK_MONOTONIC)."""

    def dead(self) -> Indexes:
        """Positions of process rows whose process is gone, given once each."""

    def recycle_processes(self, index: Indexes) -> None:
        """Give the rows of dead processes back to the kernel."""

    def sweep(self) -> None:
        """Mark rows dead whose process ended without the kernel telling us."""

    def row_of_process(self, tgid: int) -> int | None:
        """A row of this process, or None where it has not run since the collector started."""

    def adopt_process(self, tgid: int) -> int | None:
        """Make a row for a process that has not run; None where it is gone or no row is free."""

    def retire_cgroups(self, index: Indexes) -> None:
        """Let no new slice find these cgroups' rows."""

    def cgroup_events(self) -> Iterator[CgroupEvent]:
        """Cgroups that were made and removed since the last call, in order."""
