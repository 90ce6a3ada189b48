"""The running collector: samples on a schedule, and publishes snapshots for the endpoint."""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Protocol

from .attribution.frame import Frames
from .attribution.sampler import Sampler
from .host import allocator
from .schedule import Schedule
from .snapshot.publisher import Publisher
from .snapshot.types import Loop, Snapshot

log = logging.getLogger(__name__)

_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_ALIVE_FLOOR_SECONDS = 10.0
_LONGEST_STOP_SECONDS = 5.0
_GIVE_BACK_SECONDS = 10.0  # between two times that free memory goes back to the system


class Histogram:
    """Durations in cumulative buckets, as Prometheus counts them."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS_SECONDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(_BUCKETS_SECONDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> tuple[tuple[str, float], ...]:
        bounds = [*map(str, _BUCKETS_SECONDS), "+Inf"]
        return tuple(zip(bounds, map(float, accumulate(self._counts))))


class Consumer(Protocol):
    """Takes all frames, in order."""

    def add(self, frames: Frames) -> None:
        """Called in the sampler's thread, once they are booked."""


class Collector:
    """Runs the sampler in a thread of its own. ``snapshot`` is replaced as a whole, never changed."""

    def __init__(
        self,
        sampler: Sampler,
        publisher: Publisher,
        schedule: Schedule,
        metrics_interval: float,
        clock: Callable[[], float] = time.monotonic,
        consumers: Sequence[Consumer] = (),
        keep: Callable[[], None] = lambda: None,
    ) -> None:
        """``metrics_interval``: seconds between publications. ``consumers``: take all frames, once they are booked.
        ``keep``: keeps the books, at each publication."""
        self.snapshot: Snapshot | None = None
        self._sampler = sampler
        self._publisher = publisher
        self._schedule = schedule
        self._metrics_interval = metrics_interval
        self._clock = clock
        self._keep = keep
        self._consumers = tuple(consumers)
        self._failing_consumers: set[Consumer] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._durations = Histogram()
        self._samples = 0
        self._failed = 0
        self._failing = False
        self._sampled_at = self._published_at = self._gave_back_at = clock()

    def start(self) -> None:
        """Sample and publish until :meth:`stop`, the first time at the end of the first sample."""
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no further sample; returns when the one under way is done, or after five seconds.

        A meter may hang for ever. Its thread is then left behind: it ends with the process.
        """
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_LONGEST_STOP_SECONDS)
            if self._thread.is_alive():
                log.warning("a sample has not ended after %g s: leaving without it", _LONGEST_STOP_SECONDS)

    def alive(self) -> bool:
        """Whether a sample has succeeded recently."""
        running = self._thread is not None and self._thread.is_alive()
        return running and self._clock() - self._sampled_at < max(_ALIVE_FLOOR_SECONDS, 3 * self._schedule.interval)

    def snapshot_age_seconds(self) -> float:
        """Seconds since the latest publication, or since the start."""
        return self._clock() - self._published_at

    def _run(self) -> None:
        due = self._schedule.next(self._clock())
        publish_at = self._clock()
        spent, taken = 0.0, 0  # CPU time of samples since the latest booking: what that costs is all of theirs
        while not self._ends_before(due):
            before, cpu_before = time.perf_counter(), time.thread_time()
            try:
                self.tick()
                now = self._clock()
                if now >= publish_at:
                    self.publish()
                    # On a grid of its own, so that publications do not drift with the samples.
                    while publish_at <= now:
                        publish_at += self._metrics_interval
                self._failing = False
            except Exception:
                self._failed += 1
                if not self._failing:
                    log.exception("a sample failed; the next one that does not covers its time and energy")
                self._failing = True
            self._durations.observe(time.perf_counter() - before)
            spent, taken = spent + time.thread_time() - cpu_before, taken + 1
            if self._sampler.is_booked:
                self._schedule.spent(spent / taken, self._clock())
                spent, taken = 0.0, 0
            due = self._schedule.next(self._clock())

    def _ends_before(self, due: float) -> bool:
        """Wait until the next sample is due; whether the collector is to stop instead.

        A stretched interval costs a storm of forks no rows: the sample is taken earlier where they are wanted back.
        """
        step = self._schedule.configured
        while due - self._clock() > 1.5 * step:
            if self._stop.wait(step):
                return True
            if self._sampler.is_pressed:
                return False
        return self._stop.wait(max(0.0, due - self._clock()))

    def tick(self) -> None:
        """Take one sample now, and book what is due."""
        self._sampler.look()
        self._samples += 1
        if self._sampler.is_due:
            self._book()
        self._sampled_at = self._clock()

    def _book(self) -> None:
        """Book what was sampled, and hand the frames on.

        A consumer that fails costs nobody a sample or a publication; it is logged once.
        """
        frames = self._sampler.book()
        if frames is None:
            return
        for consumer in self._consumers:
            try:
                consumer.add(frames)
            except Exception:
                if consumer not in self._failing_consumers:
                    log.exception("the last minutes cannot be kept: the page and top lack what is now")
                self._failing_consumers.add(consumer)

    def publish(self) -> None:
        """Make a snapshot of the books and put it in place of the one before."""
        self._book()
        now = self._clock()
        self._sampler.lifecycle.look_around(now)
        self.snapshot = self._publisher.publish(self._loop(), now, self._sampler.owed_since)
        self._sampler.begin_publication()
        self._published_at = now
        self._keep()
        if now - self._gave_back_at >= _GIVE_BACK_SECONDS:
            self._gave_back_at = now
            allocator.give_back()

    def _loop(self) -> Loop:
        return Loop(
            samples=self._samples,
            late_samples=self._schedule.late,
            failed_samples=self._failed,
            interval_seconds=self._schedule.interval,
            configured_interval_seconds=self._schedule.configured,
            duration_buckets=self._durations.buckets(),
            duration_sum_seconds=self._durations.sum,
        )
