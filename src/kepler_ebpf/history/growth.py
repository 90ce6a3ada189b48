"""What the rows of a level have used since a step began: differences of the ledger's columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..attribution.ledger import Level
from ..columns import NODE, Floats, Indexes, set_positions

MAX_ROWS = 1 << 16
"""Rows that are followed one by one; what is behind them is among the others."""


@dataclass(frozen=True)
class Growth:
    """``used``: joules in the step by component and row, float64[3, n]; ``joules``: float64[n], since the start."""

    used: Floats
    joules: Floats


class GrowthOf:
    """Remembers what every row of one level had used when the step began. A frame costs it nothing."""

    def __init__(self, level: Level) -> None:
        self._level = level
        self._before = np.zeros((len(NODE), 0))
        self._lives = np.zeros(0, np.int64)
        self.begin()

    @property
    def nbytes(self) -> int:
        return self._before.nbytes + self._lives.nbytes

    def begin(self) -> None:
        """A step begins."""
        end = min(self._level.end, MAX_ROWS)
        if end > self._before.shape[1]:
            room = max(end, min(2 * self._before.shape[1], MAX_ROWS))
            self._before, self._lives = np.zeros((len(NODE), room)), np.zeros(room, np.int64)
        self._before[:, :end] = self._level.joules[: len(NODE), :end]
        self._lives[:end] = self._level.lives[:end]

    def before(self, index: Indexes) -> Floats:
        """What those had used when the step began whose rows were settled just now: float64[3, n].

        Nothing, where a row was settled before in the step, too: then it was another's.
        """
        before = np.zeros((len(NODE), len(index)))
        known = index < len(self._lives)
        known[known] = self._level.lives[index[known]] == self._lives[index[known]] + 1
        before[:, known] = self._before[:, index[known]]
        return before

    def rows(self) -> Growth:
        """What every row used in the step so far."""
        end = min(self._level.end, MAX_ROWS)
        joules = self._level.joules[: len(NODE), :end]
        used = joules.copy()
        known = min(end, len(self._lives))
        same = self._lives[:known] == self._level.lives[:known]  # who has a row that was settled since began at 0
        np.subtract(used[:, :known], self._before[:, :known], out=used[:, :known], where=same)
        return Growth(used, joules.sum(axis=0))


def choose(watts: Floats, joules: Floats, kept: int, resting: bool = True) -> Indexes:
    """Positions of those that used most power, of the rest of those that used most energy; at most ``kept``.

    ``resting``: whether those count that used no power.
    """
    there = set_positions(joules > 0 if resting else watts > 0)
    power = watts[there]
    if len(there) > kept:  # few are sorted: all that use as much as the last who is kept, or more
        most = power >= np.partition(power, -kept)[-kept]
        there, power = there[most], power[most]
    order = np.lexsort((-joules[there], -power))
    chosen: Indexes = there[order[:kept]]
    return chosen
