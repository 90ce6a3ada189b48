"""The loop: what it does when a sample or a publication fails, and when it counts as alive."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from kepler_ebpf.attribution.frame import Frames
from kepler_ebpf.collector import Collector
from kepler_ebpf.energy.source import Domain
from kepler_ebpf.schedule import Schedule
from kepler_ebpf.snapshot.publisher import Publisher, SeriesOptions
from kepler_ebpf.web.site import Site
from tests.fakes import FakeSource, FakeTables, FakeWorkloads, sampler_over


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Kept:
    """A consumer that keeps all frames."""

    def __init__(self) -> None:
        self.frames: list[Frames] = []

    def add(self, frames: Frames) -> None:
        self.frames.append(frames)


class Failing:
    """A consumer that a test may let fail."""

    def __init__(self) -> None:
        self.fails = False

    def add(self, frames: Frames) -> None:
        if self.fails:
            raise RuntimeError("no room")


class World:
    """A collector over fakes, driven by the test and not by its thread."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.kernel = FakeTables(1)
        self.source = FakeSource((Domain("package", 0, "fake", idle_watts=0.0),))
        workloads = FakeWorkloads()
        sampler = sampler_over(self.kernel, self.source, workloads=workloads, clock=self.clock)
        self.publisher = Publisher(sampler, self.kernel, workloads, SeriesOptions(), {})
        schedule = Schedule(0.1, 1.0, self.clock())
        self.failing, self.kept = Failing(), Kept()
        consumers = (self.failing, self.kept)
        self.collector = Collector(sampler, self.publisher, schedule, 5.0, self.clock, consumers)
        self.collector._thread = threading.current_thread()

    def tick(self, joules: float, seconds: float = 0.1) -> None:
        self.clock.now += seconds
        self.source.use(np.array([joules]), seconds)
        self.kernel.run(10, 1, 0, round(seconds * 1e9))
        self.collector.tick()


def test_a_mean_is_never_above_the_highest_sample_from_the_first_publication_on() -> None:
    world = World()
    world.clock.now += 3.0  # assembled, but not started yet
    for joules in (20.0, 10.0, 10.0):
        world.tick(joules)
        world.collector.publish()
        assert world.collector.snapshot is not None
        node, containers = world.collector.snapshot.node, world.collector.snapshot.containers
        assert node.component_watts.sum() <= node.max_watts
        assert (containers.watts <= containers.max_watts).all()


def test_a_consumer_that_fails_is_logged_once_and_costs_nobody_else_a_frame(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.tick(1.0)
    world.failing.fails = True
    for _ in range(5):
        world.tick(1.0)
    assert len(world.kept.frames) == 6
    assert [record.exc_text is not None or record.exc_info is not None for record in caplog.records] == [True]


def test_a_collector_whose_publications_fail_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.tick(1.0)
    world.collector.publish()
    site = Site(5.0)
    site.serve(world.collector)
    assert site.alive() == (True, "ok")
    monkeypatch.setattr(world.publisher, "publish", None)
    for _ in range(200):
        world.tick(1.0)
        with pytest.raises(TypeError):
            world.collector.publish()
    assert world.collector.snapshot_age_seconds() == pytest.approx(20.0)
    assert not site.alive()[0]
    assert not site.ready()[0]
    assert "publication" in site.alive()[1]


def test_a_collector_whose_samples_fail_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.tick(1.0)
    world.collector.publish()
    monkeypatch.setattr(world.kernel, "look", None)
    for _ in range(120):
        world.clock.now += 0.1
        with pytest.raises(TypeError):
            world.collector.tick()
    assert not world.collector.alive()


def test_a_stretched_interval_ends_early_where_rows_are_wanted_back() -> None:
    """Samples of a storm of forks cost more than their budget however long the interval is."""
    world = World()
    collector, schedule = world.collector, world.collector._schedule
    collector._clock = time.monotonic
    schedule.configured = 0.01
    began = time.monotonic()
    assert not collector._ends_before(began + 0.2)
    assert time.monotonic() - began >= 0.2
    for tgid in range(100, 140):
        world.kernel.run(tgid, 1, 0, 1000)
        world.kernel.kill(tgid)
    assert not collector._ends_before(time.monotonic() + 3600.0)
    collector._stop.set()
    assert collector._ends_before(time.monotonic() + 3600.0)


def test_a_sample_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr("kepler_ebpf.collector._LONGEST_STOP_SECONDS", 0.05)
    release = threading.Event()
    monkeypatch.setattr(world.collector, "tick", release.wait)
    world.collector.start()
    world.clock.now += 1.0
    world.collector.stop()
    release.set()


def test_failed_samples_are_counted_and_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    done = threading.Event()
    calls: list[None] = []

    def tick() -> None:
        calls.append(None)
        world.clock.now += 1.0
        if len(calls) == 5:
            done.set()
        raise ValueError

    monkeypatch.setattr(world.collector, "tick", tick)
    world.clock.now += 1.0
    world.collector.start()
    assert done.wait(20)
    world.collector.stop()
    assert world.collector._loop().failed_samples >= 4
