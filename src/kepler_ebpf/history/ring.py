"""The ring buffer: the last steps, at most so many and in at most so many bytes."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ..attribution.frame import Departed, Frames
from ..attribution.sampler import Sampler
from ..columns import NODE, Floats
from ..energy.figures import LIVE_SECONDS
from ..kernel.source import KernelTables
from .people import ContainerShares, ProcessShares
from .step import Shares, Step, Who

LIMIT_BYTES = 4 << 20
# What Python keeps of a step beside its columns: the objects, their dictionaries, some numbers (sys.getsizeof).
_STEP_BYTES = 1800


class History:
    """Fed with all frames by the sampler's thread; ``steps`` is replaced as a whole, never changed, and anyone may
    read it.

    Frames cost some additions of small arrays. At the end of a step the ledger's columns are compared with what they
    were when it began, so no row is looked at in between; it ends with the frames that were booked together.
    """

    def __init__(
        self,
        sampler: Sampler,
        tables: KernelTables,
        *,
        step_seconds: float = 1.0,
        steps: int = 600,
        kept: int = 64,
        resting: bool = True,
        limit_bytes: int = LIMIT_BYTES,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``step_seconds``: 0 makes a step of all frames that are booked together. ``steps``: how many are held.
        ``kept``: how many processes, and containers, a step tells apart; ``resting``: those that used nothing in it
        included. ``limit_bytes``: beyond it the oldest steps go earlier."""
        self.steps: tuple[Step, ...] = ()
        self.length, self.step_seconds = steps, step_seconds
        self._limit_bytes = limit_bytes
        self._clock, self._wall = clock, wall
        self._ledger = sampler.ledger
        self._processes = ProcessShares(sampler, tables, kept, resting)
        self._containers = ContainerShares(sampler, kept, resting)
        self._leaving: Departed | None = None  # whose rows were given back after the frame before
        self._number = 0
        now = clock()
        self._due = now + step_seconds
        self._read = np.zeros(len(NODE), np.bool_)  # what the step before had a reading of
        self._domains: Floats = np.zeros((2, 0))  # joules and seconds by domain
        self._column_bytes = 0
        self._begin(now)

    @property
    def nbytes(self) -> int:
        """Memory in use, estimated from above."""
        people = self._processes.nbytes + self._containers.nbytes
        return self._column_bytes + _STEP_BYTES * len(self.steps) + people

    def add(self, frames: Frames) -> None:
        """Take frames, after they were booked."""
        self._covered += frames.covered_seconds.sum(axis=0)
        self._add_domains(frames)
        # Their rows may have been others' in these frames already.
        if self._leaving is not None:
            self._processes.settle(self._leaving)
        self._leaving = frames.departed
        now = self._clock()
        if now + frames.seconds.sum() / 2 < self._due:  # another turn would end further from when it is due
            return
        # A meter that answers less often than a step is long: the step ends with its answer, or without it at last.
        waited = now - self._due > LIVE_SECONDS
        if waited or (self._covered.any() and not (self._read & (self._covered <= 0)).any()):
            self._end(now)

    def _add_domains(self, frames: Frames) -> None:
        more = frames.reading.joules.shape[1] - self._domains.shape[1]
        if more:
            self._domains = np.pad(self._domains, ((0, 0), (0, more)))
        self._domains[0] += frames.reading.joules.sum(axis=0)
        self._domains[1] += frames.reading.seconds.sum(axis=0)

    def _begin(self, now: float) -> None:
        self._began = now
        self._covered = np.zeros(len(NODE))
        self._domains = np.zeros((2, 0))
        self._before = self._books()

    def _books(self) -> Floats:
        ledger = self._ledger
        return np.stack([ledger.measured, ledger.idle, ledger.unattributed])

    def _end(self, now: float) -> None:
        inverse = np.divide(1.0, self._covered, out=np.zeros(len(NODE)), where=self._covered > 0)
        books = self._books()
        watts = (books - self._before) * inverse
        joules, seconds = self._domains
        self._number += 1
        step = Step(
            number=self._number,
            ended=now,
            clock=self._wall(),
            seconds=now - self._began,
            watts=watts,
            joules=books,
            domain_watts=np.divide(joules, seconds, out=np.full(len(joules), np.nan), where=seconds > 0),
            processes=self._processes.end(inverse, watts),
            containers=self._containers.end(inverse, watts),
        )
        self._keep(step)
        self._read = self._covered > 0
        self._begin(now)
        due = self._due + self.step_seconds
        self._due = due if due > now else now + self.step_seconds

    def _keep(self, step: Step) -> None:
        self._column_bytes += _columns(step)
        steps = (*self.steps, step)
        drop = max(len(steps) - self.length, 0)
        while True:
            for gone in steps[:drop]:
                self._column_bytes -= _columns(gone)
                self._processes.forget(gone.processes)
                self._containers.forget(gone.containers)
            steps = self.steps = steps[drop:]
            if self.nbytes <= self._limit_bytes or len(steps) == 1:
                break
            drop = 1


def _columns(step: Step) -> int:
    arrays = (step.watts, step.joules, step.domain_watts)
    return sum(array.nbytes for array in arrays) + _shares(step.processes) + _shares(step.containers)


def _shares(shares: Shares[Who]) -> int:
    return shares.watts.nbytes + shares.joules.nbytes + 8 * len(shares.who)
