"""What of some samples is charged, and to whom: pure functions from readings and slices to entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..columns import DRAM, GPU, NODE, PACKAGE, Floats, Indexes
from ..kernel.table import Slices
from .frame import Entry, Reading
from .weights import Split

_ROUNDING = 1e-12
CLOCK_OF = np.array([PACKAGE, DRAM, PACKAGE, PACKAGE, PACKAGE], np.intp)
"""The clock of each component of ``WORKLOAD``: core and uncore are inside the package; CPUs pay for no GPU."""
SHARED_IDLE = slice(PACKAGE, DRAM + 1)
"""Components whose idle energy an idle policy shares: a GPU's stays with the node."""


@dataclass(frozen=True)
class Bill:
    """Joules by sample, component and payer, float64[k, 5, packages + 1], to be shared among the rows of a level.

    ``dynamic``: by use. ``idle``: by the idle policy; 0 where that leaves it to the node.
    """

    dynamic: Floats
    idle: Floats


@dataclass(frozen=True)
class Ran:
    """Samples and rows of a level, intp[n] each, their CPU seconds and their cycles, float64[n] each."""

    sample: Indexes
    index: Indexes
    seconds: Floats
    cycles: Floats


@dataclass(frozen=True)
class GpuUsers:
    """Who used a GPU's dynamic energy in one sample. ``rows``: by level, intp[n]; ``joules``: float64[n]."""

    sample: int
    rows: Mapping[str, Indexes]
    joules: Floats


def bill(
    reading: Reading, clocks: NDArray[np.bool_], by_process: Split, by_workload: Split, idle_is_shared: bool
) -> tuple[Bill, NDArray[np.bool_]]:
    """What these clocks tell to be charged, and which payers had anyone run: bool[k, packages + 1].

    ``clocks``: bool[2, packages + 1], by component of ``CPU_COMPONENTS`` and payer. Where nobody ran nothing can be
    charged. A slice may be in one table and not yet in the other: who ran at one level counts for both.
    """
    anyone = (by_process.total > 0) | (by_workload.total > 0)
    charged = (anyone[:, np.newaxis] & clocks).take(CLOCK_OF, axis=1)
    idle = np.zeros(charged.shape)
    if idle_is_shared:
        idle[:, SHARED_IDLE] = reading.by_payer(reading.idle)[:, SHARED_IDLE] * charged[:, SHARED_IDLE]
    return Bill(reading.by_payer(reading.dynamic) * charged, idle), anyone


def charge(
    bill: Bill,
    anyone: NDArray[np.bool_],
    split: Split,
    ran: Ran,
    components: int,
    overflow: Indexes,
    idle_weights: tuple[Indexes, Floats] | None,
) -> list[Entry]:
    """Share a bill among the rows of one level; every joule of it is given to somebody.

    ``components``: how many the level accounts for. ``overflow``: intp[packages + 1], the row that stands in for a
    payer whose users are seen at the other level only. ``idle_weights``: rows and their fraction of the idle energy, or
    None: by use.
    """
    by_use = bill.dynamic if idle_weights is not None else bill.dynamic + bill.idle
    pieces = [Entry(ran.sample, ran.index, split.charge(by_use[:, :components]), ran.seconds, ran.cycles)]
    unseen = anyone & (split.total == 0)
    if unseen.any():
        sample, payer = unseen.nonzero()
        pieces.append(Entry.of_joules(sample, overflow[payer], by_use[sample, :components, payer].T))
    if idle_weights is not None:
        rows, weights = idle_weights
        joules = np.multiply.outer(bill.idle[:, :components].sum(axis=2).T, weights).reshape(components, -1)
        sample = np.repeat(np.arange(len(by_use)), len(rows))
        pieces.append(Entry.of_joules(sample, np.tile(rows, len(by_use)), joules))
    return pieces


def ran(slices: Slices, split: Split, new: bool, count_cycles: bool) -> Ran:
    """Who ran: CPU time and cycles where these are ``new``, and nothing where they were told."""
    if not new:
        nothing = np.zeros(len(slices.index))
        return Ran(slices.sample, slices.index, nothing, nothing)
    cycles = slices.cycles if count_cycles else np.zeros(len(slices.index))
    return Ran(slices.sample, slices.index, split.time_ns * 1e-9, cycles)


def of_gpu(users: GpuUsers, level: str, components: int) -> Entry:
    """GPU energy of these users at a level."""
    rows = users.rows[level]
    by_component = np.zeros((components, len(rows)))
    by_component[GPU] = users.joules
    return Entry.of_joules(np.full(len(rows), users.sample, np.intp), rows, by_component)


def rest(reading: Reading, bills: Sequence[Bill], gpus: Sequence[GpuUsers]) -> tuple[Floats, Floats]:
    """Idle and unattributed joules: what of readings is not charged to anybody, float64[k, 3] each."""
    dynamic, idle = reading.by_component(reading.dynamic), reading.by_component(reading.idle)
    shared_idle = sum((b.idle[:, : len(NODE)].sum(axis=2) for b in bills), np.zeros(idle.shape))
    given = sum((b.dynamic[:, : len(NODE)].sum(axis=2) for b in bills), np.zeros(idle.shape))
    for users in gpus:
        given[users.sample, GPU] += users.joules.sum()
    unattributed = dynamic - given
    # Where all was given away the difference is rounding, of either sign; but counters do not fall.
    unattributed[unattributed < _ROUNDING * dynamic] = 0.0
    return np.maximum(idle - shared_idle, 0.0), unattributed
