"""The books: every joule that was measured, and where it went. Sums only; who decides is ``attribution``.

At each level (processes, containers) ``Σ rows + exited + idle + unattributed = measured`` holds after every sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..columns import NODE, Component, Floats


@dataclass(frozen=True)
class Entry:
    """One sample's joules at one level: ``joules[c, k]`` of component c belong to row ``index[k]``.

    ``index`` may name a row more than once.
    """

    index: NDArray[np.intp]
    joules: Floats


class Level:
    """Cumulative joules of the rows of one level: ``joules``, float64[components, rows].

    The first components are those of ``NODE``; a level may keep further ones, which overlap them (core, uncore) and
    take no part in the books. ``exited``: float64[components], what rows had used that are no longer there.
    """

    def __init__(self, components: tuple[Component, ...], rows: int) -> None:
        self.components = components
        self.joules = np.zeros((len(components), rows))
        self.exited = np.zeros(len(components))

    def book(self, entry: Entry) -> None:
        for column, joules in zip(self.joules, entry.joules):
            np.add.at(column, entry.index, joules)

    def settle(self, index: NDArray[np.intp]) -> Floats:
        """Close the accounts of rows whose owners are gone. Returns their joules, float64[components, n]."""
        final = self.joules[:, index]
        self.exited += final.sum(axis=1)
        self.joules[:, index] = 0.0
        return final

    def grow(self, rows: int) -> None:
        """Make room for at least this many rows."""
        short = rows - self.joules.shape[1]
        if short > 0:
            self.joules = np.pad(self.joules, ((0, 0), (0, max(short, self.joules.shape[1]))))

    def total(self) -> Floats:
        """All that was ever booked here, float64[components]."""
        total: Floats = self.joules.sum(axis=1) + self.exited
        return total


class Ledger:
    """The node's books. ``measured``, ``idle``, ``unattributed``: cumulative joules by component, float64[3]."""

    def __init__(self, levels: dict[str, Level]) -> None:
        self.levels = levels
        self.measured = np.zeros(len(NODE))
        self.idle = np.zeros(len(NODE))
        self.unattributed = np.zeros(len(NODE))
        self.gap_exceeded = dict.fromkeys(levels, 0)

    def book(self, measured: Floats, idle: Floats, unattributed: Floats, entries: dict[str, Entry]) -> dict[str, float]:
        """Book one sample: joules by component, float64[3] each, and an entry for every level.

        Returns each level's relative gap in this sample.
        """
        self.measured += measured
        self.idle += idle
        self.unattributed += unattributed
        whole = float(measured.sum())
        rest = float(idle.sum() + unattributed.sum())
        gaps = {}
        for name, level in self.levels.items():
            entry = entries[name]
            level.book(entry)
            booked = float(entry.joules[: len(NODE)].sum()) + rest
            gaps[name] = abs(booked - whole) / whole if whole > 0 else abs(booked)
        return gaps

    def relative_gap(self, level: str) -> float:
        """How far a level's books are from what was measured since the start, relative to it."""
        whole = float(self.measured.sum())
        booked = float(self.levels[level].total()[: len(NODE)].sum() + self.idle.sum() + self.unattributed.sum())
        return abs(booked - whole) / whole if whole > 0 else abs(booked)
