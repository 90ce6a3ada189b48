"""Which meter counts: the first that answers, the model while none does, and nothing twice."""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.energy.believe import Believer, Verdict
from kepler_ebpf.energy.figures import Figures
from kepler_ebpf.energy.meter import Meter
from kepler_ebpf.energy.model import ModelSource, PowerSpec
from kepler_ebpf.energy.packages import PackageMeter
from kepler_ebpf.energy.source import ALL_PACKAGES, Domain, Taking
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

    def look(self) -> Taking:
        return partial(self._take, self.clock.now_ns, self.silent)

    def _take(self, now: int, silent: bool) -> None:
        now = self.clock.now_ns
        if silent:
            self.fault("the counter", "EIO")
        elif now > self._then_ns:
            seconds = (now - self._then_ns) * 1e-9
            self.book(0, Verdict(50.0 * seconds, seconds), now, "the counter")
            self._then_ns = now
        self.end_reading(now)

    def close(self) -> None:
        pass


class Platform(Counter):
    """One that also has a platform zone of 80 W, which may fall silent by itself."""

    def __init__(self, clock: Clock, name: str) -> None:
        super().__init__(clock, name)
        self.platform_is_silent = False
        self._platform = self.add(Domain("platform", ALL_PACKAGES, name, "0"))
        self._platform_ns = clock.now_ns

    def _take(self, now: int, silent: bool) -> None:
        now = self.clock.now_ns
        if now > self._platform_ns and not self.platform_is_silent:
            seconds = (now - self._platform_ns) * 1e-9
            self.book(self._platform, Verdict(80.0 * seconds, seconds), now, "the platform")
            self._platform_ns = now
        super()._take(now, silent)


class Refreshed(Counter):
    """A counter of 50 W that shows what it has counted every ``period`` seconds; ``failing``: readings that fail."""

    def __init__(self, clock: Clock, period: float, failing: Collection[int] = ()) -> None:
        super().__init__(clock)
        self.period, self.failing = period, failing
        self.readings = 0
        self.believer = Believer(0, 1e-6, 2000.0)

    def _take(self, now: int, silent: bool) -> None:
        self.readings += 1
        if self.readings in self.failing:
            self.fault("the counter", "EIO")
        else:
            refreshes = math.floor(now * 1e-9 / self.period + 1e-6)
            self.book(0, self.believer.read(round(50e6 * refreshes * self.period), now), now, "the counter")
        self.end_reading(now)


class World:
    def __init__(self, *names: str) -> None:
        self.clock = Clock()
        self.counters = [Counter(self.clock, name) for name in names]
        self.open()

    def open(self) -> None:
        self.kernel = FakeTables(1)
        self.model = ModelSource(SPEC, 2, clock_ns=lambda: self.clock.now_ns)
        self.packages = PackageMeter(self.counters, self.model)
        self.kernel.clock_ns = lambda: self.clock.now_ns
        self.model.ask(self.kernel)
        self.meter = Meter([self.packages])

    def run(self, seconds: float, spacing: float = 0.1) -> tuple[float, float]:
        """Joules and the time that they cover. ``spacing``: of readings, in seconds."""
        joules = covered = 0.0
        for _ in range(round(seconds / spacing)):
            self.clock.now_ns += round(spacing * 1e9)
            interval = self.meter.read()
            joules, covered = joules + sum(interval.joules), covered + sum(interval.seconds)
        return joules, covered


def test_a_meter_that_answers_counts_and_the_model_does_not() -> None:
    world = World("rapl-fake")
    assert world.run(10)[0] == pytest.approx(500.0)
    assert world.meter.label == "rapl-fake"
    assert world.meter.live == [True, False]


def test_a_platform_zone_is_shown_whoever_meters_the_packages() -> None:
    """It is no package: while the model stands in for these it goes on, and of two sources one counts."""
    world = World()
    first, second = Platform(world.clock, "rapl-perf"), Platform(world.clock, "rapl-powercap")
    world.counters = [first, second]
    first.silent = second.silent = True
    world.open()

    def platform(seconds: float) -> dict[str, float]:
        """Joules by source."""
        used: dict[str, float] = {}
        for _ in range(round(seconds * 10)):
            world.clock.now_ns += 10**8
            for domain, joules in zip(world.meter.domains, world.meter.read().joules):
                if domain.component == "platform" and joules:
                    used[domain.source] = used.get(domain.source, 0.0) + joules
        return used

    assert platform(20) == pytest.approx({"rapl-perf": 1600.0})
    assert world.packages.name == "model"
    live = {(domain.component, domain.source) for domain, live in zip(world.meter.domains, world.meter.live) if live}
    assert live == {("platform", "rapl-perf"), ("package", "model")}
    second.silent = False
    assert platform(20) == pytest.approx({"rapl-perf": 1600.0}), "another one meters the packages"
    assert world.packages.name == "rapl-powercap"
    first.platform_is_silent = True
    platform(10)
    assert platform(10) == pytest.approx({"rapl-powercap": 800.0})
    first.platform_is_silent = False
    platform(10)
    assert platform(10) == pytest.approx({"rapl-perf": 800.0})


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

    def broken() -> Taking:
        raise ZeroDivisionError

    look = other.look
    for attempt in range(3):
        other.look = broken if attempt == 1 else look  # type: ignore[method-assign]
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

    def broken() -> Taking:
        raise ZeroDivisionError

    world.counters[0].look = broken  # type: ignore[method-assign]
    joules, covered = world.run(20)
    assert world.meter.label == "model"
    assert world.meter.live == [False, True]
    assert joules == pytest.approx(2.0 * 20)
    assert covered == pytest.approx(20.0)
    assert world.meter.errors()["rapl-fake", "ZeroDivisionError"] == 200


@pytest.mark.parametrize("period", [3, 6, 7, 10, 25, 60])
def test_a_counter_that_is_refreshed_seldom_loses_its_first_period_alone(
    period: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    world = World()
    world.counters = [Refreshed(world.clock, period)]
    world.open()
    world.run(period)
    joules, covered = world.run(20 * period)
    assert joules == pytest.approx(50.0 * 20 * period, rel=0.03), "one more period may be under way"
    assert covered == pytest.approx(20 * period, rel=0.03)
    assert world.meter.label == "rapl-fake"
    assert len(caplog.messages) <= 2, "there and back, once"


def test_one_that_hung_and_is_as_fast_as_before_is_not_waited_for_longer() -> None:
    world = World()
    counter = Refreshed(world.clock, 0.1)
    world.counters = [counter]
    world.open()
    world.run(10)
    for _ in range(2):
        counter.period = 40.0
        world.run(50)
        counter.period = 0.1
        world.run(10)
        assert world.meter.label == "rapl-fake"
    counter.period = 1e6
    world.run(6)
    assert world.meter.label == "model"


@pytest.mark.parametrize("spacing", [0.1, 3, 6, 10, 20, 60])
@pytest.mark.parametrize("failing", [range(4, 999, 3), [5, 6, 9, 10, 13], [3]])
def test_readings_that_fail_cost_nothing_however_far_apart_they_are(
    spacing: float, failing: Collection[int], caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    world.counters = [Refreshed(world.clock, 0.01, failing)]
    world.open()
    joules, covered = world.run(40 * spacing, spacing)
    assert joules == pytest.approx(50.0 * 40 * spacing, abs=1.0)
    assert covered == pytest.approx(40 * spacing, abs=1.0), "the first change may date from a second before"
    assert caplog.messages == ["energy of the counter is not known for now: EIO"]


@pytest.mark.parametrize("spacing", [6, 10, 20, 60])
def test_a_meter_that_is_read_seldom_gives_way_to_the_model_too(spacing: float) -> None:
    world = World("rapl-fake")
    world.run(5 * spacing, spacing)
    world.counters[0].silent = True
    joules, covered = world.run(3 * spacing, spacing)
    assert world.meter.label == "model"
    assert joules == pytest.approx(2.0 * 3 * spacing)
    assert covered == pytest.approx(3 * spacing)


def test_what_the_model_did_not_book_is_the_counters_once_it_is_back() -> None:
    """At the reading of its return the model has booked up to the one before."""
    world = World("rapl-fake")
    world.run(60, 10)
    world.counters[0].silent = True
    world.run(50, 10)
    world.counters[0].silent = False
    joules, covered = world.run(10, 10)
    assert joules == pytest.approx(50.0 * 10)
    assert covered == pytest.approx(10)


@given(
    period=st.floats(0.05, 50),
    spacing=st.sampled_from([0.1, 0.5, 1.0, 6.0, 10.0, 60.0]),
    failing=st.sets(st.integers(2, 200), max_size=60),
)
@settings(max_examples=examples(100), deadline=None)
def test_whatever_a_counter_does_no_second_is_lost_and_no_joule_is_booked_twice(
    period: float, spacing: float, failing: set[int]
) -> None:
    """The model of 50 W, too: whoever counts, and whenever that changes, it is 50 W."""
    world = World()
    world.counters = [Refreshed(world.clock, period, failing)]
    world.open()
    world.model.spec = PowerSpec(25.0, 26.0, (0.0, 1.0), (0.0, 1.0), "test", 0.3)
    steps = max(round(10 * period / spacing), 1)
    joules, covered = world.run(steps * spacing, spacing)
    waiting = 2.5 * max(5.0, period, spacing) + spacing * 60 + period
    elapsed = steps * spacing
    assert elapsed - waiting <= covered <= elapsed + max(period, 1.0) + spacing
    assert joules == pytest.approx(50.0 * covered, abs=50.0 * (1.0 + period + spacing))
