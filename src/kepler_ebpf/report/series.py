"""Power over time, stacked: who used how much when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..columns import NODE, Floats
from .book import Book
from .groups import Groups, others

IDLE, UNATTRIBUTED, OTHERS = -1, -2, -3
"""Layers that are no group of their own."""
_OUT_OF_STEP_SECONDS = 1.0
"""A meter's own time may differ from the sampler's by a delayed sample; beyond this, energy was lost (a reset)."""


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


class Timeline:
    """When energy was used.

    A meter that answers once a second tells then what was used in that second, not in the frame in which it answers.
    And a sample that is delayed on its way from the kernel's tables to the meter covers more energy than its frame took
    time, the next one less. So joules of a component are spread over the time that its reading covers, one reading
    behind the other, and not over the frames.
    """

    def __init__(self, book: Book) -> None:
        ends = np.cumsum(book.seconds)
        self._read = [np.flatnonzero(covered > 0) for covered in book.covered_seconds]
        spans = [_spans(ends[read], covered[read]) for read, covered in zip(self._read, book.covered_seconds)]
        edges = np.concatenate(([0.0], ends))
        often = max(range(len(NODE)), key=lambda component: len(self._read[component]))
        read, (begins, until) = self._read[often], spans[often]
        if len(read):
            # A frame is where its reading is, so that a step shows the power that was read, unmixed.
            behind = np.maximum(edges - ends[read[-1]], 0.0)
            edges = np.interp(edges, np.append(0.0, ends[read]), np.append(begins[0], until)) + behind
        edges[0] = min([edges[0], *(one[0] for one, _ in spans if len(one))])
        edges[-1] = max([edges[-1], *(one[-1] for _, one in spans if len(one))])
        self._spans = [(begins - edges[0], until - edges[0]) for begins, until in spans]
        self.frame_edges: Floats = edges - edges[0]

    def edges(self, most: int) -> Floats:
        """Steps of time: the frames themselves, or equal steps where there are more than ``most`` frames."""
        frames = self.frame_edges
        return frames if len(frames) - 1 <= most else np.linspace(0.0, frames[-1], most + 1)

    def spread(self, joules: Floats, edges: Floats) -> Floats:
        """Joules by component and frame, float64[3, f], → by step, float64[t]."""
        total = np.zeros(len(edges) - 1)
        for component in range(len(NODE)):
            if joules[component].any():
                begins, until = self._spans[component]
                sums = np.cumsum(joules[component][self._read[component]])
                # Knots at both ends of each reading: between two readings that do not touch nothing is used.
                knots = np.stack((begins, until), axis=1).reshape(-1)
                heights = np.stack((sums - joules[component][self._read[component]], sums), axis=1).reshape(-1)
                total += np.diff(np.interp(edges, knots, heights))
        return total


def _spans(ends: Floats, covered: Floats) -> tuple[Floats, Floats]:
    """When each reading's time begins and ends, one behind the other, near the ends of the frames that told them."""
    begins, until = np.empty(len(ends)), np.empty(len(ends))
    now = -np.inf
    for k, (end, seconds) in enumerate(zip(ends.tolist(), covered.tolist())):
        if abs(now + seconds - end) > _OUT_OF_STEP_SECONDS:
            now = max(now, end - seconds)
        begins[k], now = now, now + seconds
        until[k] = now
    return begins, until


def stack(book: Book, groups: Groups, timeline: Timeline, most: int, top: int) -> Stack:
    """The layers of these groups in at most so many steps: the ``top`` first, all others together, idle and
    unattributed."""
    edges = timeline.edges(most)
    layers = min(top, len(groups)) + 1
    of_line = np.minimum(groups.of_line, layers - 1)
    by_frame = (_by_frame(groups, of_line == layer, len(book.seconds)) for layer in range(layers))
    charged = [timeline.spread(joules, edges) for joules in by_frame]
    joules = np.stack([timeline.spread(book.idle, edges), *charged, timeline.spread(book.unattributed, edges)])
    known = (IDLE, *range(layers - 1), OTHERS, UNATTRIBUTED)
    labels = ("idle", *groups.labels[: layers - 1], others(len(groups) - layers + 1), "unattributed")
    kept = np.flatnonzero(joules.any(axis=1)).tolist()
    return Stack(groups.by, edges, tuple(known[k] for k in kept), tuple(labels[k] for k in kept), joules[kept])


def _by_frame(groups: Groups, take: NDArray[np.bool_], frames: int) -> Floats:
    """Joules of some lines by component and frame: float64[3, f]. ``take``: bool[n]."""
    frame, joules = groups.charges.frame[take], groups.charges.joules[:, take]
    return np.stack([np.bincount(frame, column, frames) for column in joules]).astype(np.float64)
