"""Samples while something runs, and adds up what the target used."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..attribution.frame import Frame
from ..attribution.sampler import Sampler
from ..columns import DRAM, GPU, NODE, PACKAGE
from ..energy.gpu_use import HOLD_SECONDS
from ..schedule import Schedule
from .target import Target
from .usage import Tally, Usage

BATCH_SECONDS = 0.5
"""How much time is attributed at once (:class:`..attribution.sampler.SamplerOptions`)."""
_LOOK_SECONDS = 5.0
_LONGEST_FLOOR_SECONDS = 3.0
_LONGEST_WAIT_SECONDS = 1.0
_LATE_SECONDS = {PACKAGE: 2.5, DRAM: 2.5, GPU: HOLD_SECONDS + 1.0}
"""How long a meter may take to tell what was used: board sensors a second, GPUs until their users are known."""


class Waiting(Protocol):
    """What the probe waits with: :class:`.signals.Signals`. ``told``: signals that came."""

    @property
    def told(self) -> Sequence[int]: ...

    def wait(self, seconds: float) -> None:
        """Return after so long, or earlier where something has happened."""


class Probe:
    """One sampler, used for one run after the other.

    ``interval``: seconds between samples. ``budget``: the part of a core that they may use, beyond which the interval
    stretches. ``cycles``: whether those are counted. ``floor_known``: whether idle power is known and told apart.
    """

    def __init__(
        self,
        sampler: Sampler,
        waiting: Waiting,
        interval: float,
        budget: float = 1.0,
        cycles: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sampler = sampler
        self._waiting = waiting
        self._interval = interval
        self._budget = budget
        self._cycles = cycles
        self._clock = clock
        self._looked_at = self._began = clock()
        self._frame: Frame | None = None
        self._has_before = False  # whether the next frame to be booked is of the time before a span
        self.floor_known = False

    def learn_floors(self, longest_seconds: float | None = None) -> None:
        """Look at the machine until its idle power is known, at most so long (3 s); it then stays what it is.

        Otherwise it would become known at some time during the runs, and these could not be compared.
        """
        schedule = self._schedule()
        until = self._clock() + (_LONGEST_FLOOR_SECONDS if longest_seconds is None else longest_seconds)
        self._sampler.look()
        self._book()
        while not self._knows_floors() and not self._waiting.told and self._clock() < until:
            self._waiting.wait(schedule.next(self._clock()) - self._clock())
            self._sampler.look()
            self._book()
        self._sampler.hold_floors()
        self.floor_known = self._knows_floors()

    def begin(self) -> None:
        """What was used before this moment is not the target's, which begins now."""
        self._sampler.look()
        self._book()
        # Booking takes time, in a short run more than the command: the span begins with a look that is booked later.
        self._sampler.look()
        self._has_before = True
        self._began = self._clock()

    def watch(
        self,
        target: Target,
        over: Callable[[], bool],
        status: Callable[[], tuple[int | None, int]],
        until: float = math.inf,
    ) -> Usage:
        """Sample until it is over, or until this moment of the clock. ``status``: then tells how it ended, and what
        still runs (:class:`Usage`)."""
        tally, schedule, began = Tally(self._interval), self._schedule(), self._began
        due = schedule.next(self._clock())
        while not over() and self._clock() < until:
            now = self._clock()
            self._waiting.wait(min(due, until, now + _LONGEST_WAIT_SECONDS) - now)  # who is gone sends no signal
            if self._clock() >= due:
                cpu = time.thread_time()
                self._sampler.look()
                if self._sampler.is_due:
                    self._add(tally, target)
                schedule.spent(time.thread_time() - cpu, self._clock())
                due = schedule.next(self._clock())
        ended = self._clock()
        self._sampler.look()  # before all that takes time, as the table is to cover what has elapsed and no more
        ending = status()
        self._add(tally, target)
        self._await_meters(tally, target, began, ended)
        return tally.usage(ended - began, self._cycles, schedule.late, *ending)

    def _add(self, tally: Tally, target: Target) -> None:
        for frame in self._book():
            if not self._has_before:
                tally.add(frame, target.part(frame))
            self._has_before = False

    def _await_meters(self, tally: Tally, target: Target, began: float, ended: float) -> None:
        """A meter that is refreshed once a second has yet to tell what was used at the end."""
        told = len(self._waiting.told)
        while len(self._waiting.told) == told:
            owing = self._owing(tally, began, ended)
            if not owing.any():
                return
            self._waiting.wait(self._interval)
            self._sampler.look()
            for frame in self._book():
                tally.add_joules(frame, target.part(frame), owing)

    def _owing(self, tally: Tally, began: float, ended: float) -> NDArray[np.bool_]:
        """Which components have not told all there was to tell, and may still do so: bool[3]."""
        assert self._frame is not None
        reading, since = self._frame.reading, self._clock() - ended
        owing = np.full(len(NODE), self._sampler.owed_since < ended)
        owing[GPU] = tally.covered_seconds[GPU] < ended - began
        owing &= np.bincount(reading.component[reading.of_node & reading.live], minlength=len(NODE)) > 0
        owing &= np.array([since < _LATE_SECONDS[component] for component in range(len(NODE))])
        return owing

    def _knows_floors(self) -> bool:
        assert self._frame is not None
        reading = self._frame.reading
        counted = reading.of_node & reading.live
        return bool(counted.any() and np.isfinite(reading.floor_watts[counted]).all())

    def _schedule(self) -> Schedule:
        return Schedule(self._interval, self._budget, self._clock())

    def _book(self) -> Iterable[Frame]:
        """Book what was sampled."""
        frames = self._sampler.book()
        now = self._clock()
        if now - self._looked_at > _LOOK_SECONDS:
            self._sampler.lifecycle.look_around(now)
            self._sampler.begin_publication()
            self._looked_at = now
        if frames is None:
            return ()
        self._frame = frames.last
        return frames
