"""Slices whose joules are still owed: a meter that does not answer in every sample charges all who ran since it did."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..kernel.table import Slices
from .frame import Stretch

MAX_SECONDS = 30.0
"""How long slices wait for joules. A domain that is silent for longer is not live."""
MAX_SLICES = 100_000
"""Most slices kept, 5 MiB."""


class Stretches:
    """The latest samples, as far back as any clock needs them.

    A clock is something that tells now and then how much was used; what ran since it last did has to share that. Each
    clock needs a suffix of the samples, so its state is the number of the first sample that it has not charged.
    """

    def __init__(self, clocks: int) -> None:
        self._since = np.zeros(clocks, np.int64)
        self._kept: deque[Stretch] = deque()
        self._first = 0  # number of the oldest sample kept
        self._slices = 0

    @property
    def began(self) -> float | None:
        """When the oldest sample kept began; None where none is."""
        return self._kept[0].began if self._kept else None

    @property
    def latest(self) -> Stretch:
        """The newest sample."""
        return self._kept[-1]

    def add(self, stretch: Stretch) -> None:
        """Keep a sample."""
        self._kept.append(stretch)
        self._slices += len(stretch)
        while len(self._kept) > 1 and (self._slices > MAX_SLICES or stretch.began - self._kept[0].began > MAX_SECONDS):
            self._drop()

    def owed(self) -> Iterator[tuple[NDArray[np.bool_], Stretch]]:
        """What ran since each clock was last settled; clocks with the same answer together.

        Each item says for which clocks, bool[clocks], and the stretch.
        """
        if len(self._kept) == 1:
            yield np.ones(len(self._since), np.bool_), self._kept[0]  # nothing is owed but the latest sample
            return
        starts = np.maximum(self._since, self._first)
        for start in np.unique(starts).tolist():
            kept = list(self._kept)[start - self._first :]
            if kept:
                yield starts == start, _joined(kept)

    def settle(self, clocks: NDArray[np.bool_]) -> None:
        """These clocks have charged everything there is so far."""
        self._since[clocks] = self._first + len(self._kept)
        while self._kept and self._since.min() > self._first:
            self._drop()

    def _drop(self) -> None:
        self._slices -= len(self._kept.popleft())
        self._first += 1


def _joined(kept: list[Stretch]) -> Stretch:
    if len(kept) == 1:
        return kept[0]
    return Stretch(
        kept[0].began,
        Slices.joined([stretch.processes for stretch in kept]),
        Slices.joined([stretch.workloads for stretch in kept]),
    )
