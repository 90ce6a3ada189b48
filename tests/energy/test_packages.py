"""Which meter counts: the first that answers, the model while none does, and nothing twice."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.energy.believe import Verdict
from kepler_ebpf.energy.figures import Figures
from kepler_ebpf.energy.meter import Meter
from kepler_ebpf.energy.model import ModelSource, PowerSpec
from kepler_ebpf.energy.packages import PackageMeter
from kepler_ebpf.energy.source import Domain
from tests.fakes import FakeTables
from tests.needs import examples

SPEC = PowerSpec(1.0, 11.0, (0.0, 1.0), (0.0, 1.0), "test", 0.3)


class Clock:
    def __init__(self) -> None:
        self.now_ns = 10**9


class Counter(Figures):
    """A meter of 50 W that may fall silent."""

    def __init__(self, clock: Clock, name: str = "rapl-fake") -> None:
        super().__init__(lambda: clock.now_ns)
        self.name = name
        self.clock = clock
        self.silent = False
        self.add(Domain("package", 0, name, "0"))
        self._then_ns = clock.now_ns

    def read(self) -> None:
        now = self.clock.now_ns
        if self.silent:
            self.fault("the counter", "EIO")
        elif now > self._then_ns:
            seconds = (now - self._then_ns) * 1e-9
            self.book(0, Verdict(50.0 * seconds, seconds), now, "the counter")
            self._then_ns = now
        self.settle(now)

    def close(self) -> None:
        pass


class World:
    def __init__(self, *names: str) -> None:
        self.clock = Clock()
        self.kernel = FakeTables(1)
        self.counters = [Counter(self.clock, name) for name in names]
        self.model = ModelSource(SPEC, 2, clock_ns=lambda: self.clock.now_ns)
        self.packages = PackageMeter(self.counters, self.model)
        self.kernel.clock_ns = lambda: self.clock.now_ns
        self.model.ask(self.kernel)
        self.meter = Meter([self.packages])

    def run(self, seconds: float) -> tuple[float, float]:
        """Joules and the time that they cover."""
        joules = covered = 0.0
        for _ in range(round(seconds * 10)):
            self.clock.now_ns += 10**8
            interval = self.meter.read()
            joules, covered = joules + sum(interval.joules), covered + sum(interval.seconds)
        return joules, covered


def test_a_meter_that_answers_counts_and_the_model_does_not() -> None:
    world = World("rapl-fake")
    assert world.run(10)[0] == pytest.approx(500.0)
    assert world.meter.label == "rapl-fake"
    assert world.meter.live == [True, False]


def test_a_meter_that_falls_silent_gives_way_to_the_model_and_takes_over_again() -> None:
    world = World("rapl-fake")
    world.run(2)
    world.counters[0].silent = True
    world.run(20)
    assert world.meter.label == "model"
    assert world.meter.live == [False, True]
    joules, covered = world.run(10)
    assert joules == pytest.approx(2.0 * 10), "two idle threads at a watt each"
    world.counters[0].silent = False
    joules, covered = world.run(10)
    assert world.meter.label == "rapl-fake"
    assert joules == pytest.approx(500.0, rel=0.02), "what it counted meanwhile is not counted once more"
    assert covered == pytest.approx(10.0, rel=0.02)


def test_without_any_meter_the_model_counts_from_the_start() -> None:
    world = World()
    assert world.run(5)[0] == pytest.approx(10.0)
    assert world.meter.label == "model"


def test_the_next_best_counts_while_the_best_is_silent() -> None:
    world = World("best", "next")
    world.counters[0].silent = True
    assert world.run(20)[0] == pytest.approx(50.0 * 20, rel=0.02)
    assert world.meter.label == "next"


def test_errors_are_told_of_every_source() -> None:
    world = World("best", "next")
    world.counters[0].silent = True
    world.run(1)
    assert world.meter.errors()["best", "EIO"] >= 10


def test_whatever_a_source_raises_costs_it_a_reading(caplog: pytest.LogCaptureFixture) -> None:
    world = World("rapl-fake")
    other = Counter(world.clock, "other")
    meter = Meter([world.packages, other])

    def broken() -> None:
        raise ZeroDivisionError

    read = other.read
    for attempt in range(3):
        other.read = broken if attempt == 1 else read  # type: ignore[method-assign]
        world.clock.now_ns += 10**8
        interval = meter.read()
        assert interval.joules[0] == pytest.approx(5.0)
    assert meter.errors()["other", "ZeroDivisionError"] == 1
    assert interval.joules[-1] == pytest.approx(10.0), "the next good reading covers it"


def test_the_stretch_before_the_model_steps_in_is_the_models() -> None:
    world = World("rapl-fake")
    world.run(2)
    world.counters[0].silent = True
    joules, covered = world.run(20)
    assert joules == pytest.approx(2.0 * 20)
    assert covered == pytest.approx(20.0), "no second is lost"


def test_the_stretch_before_the_next_best_steps_in_is_the_next_bests() -> None:
    world = World("best", "next")
    world.run(2)
    world.counters[0].silent = True
    joules, covered = world.run(20)
    assert joules == pytest.approx(50.0 * 20)
    assert covered == pytest.approx(20.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(1, 80)), max_size=12))
@settings(max_examples=examples(100), deadline=None)
def test_whatever_falls_silent_every_second_is_booked_once(changes: list[tuple[str, bool, int]]) -> None:
    """Two meters of 50 W and a model of 50 W, which come and go: 50 W throughout."""
    world = World("a", "b")
    world.model.spec = PowerSpec(25.0, 26.0, (0.0, 1.0), (0.0, 1.0), "test", 0.3)
    joules = covered = elapsed = 0.0
    for name, silent, tenths in [*changes, ("a", False, 150)]:
        for counter in world.counters:
            if counter.name == name:
                counter.silent = silent
        more, seconds = world.run(tenths / 10)
        assert more >= 0
        joules, covered, elapsed = joules + more, covered + seconds, elapsed + tenths / 10
    assert covered == pytest.approx(elapsed, abs=0.11)
    assert joules == pytest.approx(50.0 * elapsed, abs=5.1)


def test_a_meter_that_raises_gives_way_to_the_model_too() -> None:
    world = World("rapl-fake")
    world.run(2)

    def broken() -> None:
        raise ZeroDivisionError

    world.counters[0].read = broken  # type: ignore[method-assign]
    joules, covered = world.run(20)
    assert world.meter.label == "model"
    assert world.meter.live == [False, True]
    assert joules == pytest.approx(2.0 * 20)
    assert covered == pytest.approx(20.0)
    assert world.meter.errors()["rapl-fake", "ZeroDivisionError"] == 200
