"""The books: every joule that was measured, and where it went. Sums of frames; ``charging`` decides who pays.

At each level (processes, containers) ``Σ rows + exited + idle + unattributed = measured`` holds after every sample.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from ..columns import NODE, Component, Floats, Indexes, set_positions
from .frame import Entry, Frames

log = logging.getLogger(__name__)

GAP_LIMIT = 1e-6


class Level:
    """All columns of the rows of one level. Nobody else writes to them.

    ``figures``: float64[components + 2, rows], cumulative: joules by component, then CPU seconds and cycles;
    ``joules``, ``seconds`` and ``cycles`` are views of it. ``peak_watts``: float64[rows], highest power in one frame
    since the publication began. The first components are those of ``NODE``; a level may keep further ones, which are
    inside them (core, uncore) and take no part in the books. ``exited``: float64[components + 2], figures of rows that
    are settled. ``lives``: int64[rows], how often each was settled: with another number a row is another's.
    """

    def __init__(self, components: tuple[Component, ...], rows: int) -> None:
        self.components = components
        self.exited = np.zeros(len(components) + 2)
        self._end = 0  # behind the last row that was ever booked
        self._columns = np.zeros((2 * (len(components) + 2) + len(NODE) + 1, rows))
        self.lives = np.zeros(rows, np.int64)
        self._name_columns()

    def _name_columns(self) -> None:
        figures = len(self.components) + 2
        self.figures, self._published = self._columns[:figures], self._columns[figures : 2 * figures]
        self._watts, self.peak_watts = self._columns[2 * figures : -1], self._columns[-1]
        self.joules, self.seconds, self.cycles = self.figures[:-2], self.figures[-2], self.figures[-1]

    @property
    def rows(self) -> int:
        """How many rows there is room for."""
        return self._columns.shape[1]

    @property
    def end(self) -> int:
        """Behind the last row that was ever booked."""
        return self._end

    def book(self, entry: Entry, covered_seconds: Floats) -> None:
        """Add frames' entry. ``covered_seconds``: float64[k, 3], the time that each component's joules cover."""
        if not len(entry.index):
            return
        end = self._end = max(self._end, int(entry.index.max()) + 1)
        self.grow(end)
        watts = np.zeros(len(entry.index))
        per_second = np.divide(1.0, covered_seconds, out=np.zeros(covered_seconds.shape), where=covered_seconds > 0)
        for component in set_positions(np.logical_or.reduce(entry.joules, axis=1)).tolist():
            self.joules[component, :end] += np.bincount(entry.index, entry.joules[component], end)
            if component < len(NODE):
                watts += entry.joules[component] * per_second[:, component].take(entry.sample)
        peaks = np.bincount(entry.sample * end + entry.index, watts, len(per_second) * end).reshape(-1, end).max(axis=0)
        np.maximum(self.peak_watts[:end], peaks, out=self.peak_watts[:end])
        self.seconds[:end] += np.bincount(entry.index, entry.seconds, end)
        if np.logical_or.reduce(entry.cycles):
            self.cycles[:end] += np.bincount(entry.index, entry.cycles, end)

    def settle(self, index: Indexes) -> None:
        """Close the accounts of rows that are no more: their figures go to ``exited``, and the rows begin at 0."""
        self.exited += self.figures[:, index].sum(axis=1)
        self._columns[:, index] = 0.0
        self.lives[index] += 1

    def grow(self, rows: int) -> None:
        """Make room for at least this many rows."""
        short = rows - self.rows
        if short > 0:
            more = (0, max(short, self.rows))
            self._columns, self.lives = np.pad(self._columns, ((0, 0), more)), np.pad(self.lives, more)
            self._name_columns()

    def end_publication(self, covered_seconds: Floats) -> None:
        """Take the mean powers of the publication. ``covered_seconds``: float64[3], what its joules cover.

        Of a component that nothing was read of the power stays what it was.
        """
        read = set_positions(covered_seconds > 0)
        used = (self.figures[read] - self._published[read])[:, : self._end]
        self._watts[read, : self._end] = used / covered_seconds[read, np.newaxis]

    def begin_publication(self) -> None:
        """From here on count what belongs to the next publication."""
        self._published[:, : self._end] = self.figures[:, : self._end]
        self.peak_watts[: self._end] = 0.0

    def published(self, index: Indexes) -> Floats:
        """Figures of these rows when the publication began: float64[components + 2, n]."""
        return self._published[:, index]

    def watts(self, index: Indexes) -> Floats:
        """Mean power of these rows in the publication that ended: float64[n]."""
        watts: Floats = self._watts[:, index].sum(axis=0)
        return watts

    def total(self) -> Floats:
        """All that was ever booked here, float64[components + 2]."""
        total: Floats = self.figures[:, : self._end].sum(axis=1) + self.exited
        return total


class Ledger:
    """The node's books.

    ``measured``, ``idle``, ``unattributed``: cumulative joules by component, float64[3]. ``domains``: float64[d],
    cumulative joules of each domain; ``floor_watts``: likewise, its idle floor, NaN where unknown. ``busy_seconds``:
    CPU time of everybody. Since the publication began: ``covered_seconds``, float64[3], time that the joules of each
    component cover; ``peak_watts``, of the node. ``watts``: float64[3], mean power by component in the publication that
    ended. ``gap_exceeded``: by level, frames that did not close.
    """

    def __init__(self, levels: dict[str, Level]) -> None:
        self.levels = levels
        self.measured = np.zeros(len(NODE))
        self.idle = np.zeros(len(NODE))
        self.unattributed = np.zeros(len(NODE))
        self.domains = np.zeros(0)
        self.floor_watts = np.zeros(0)
        self.busy_seconds = 0.0
        self.gap_exceeded = dict.fromkeys(levels, 0)
        self.watts = np.zeros(len(NODE))
        self._charged_watts = {name: np.zeros(len(NODE)) for name in levels}
        self._begin()

    def _begin(self) -> None:
        self.covered_seconds = np.zeros(len(NODE))
        self.peak_watts = 0.0
        self._seconds = 0.0
        self._published_charged = {name: level.total()[: len(NODE)] for name, level in self.levels.items()}
        self._published_measured, self._published_busy = self.measured.copy(), self.busy_seconds

    def book(self, frames: Frames) -> None:
        """Add frames. One whose levels do not account for what was measured is counted, and logged once."""
        covered, reading = frames.covered_seconds, frames.reading
        if len(self.domains) < reading.joules.shape[1]:
            self.domains = np.pad(self.domains, (0, reading.joules.shape[1] - len(self.domains)))
        self.domains += reading.joules.sum(axis=0)
        self.floor_watts = reading.floor_watts[-1]
        self.measured += frames.measured.sum(axis=0)
        self.idle += frames.idle.sum(axis=0)
        self.unattributed += frames.unattributed.sum(axis=0)
        self.busy_seconds += float(frames.busy_seconds.sum())
        self.covered_seconds += covered.sum(axis=0)
        self.peak_watts = max(self.peak_watts, float(frames.watts.sum(axis=1).max()))
        self._seconds += float(frames.seconds.sum())
        whole = frames.measured.sum(axis=1)
        rest = (frames.idle + frames.unattributed).sum(axis=1)
        for name, entry in (("process", frames.process), ("container", frames.container)):
            self.levels[name].book(entry, covered)
            booked = np.bincount(entry.sample, entry.joules[: len(NODE)].sum(axis=0), len(frames)) + rest
            gap = np.abs(booked - whole)
            np.divide(gap, whole, out=gap, where=whole > 0)
            exceeded = int(np.count_nonzero(gap > GAP_LIMIT))
            if exceeded and not self.gap_exceeded[name]:
                log.error("the books of the %s level do not close: relative gap %.3g in one sample", name, gap.max())
            self.gap_exceeded[name] += exceeded

    def end_publication(self) -> None:
        """Take the mean powers of the publication: of the node, and of every row."""
        used = self.measured - self._published_measured
        np.divide(used, self.covered_seconds, out=self.watts, where=self.covered_seconds > 0)
        for name, level in self.levels.items():
            level.end_publication(self.covered_seconds)
            charged = level.total()[: len(NODE)] - self._published_charged[name]
            read = self.covered_seconds > 0
            np.divide(charged, self.covered_seconds, out=self._charged_watts[name], where=read)

    def begin_publication(self) -> None:
        """From here on count what belongs to the next publication."""
        self._begin()
        for level in self.levels.values():
            level.begin_publication()

    def charged_watts(self, level: str) -> float:
        """Mean power of all rows of a level, the settled included, in the publication that ended."""
        return float(self._charged_watts[level].sum())

    def utilization(self, threads: int) -> float:
        """Fraction of the time of this many hardware threads that was not idle, since the publication began."""
        whole = self._seconds * threads
        return min((self.busy_seconds - self._published_busy) / whole, 1.0) if whole > 0 else 0.0

    def resume(
        self,
        measured: Floats,
        idle: Floats,
        unattributed: Floats,
        exited: Mapping[str, Floats],
        domains: Floats,
    ) -> None:
        """Go on from the books of a collector that was here before; nothing has been booked yet.

        All cumulative; ``exited``: by level, all figures of its rows, none of which are ours.
        """
        self.measured, self.idle, self.unattributed = measured.copy(), idle.copy(), unattributed.copy()
        self.domains = domains.copy()
        for name, level in self.levels.items():
            level.exited = exited[name].copy()
        self._begin()

    def relative_gap(self, level: str) -> float:
        """How far a level's books are from what was measured since the start, relative to it."""
        whole = float(self.measured.sum())
        booked = float(self.levels[level].total()[: len(NODE)].sum() + self.idle.sum() + self.unattributed.sum())
        return abs(booked - whole) / whole if whole > 0 else abs(booked)
