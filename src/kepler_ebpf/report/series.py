"""Power over time, stacked: who used how much when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..columns import NODE, Floats, Indexes
from .book import Book
from .groups import Groups

IDLE, UNATTRIBUTED, OTHERS = -1, -2, -3
"""Layers that are no group of their own."""


@dataclass(frozen=True)
class Stack:
    """t steps of time and s layers, the lowest first; at every step they sum to what the node used.

    ``edges``: float64[t + 1], seconds since the start. ``layers``: what each is: idle first, then groups by their
    position, those with the most energy first, then all others, then what is unattributed; one without any energy is
    left out. ``labels``: what each is called. ``joules``: float64[s, t].
    """

    by: str
    edges: Floats
    layers: tuple[int, ...]
    labels: tuple[str, ...]
    joules: Floats

    @property
    def watts(self) -> Floats:
        """Mean power in each step: float64[s, t]."""
        watts: Floats = self.joules / np.diff(self.edges)
        return watts


def frame_edges(book: Book) -> Floats:
    """Where frames begin and end, in seconds since the start: float64[f + 1]."""
    return np.concatenate(([0.0], np.cumsum(book.seconds)))


def edges(book: Book, most: int) -> Floats:
    """Steps of time: the frames themselves, or equal steps where there are more than ``most`` frames."""
    frames = frame_edges(book)
    return frames if len(frames) - 1 <= most else np.linspace(0.0, frames[-1], most + 1)


def stack(book: Book, groups: Groups, edges: Floats, top: int) -> Stack:
    """The layers of these groups: the first ``top`` of them, all others together, idle and unattributed."""
    layers = min(top, len(groups)) + 1
    of_line = np.minimum(groups.of_line, layers - 1)
    over_time = _Over(book, edges)
    charges = groups.charges
    charged = [over_time.charged(charges.frame, charges.joules, of_line, layer) for layer in range(layers)]
    joules = np.stack([over_time.spread(book.idle), *charged, over_time.spread(book.unattributed)])
    known = (IDLE, *range(layers - 1), OTHERS, UNATTRIBUTED)
    labels = ("idle", *groups.labels[: layers - 1], f"{len(groups) - layers + 1} others", "unattributed")
    kept = np.flatnonzero(joules.any(axis=1)).tolist()
    return Stack(groups.by, edges, tuple(known[k] for k in kept), tuple(labels[k] for k in kept), joules[kept])


class _Over:
    """Spreads joules over the time that they cover.

    A meter that answers once a second tells then what was used in that second, not in the frame in which it answers:
    joules of a component are spread evenly from its reading before to that reading.
    """

    def __init__(self, book: Book, edges: Floats) -> None:
        self._edges = edges
        self._frames = len(book.seconds)
        ends = np.cumsum(book.seconds)
        self._read = [np.flatnonzero(covered > 0) for covered in book.covered_seconds]
        self._knots = []
        for read, covered in zip(self._read, book.covered_seconds):
            # What the first reading covers may have begun before the recording did: it is shown within it.
            start = max(float(ends[read[0]] - covered[read[0]]), 0.0) if len(read) else 0.0
            self._knots.append(np.concatenate(([start], ends[read])))

    def spread(self, joules: Floats) -> Floats:
        """Joules by component and frame, float64[3, f], → by step, float64[t]."""
        total = np.zeros(len(self._edges) - 1)
        for component in range(len(NODE)):
            if joules[component].any():
                sums = np.concatenate(([0.0], np.cumsum(joules[component])))
                # What came in without a reading of its own (there is none, but for rounding) goes to the next one.
                at = np.concatenate(([0], self._read[component] + 1))
                total += np.diff(np.interp(self._edges, self._knots[component], sums[at]))
        return total

    def charged(self, frame: Indexes, joules: Floats, of_line: Indexes, layer: int) -> Floats:
        """The joules of one layer by step: float64[t]."""
        take = np.flatnonzero(of_line == layer)
        by_frame = [np.bincount(frame[take], column[take], self._frames) for column in joules]
        return self.spread(np.stack(by_frame).astype(np.float64))
