"""Slices whose joules are still owed: a meter that does not answer in every sample charges all who ran since it did."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..columns import Floats, Indexes
from ..kernel.table import Slices
from .frame import Stretch

MAX_SECONDS = 30.0
"""How long slices wait for joules."""
MAX_SLICES = 100_000
"""Most slices kept, 5 MiB."""


@dataclass(frozen=True)
class Told:
    """What clocks have told with each of k samples, bool[k, clocks] each. ``everything``: all there is, which of those
    that are ``mute``, as none of their meters is live, is nothing."""

    everything: NDArray[np.bool_]
    mute: NDArray[np.bool_]


class Stretches:
    """The latest samples, as far back as any clock needs them.

    A clock is something that tells now and then how much was used; what ran since it last did has to share that. Each
    clock needs a suffix of the samples, so its state is the number of the first sample that it has not charged.
    """

    def __init__(self, clocks: int) -> None:
        self._since = np.zeros(clocks, np.int64)
        self._spoke = np.full(clocks, -np.inf)  # when each last told all there was, a live meter of its at least
        self._kept: deque[Stretch] = deque()
        self._first = 0  # number of the oldest sample kept
        self._slices = 0

    @property
    def began(self) -> float | None:
        """When the oldest sample began that some clock has not charged; None where there is none."""
        began = self._began()
        first = max(int(self._since.min()) - self._first, 0)
        return float(began[first]) if first < len(began) else None

    @property
    def latest(self) -> Stretch:
        """The newest samples."""
        return self._kept[-1]

    def add(self, stretch: Stretch) -> None:
        """Keep samples."""
        self._kept.append(stretch)
        self._slices += len(stretch)
        while len(self._kept) > 1 and (
            self._slices > MAX_SLICES or stretch.began[-1] - self._kept[0].began[0] > MAX_SECONDS
        ):
            self._drop()

    def finished(self, told: Told) -> NDArray[np.bool_]:
        """Which clocks have charged what there is with each of the newest samples: bool[k, clocks].

        One that is mute may speak again, and tell then what was used meanwhile: it is waited for.
        """
        if not told.mute.any():
            return told.everything
        waits = self.latest.began[-1] - self._spoke <= MAX_SECONDS
        return np.asarray(told.everything & ~(told.mute & waits), np.bool_)

    def owed(self, told: NDArray[np.bool_], finished: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], Stretch]]:
        """Who has to share what the clocks tell with the newest samples; clocks with the same answer together.

        ``told``, ``finished``: bool[k, clocks], whether a clock tells anything with a sample, and whether that is all
        there is. Each item says for which clocks, bool[clocks], and who: ``sample`` of its slices is the one of the k
        samples with which they are charged.
        """
        if len(self._kept) == 1 and finished.all():
            yield np.ones(len(self._since), np.bool_), self._kept[0]  # nothing is owed but the samples themselves
            return
        everything = self._joined()
        samples = len(told)
        before = len(everything.began) - samples
        starts = np.maximum(self._since - self._first, 0)
        answers, of_answer = np.unique(
            np.concatenate((starts[np.newaxis], told, finished)), axis=1, return_inverse=True
        )
        for number, answer in enumerate(answers.T):
            first, spans = int(answer[0]), []
            for sample in range(samples):
                end = before + sample + 1
                if answer[1 + sample]:
                    spans.append((first, end, sample))
                if answer[1 + samples + sample]:
                    first = end
            clocks = of_answer.reshape(-1) == number
            yield (
                clocks,
                replace(
                    everything,
                    processes=_within(everything.processes, spans),
                    workloads=_within(everything.workloads, spans),
                ),
            )

    def charged(self, told: Told) -> None:
        """What was owed is charged. Clocks that told all there is need those samples no more."""
        finished = self.finished(told)
        end = self._first + len(self._began())
        self._since = np.where(finished.any(axis=0), end - finished[::-1].argmax(axis=0), self._since)
        self._spoke[(told.everything & ~told.mute).any(axis=0)] = self.latest.began[-1]
        while self._kept and self._since.min() >= self._first + len(self._kept[0].began):
            self._drop()

    def _drop(self) -> None:
        oldest = self._kept.popleft()
        self._slices -= len(oldest)
        self._first += len(oldest.began)

    def _began(self) -> Floats:
        return np.concatenate([stretch.began for stretch in self._kept]) if self._kept else np.zeros(0)

    def _joined(self) -> Stretch:
        """All samples kept, numbered from the oldest on."""
        starts = np.cumsum([0, *(len(stretch.began) for stretch in self._kept)]).tolist()
        return Stretch(
            self._began(),
            _numbered([stretch.processes for stretch in self._kept], starts),
            _numbered([stretch.workloads for stretch in self._kept], starts),
        )


def _numbered(many: list[Slices], starts: list[int]) -> Slices:
    return Slices.joined([replace(one, sample=one.sample + start) for one, start in zip(many, starts)])


def _within(slices: Slices, spans: list[tuple[int, int, int]]) -> Slices:
    """Slices of samples from the first to before the end of each span; their sample is the span's."""
    bounds = slices.sample.searchsorted([(first, end) for first, end, _ in spans]).reshape(-1, 2)
    positions: list[Indexes] = [np.arange(first, end) for first, end in bounds.tolist()]
    sample = np.repeat([sample for _, _, sample in spans], bounds[:, 1] - bounds[:, 0]).astype(np.intp)
    take = np.concatenate(positions) if positions else np.zeros(0, np.intp)
    return replace(slices.take(take), sample=sample)
