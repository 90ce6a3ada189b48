"""The values that samples hand on: what the meters said, and who is charged with it.

A frame is all that a consumer ever needs of a sample: the ledger adds frames up, a recorder writes them down, a page
draws them. Several samples are attributed at once, and their frames come as one value. Nobody changes one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..columns import DRAM, GPU, NODE, PACKAGE, WORKLOAD, Floats, Indexes, set_positions
from ..kernel.table import Slices
from .everyone import Everyone

CPU_COMPONENTS = (PACKAGE, DRAM)
"""What CPUs pay for; each has a clock of its own (:class:`Reading.answered`)."""


@dataclass(frozen=True)
class Layout:
    """What each of d domains counts for. It changes only when a domain comes: what is worked out here is kept.

    ``component``: intp[d], position in ``WORKLOAD``, -1 where workloads do not share it. ``payer``: intp[d], the
    package whose CPUs pay, or ``packages`` where all CPUs pay.
    """

    component: Indexes
    payer: Indexes
    packages: int

    @cached_property
    def is_node(self) -> NDArray[np.bool_]:
        """Which domains make up the node's energy, bool[d]."""
        return (self.component >= 0) & (self.component < len(NODE))

    @cached_property
    def is_gpu(self) -> NDArray[np.bool_]:
        """Which domains are GPUs, bool[d]."""
        return np.asarray(self.component == GPU)

    @cached_property
    def inside(self) -> Indexes:
        """Positions of domains that are inside a package: core and uncore."""
        return set_positions(self.component > GPU)

    @cached_property
    def to_node(self) -> Floats:
        """Sums a column by component over the domains that make up the node: float64[3, d], of 0 and 1."""
        return np.equal.outer(np.arange(len(NODE)), self.component).astype(np.float64)

    @cached_property
    def to_payers(self) -> Floats:
        """Sums a column by component and payer over what CPUs pay for: float64[5 * (packages + 1), d], of 0 and 1."""
        payers = self.packages + 1
        place = np.where((self.component >= 0) & ~self.is_gpu, self.component * payers + self.payer, -1)
        return np.equal.outer(np.arange(len(WORKLOAD) * payers), place).astype(np.float64)

    @cached_property
    def to_clocks(self) -> Floats:
        """The same for ``CPU_COMPONENTS`` alone: float64[2 * (packages + 1), d]."""
        return self.to_payers[: len(CPU_COMPONENTS) * (self.packages + 1)]


@dataclass(frozen=True)
class Reading:
    """What each of d domains used since its previous good reading: in one sample, or, with k in front, in k samples.

    ``joules``, ``seconds``: float64[d]; both 0 where there is no new reading. ``dynamic`` and ``idle``: float64[d], the
    two parts of ``joules``. ``watts``: float64[d], power at the latest reading. ``floor_watts``: float64[d], the idle
    floor, NaN where it is not known. ``live``: bool[d]. ``layout``: what the domains count for.
    """

    joules: Floats
    seconds: Floats
    dynamic: Floats
    idle: Floats
    watts: Floats
    floor_watts: Floats
    live: NDArray[np.bool_]
    layout: Layout

    @property
    def component(self) -> Indexes:
        """As in the layout: intp[d]."""
        return self.layout.component

    @property
    def payer(self) -> Indexes:
        """As in the layout: intp[d]."""
        return self.layout.payer

    @property
    def packages(self) -> int:
        """How many packages the rows tell apart."""
        return self.layout.packages

    @property
    def of_node(self) -> NDArray[np.bool_]:
        """Which domains make up the node's energy, bool[d]."""
        return self.layout.is_node

    def by_component(self, column: Floats) -> Floats:
        """Sums over the domains that make up the node: float64[3]."""
        sums: Floats = column @ self.layout.to_node.T
        return sums

    def by_payer(self, column: Floats) -> Floats:
        """Sums by component and payer over what CPUs pay for: float64[5, packages + 1]."""
        return (column @ self.layout.to_payers.T).reshape(*column.shape[:-1], len(WORKLOAD), self.packages + 1)

    def answered(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """By component and payer, bool[2 * (packages + 1)] each: has every live domain a new reading; is none live."""
        silent, live = (flags @ self.layout.to_clocks.T for flags in (self.live & (self.seconds <= 0), self.live))
        return np.asarray(silent == 0), np.asarray(live == 0)

    def of(self, sample: int) -> Reading:
        """That of one sample of several."""
        return Reading(
            self.joules[sample],
            self.seconds[sample],
            self.dynamic[sample],
            self.idle[sample],
            self.watts[sample],
            self.floor_watts[sample],
            self.live[sample],
            self.layout,
        )


@dataclass(frozen=True)
class Entry:
    """Samples at one level: row ``index[k]`` used ``joules[c, k]``, ``seconds[k]`` and ``cycles[k]`` in one of them.

    ``sample``: intp[n], in which, ascending. ``index``: intp[n]; it may name a row more than once. ``joules``:
    float64[components, n]. ``seconds``, ``cycles``: float64[n], CPU time and cycles.
    """

    sample: Indexes
    index: Indexes
    joules: Floats
    seconds: Floats
    cycles: Floats

    @classmethod
    def of_joules(cls, sample: Indexes, index: Indexes, joules: Floats) -> Entry:
        """Energy without CPU time."""
        nothing = np.zeros(len(index))
        return cls(sample, index, joules, nothing, nothing)

    def of(self, sample: int) -> Entry:
        """That of one sample of several."""
        first, last = self.sample.searchsorted((sample, sample + 1)).tolist()
        part = slice(first, last)
        nth = np.zeros(last - first, np.intp)
        return Entry(nth, self.index[part], self.joules[:, part], self.seconds[part], self.cycles[part])

    @classmethod
    def joined(cls, pieces: Sequence[Entry]) -> Entry:
        """All pieces as one. There is at least one."""
        if len(pieces) == 1:
            return pieces[0]
        sample = np.concatenate([piece.sample for piece in pieces])
        order = sample.argsort(kind="stable")
        return cls(
            sample[order],
            np.concatenate([piece.index for piece in pieces])[order],
            np.concatenate([piece.joules for piece in pieces], axis=1)[:, order],
            np.concatenate([piece.seconds for piece in pieces])[order],
            np.concatenate([piece.cycles for piece in pieces])[order],
        )


@dataclass(frozen=True)
class Stretch:
    """What processes and workloads did in one sample or several. ``began``: float64[k], when each began (monotonic
    seconds)."""

    began: Floats
    processes: Slices
    workloads: Slices

    def __len__(self) -> int:
        return len(self.processes.index) + len(self.workloads.index)

    def of(self, sample: int) -> Stretch:
        """That of one sample of several."""
        return Stretch(self.began[sample : sample + 1], self.processes.of(sample), self.workloads.of(sample))


@dataclass(frozen=True)
class Frame:
    """One sample.

    ``seconds``: wall time since the sample before. ``busy_seconds``: CPU time of everybody in it. ``reading``: what the
    meters said. ``ran``: who ran. ``measured``, ``idle``, ``unattributed``: joules by component of ``NODE``,
    float64[3]. ``watts``: float64[3], power by component at the latest readings. ``covered_seconds``: float64[3], the
    time that the joules of each component cover (:attr:`Frames.covered_seconds`). ``process``, ``container``: who is
    charged, at either level: ``measured = charged + idle + unattributed`` at both. ``everyone``: all there were, where
    the idle policy or a recorder asks for it. ``departed``: processes whose rows are given back before the next one.
    """

    seconds: float
    busy_seconds: float
    reading: Reading
    ran: Stretch
    measured: Floats
    idle: Floats
    unattributed: Floats
    watts: Floats
    covered_seconds: Floats
    process: Entry
    container: Entry
    everyone: Everyone | None = None
    departed: Departed | None = None


@dataclass(frozen=True)
class Frames:
    """k samples that were attributed at once: as :class:`Frame`, with k in front of every column.

    ``departed``: processes whose rows are given back before the next sample.
    """

    seconds: Floats
    busy_seconds: Floats
    reading: Reading
    ran: Stretch
    measured: Floats
    idle: Floats
    unattributed: Floats
    watts: Floats
    process: Entry
    container: Entry
    everyone: Everyone | None = None
    departed: Departed | None = None

    def __len__(self) -> int:
        return len(self.seconds)

    def __iter__(self) -> Iterator[Frame]:
        """Frame by frame; who departed does so with the last."""
        for sample in range(len(self) - 1):
            yield self._of(sample)
        yield self.last

    @property
    def last(self) -> Frame:
        """The frame of the latest sample."""
        return replace(self._of(len(self) - 1), departed=self.departed)

    @cached_property
    def covered_seconds(self) -> Floats:
        """The time that the joules of each component cover, float64[k, 3]; 0 where there is no new reading.

        A counter that is refreshed once a second, or could not be read for a while, gives joules of more time than
        the sample took. Power is joules over this time, so that neither shows as a peak.
        """
        by_domain = self.reading.layout.to_node * self.reading.seconds[:, np.newaxis]
        longest: Floats = by_domain.max(axis=2, initial=0.0)
        np.divide(self.measured, self.watts, out=longest, where=self.watts > 0)
        return longest

    def _of(self, sample: int) -> Frame:
        return Frame(
            float(self.seconds[sample]),
            float(self.busy_seconds[sample]),
            self.reading.of(sample),
            self.ran.of(sample),
            self.measured[sample],
            self.idle[sample],
            self.unattributed[sample],
            self.watts[sample],
            self.covered_seconds[sample],
            self.process.of(sample),
            self.container.of(sample),
            self.everyone,
        )


@dataclass(frozen=True)
class Departed:
    """Processes that ended.

    ``index``: intp[n], the rows that were theirs. ``rows``: a copy of these kernel rows, [n]. ``figures``:
    float64[f, n], what they used in all, in the order of ``Level.figures``; ``published``: likewise, as of the
    publication before.
    """

    index: Indexes
    rows: NDArray[np.void]
    figures: Floats
    published: Floats
