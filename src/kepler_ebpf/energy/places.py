"""Which package a meter's own number means: by rank, as the host's topology has it."""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

from ..errors import KeplerError
from ..host.fs import HostFS
from ..host.topology import Topology, packages_of_nodes, read_topology
from .source import ALL_PACKAGES

log = logging.getLogger(__name__)


class FollowsTopology(Protocol):
    """The kernel's tables, as far as they follow the topology: ranks of packages are given once, by one owner."""

    @property
    def topology(self) -> Topology: ...

    def follow_topology(self) -> bool: ...


class Places:
    """From numbers that sysfs files carry to ranks of packages.

    ``topology``: as it was found last; None: numbers are ranks (where no machine is at hand).
    """

    def __init__(self, topology: Topology | None = None) -> None:
        self.topology = topology
        self._cpus: FollowsTopology | None = None
        self._numbers: dict[str, set[int]] = {}  # by source: all that it ever had
        self._warned: set[tuple[str, int]] = set()

    def ask(self, cpus: FollowsTopology) -> None:
        """From now on the topology is what this tells."""
        self._cpus = cpus

    def follow(self, fs: HostFS) -> None:
        """Take up packages and CPUs that have come, before meters are looked for again."""
        if self._cpus is not None:
            self._cpus.follow_topology()
            self.topology = self._cpus.topology
        elif self.topology is not None:
            with suppress(KeplerError):
                self.topology = read_topology(fs, self.topology)

    @property
    def packages(self) -> int:
        """How many packages there are; 1 where that is not known."""
        return self.topology.packages if self.topology else 1

    def rank(self, number: int, numbers: Collection[int], source: str) -> int:
        """The rank of the package that a source calls ``number``, or ``ALL_PACKAGES`` with one warning.

        ``numbers``: all that the source has. They are the kernel's ids of packages, or simply counted: where they, and
        those that it had before, are not all ids, but as many as there are packages, their order is the order of ranks.
        """
        if self.topology is None:
            return number
        known = self._numbers.setdefault(source, set())
        known |= {number, *numbers}
        ranks = {one: self.topology.rank_of(one) for one in known}
        rank = ranks[number]
        if None in ranks.values() and len(ranks) == self.topology.packages:
            return sorted(ranks).index(number)  # counted, though a few of them may be ids as well
        if rank is not None:
            return rank
        if (source, number) not in self._warned:
            self._warned.add((source, number))
            log.warning("%s: no CPU is on package %d: all CPUs pay for its energy", source, number)
        return ALL_PACKAGES

    def of_nodes(self, fs: HostFS) -> dict[int, int]:
        """NUMA nodes that have CPUs, and the number (see :meth:`rank`) of the package that each is on."""
        return packages_of_nodes(fs, self.topology) if self.topology else {}

    @staticmethod
    def label(number: int, rank: int) -> str:
        """Value of the ``package`` label: the rank, whichever meter tells it; its own number where it has none.

        The two look different: ``1`` is the second package, ``id-1`` what a meter calls 1 and no CPU is on.
        """
        return f"id-{number}" if rank == ALL_PACKAGES else str(rank)

    def rank_of_cpu(self, cpu: int) -> int:
        """The rank of the package that a CPU is on; ``ALL_PACKAGES`` where it has never been seen."""
        if self.topology is None or cpu not in self.topology.online:
            return ALL_PACKAGES
        return self.topology.package[cpu]
