"""Readings that are believed, and those that are not: nothing falls, nothing leaps, and what is refused is counted."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kepler_ebpf.energy.believe import Believer, PowerBeliever, energy_delta
from tests.needs import examples

SPAN = 262_143_328_851
MICRO = 1e-6
TENTH = 100_000_000


class Meter:
    """A counter in microjoules, read every tenth of a second."""

    def __init__(self, span: int = SPAN, most_watts: float = 2000.0, **options: bool) -> None:
        self.believer = Believer(span, MICRO, most_watts, **options)
        self.now_ns = 0
        self.joules = self.seconds = 0.0
        self.faults: list[str] = []
        self.watts: list[float] = []

    def read(self, *values: float, seconds: float = 0.1) -> None:
        """Values in joules."""
        for value in values:
            verdict = self.believer.read(round(value * 1e6), self.now_ns)
            self.now_ns += round(seconds * 1e9)
            assert verdict.joules >= 0
            self.joules += verdict.joules
            self.seconds += verdict.seconds
            if verdict.seconds:
                self.watts.append(verdict.joules / verdict.seconds)
            if verdict.fault:
                self.faults.append(verdict.fault)


def test_energy_delta_of_a_wrap() -> None:
    assert energy_delta(5, 95, 100) == 10
    assert energy_delta(95, 5, 100) == 90


def test_a_plain_counter() -> None:
    meter = Meter()
    meter.read(100, 104, 108, 112)
    assert meter.joules == pytest.approx(12)
    assert meter.seconds == pytest.approx(0.3)
    assert not meter.faults


def test_a_limit_that_is_too_low_is_given_up_by_a_counter_that_is_refreshed_once_a_second_too() -> None:
    meter = Meter(most_watts=65.0)
    meter.believer._default_watts = 2000.0
    for second in range(60):
        meter.read(*[100.0 * second] * 10)
    assert meter.joules > 5000


def test_a_slow_counter_that_is_opened_anew_shows_no_peak() -> None:
    """It is refreshed once a second: the first change after that may be a second's, not a sample's."""
    meter = Meter()
    for tenth in range(100):
        if tenth == 57:
            meter.believer.restart()
        meter.read(100.0 * (tenth // 10))
    assert max(meter.watts) == pytest.approx(100.0, rel=0.05)


def test_a_wrap() -> None:
    meter = Meter()
    meter.read(SPAN * MICRO - 1, 3)
    assert meter.joules == pytest.approx(4, abs=1e-5)
    assert not meter.faults


@pytest.mark.parametrize("watts", [6, 100, 300, 900])
def test_a_counter_that_is_refreshed_once_a_second(watts: int) -> None:
    """As QEMU does for its guests: its power is the mean, and no peak shows."""
    meter = Meter()
    for tick in range(3, 80):
        meter.read(1000 + watts * (tick // 10))
    assert max(meter.watts) <= watts * 1.01
    assert meter.joules / meter.seconds == pytest.approx(watts, rel=0.01)
    assert not meter.faults


def slow_counter(watts: float, period: float, phase: float, lateness: list[float]) -> Meter:
    """A counter that is refreshed every ``period`` seconds, read every tenth of a second and a bit later each time."""
    meter = Meter()
    now = 0.0
    for late in lateness:
        meter.now_ns = round((now + late) * 1e9)
        meter.read(1000 + watts * period * math.floor((now + late + phase) / period))
        now += 0.1
    return meter


@settings(max_examples=examples(200), deadline=None)
@given(
    st.floats(1, 900),
    st.floats(0, 1),
    st.lists(st.floats(0, 0.09), min_size=60, max_size=120),
)
def test_a_counter_that_is_read_at_odd_moments_has_no_peak(watts: float, phase: float, lateness: list[float]) -> None:
    """Steady power and a refresh a second: no interval is off by more than a reading can be late, but the first one
    where it is not much."""
    meter = slow_counter(watts, 1.0, phase, lateness)
    first, *others = meter.watts
    assert first <= max(watts * 1.01, 100)
    assert (min(others), max(others)) == pytest.approx((watts, watts), rel=0.19)
    assert (min(others[2:]), max(others[2:])) == pytest.approx((watts, watts), rel=0.1)
    assert not meter.faults


@settings(max_examples=examples(100), deadline=None)
@given(st.floats(0.35, 2.0), st.floats(0, 1), st.lists(st.floats(0, 0.09), min_size=300, max_size=400))
def test_the_period_of_a_counter_is_learned(period: float, phase: float, lateness: list[float]) -> None:
    meter = slow_counter(100, period, phase, lateness)
    late = meter.watts[len(meter.watts) // 2 :]
    assert (min(late), max(late)) == pytest.approx((100, 100), rel=0.2 / period), "as much as a reading can be late"
    assert sum(abs(watts - 100) for watts in late) / len(late) < 8
    assert not meter.faults


def test_for_how_long_a_counter_stands_still_is_told_with_what_it_says() -> None:
    believer = Believer(SPAN, MICRO, 2000.0)
    told = [believer.read(10**9 + 700 * 10**6 * (tenth // 70), tenth * TENTH) for tenth in range(211)]
    assert [verdict.still_seconds for verdict in told if verdict.seconds] == pytest.approx([6.9, 6.9, 6.9])
    for tenth in range(211, 260):
        verdict = believer.read(10**9 + 2_100 * 10**6 + 10**7 * (tenth - 210), tenth * TENTH)
    assert verdict.still_seconds < 0.1, "it is faster by now"


def test_a_first_change_that_cannot_be_is_refused() -> None:
    """1,500 J in a sample are those of a second only where the counter then stands still."""
    fast, slow = Meter(), Meter()
    fast.read(100, 1600, 1602, 1604)
    slow.read(100, *[1600] * 10)
    assert (fast.joules, fast.faults) == (4, ["jump"])
    assert (slow.joules, slow.seconds, slow.faults) == (1500, 1.0, [])


def test_a_first_change_that_goes_back_is_nobodys() -> None:
    meter = Meter()
    meter.read(100, 100 + 150, *(102 + 2.0 * n for n in range(10)))
    assert meter.joules == pytest.approx(18)
    assert meter.faults == ["reset"]


def test_a_first_change_waits_for_the_next_reading_where_samples_are_short() -> None:
    short, long = Meter(), Meter()
    short.read(100, 120)
    long.read(100, 2100, seconds=10)
    assert (short.joules, long.joules) == (0, 2000)
    short.read(140)
    assert short.joules == pytest.approx(40)
    assert short.seconds == pytest.approx(0.2)


def test_a_counter_that_nobody_read_for_a_while() -> None:
    """Three refreshes came meanwhile: the energy is that of three seconds."""
    meter = slow_counter(100, 1.0, 0.55, [0.0] * 40 + [3.3] + [3.4] * 40)
    assert meter.watts == pytest.approx([100] * len(meter.watts), rel=0.06)


def test_a_leap_up_and_down_again_is_nobodys() -> None:
    """696 J up and down again beside 6 W: 6 W."""
    meter = Meter()
    meter.read(*(10 + 0.6 * n for n in range(10)))
    meter.read(16 + 696, 16.6, *(17.2 + 0.6 * n for n in range(5)))
    assert meter.joules == pytest.approx(19.6 - 10)
    assert meter.faults == ["jump"]
    assert max(meter.watts) < 13


def test_a_smaller_leap_up_and_down_again_is_nobodys_either() -> None:
    meter = Meter()
    meter.read(*(10 + 0.6 * n for n in range(10)))
    meter.read(16 + 150, 16.6, *(17.2 + 0.6 * n for n in range(5)))
    assert meter.joules == pytest.approx(19.6 - 10)
    assert meter.faults == ["leap"]
    assert max(meter.watts) < 13


def test_a_leap_that_stays_is_booked_once_the_next_reading_confirms_it() -> None:
    meter = Meter()
    meter.read(*(10 + 2 * n for n in range(10)))
    before = meter.joules
    meter.read(28 + 150)
    assert meter.joules == before
    meter.read(28 + 150 + 2)
    assert meter.joules == pytest.approx(before + 152)
    assert not meter.faults


def test_a_leap_of_a_slow_counter_is_not_confirmed_by_being_read_again() -> None:
    """Refreshed once a second, read ten times: the same nonsense ten times over is one reading."""
    meter = Meter()
    for tick in range(100):
        meter.read(1000 + 6 * (tick // 10) + (696 if tick // 10 == 5 else 0))
    assert meter.joules == pytest.approx(54)
    assert meter.faults == ["leap"]


@pytest.mark.parametrize(("period", "tenths"), [(1.0, 1), (0.25, 1), (1.0, 0.5), (2.0, 1), (0.1, 0.4)])
def test_a_leap_of_a_counter_that_is_refreshed_seldom_shows_no_more_than_there_was(
    period: float, tenths: float
) -> None:
    """30 W, and 900 W from one moment on: refreshes are dated around the leap as they are everywhere."""
    for phase in range(10):
        meter = Meter()
        while meter.now_ns < 40e9:
            now = meter.now_ns * 1e-9
            refreshed = max((now - phase * period / 10) // period * period + phase * period / 10, 0.0)
            meter.read(100 + 30 * refreshed + 870 * max(refreshed - 20.37, 0.0), seconds=tenths / 10)
        assert max(meter.watts[5:]) < 910
        assert meter.joules >= 15_000


def test_a_leap_that_nothing_follows_is_booked_after_two_seconds() -> None:
    meter = Meter(stands_still=True)
    meter.read(*(10 + 2 * n for n in range(10)), *[28.0 + 150] * 25)
    assert meter.joules == pytest.approx(18 + 150)
    assert not meter.faults


def test_what_cannot_be_drawn_is_never_booked() -> None:
    """A resume from sleep: 262,144 J in a moment, and on from there."""
    meter = Meter(1 << 64)
    meter.read(*(2.0 * n for n in range(10)))
    meter.read(262_162, 262_164, 262_166)
    assert meter.joules == pytest.approx(18 + 4)
    assert meter.faults == ["jump"]


def test_a_reset_loses_the_energy_before_it_and_nothing_after() -> None:
    meter = Meter()
    meter.read(100, 102, 104, 0.5, 2.5, 4.5)
    assert meter.joules == pytest.approx(4 + 4)
    assert meter.faults == ["reset"]


@pytest.mark.parametrize("seconds", [0.1, 10.0, 60.0])
def test_a_reset_that_was_refused_is_no_wrap_later(seconds: float) -> None:
    """From one reading to the next but one it could have drawn what a wrap takes."""
    meter = Meter()
    meter.read(100_000, *(100_000 + 20 * seconds * number for number in (1, 2)), seconds=seconds)
    meter.read(*(5 + 20 * seconds * number for number in range(5)), seconds=seconds)
    assert meter.joules == pytest.approx(6 * 20 * seconds)
    assert meter.faults == ["reset"]


def test_a_counter_that_stands_still_after_a_reset_has_not_wrapped() -> None:
    meter = Meter()
    meter.read(100_000, 100_002, 100_004, *[5.0] * 3000, 7.0, 9.0)
    assert meter.joules == pytest.approx(4 + 4)
    assert meter.faults[0] == "reset"


def test_a_counter_that_stands_still_after_a_jump_has_not_drawn_it() -> None:
    """Nor where so much time passes that it could have."""
    meter = Meter()
    meter.read(100_000, 100_002, 100_004, *[200_000.0] * 900, 200_002.0, 200_004.0)
    assert meter.joules == pytest.approx(4 + 4)
    assert meter.faults == ["jump"]


def test_a_refresh_that_seems_to_come_too_soon_is_believed_a_reading_later() -> None:
    """1,800 W, refreshed each 250 ms: 450 J in two tenths would be more than there can be."""
    meter = Meter()
    for tenth in range(200):
        meter.read(1800 * 0.25 * (tenth * 4 // 10))
    assert meter.joules == pytest.approx(1800 * 19.9, rel=0.03)


def test_a_moment_of_nonsense_costs_that_moment() -> None:
    meter = Meter()
    meter.read(100, 102, 0, 106, 108)
    assert meter.joules == pytest.approx(8)


@pytest.mark.parametrize("value", [-1, SPAN, SPAN + 5, 2**64 - 1])
def test_what_the_counter_cannot_show_is_refused(value: int) -> None:
    meter = Meter()
    meter.read(100, 102)
    assert meter.believer.read(value, meter.now_ns).fault == "range"
    meter.now_ns += TENTH
    meter.read(106)
    assert meter.joules == pytest.approx(6)


def test_an_unknown_range_is_learned_at_a_fall() -> None:
    meter = Meter(0)
    meter.read(996, 998)
    meter.believer.span = 1_000_000_000
    meter.read(1)
    assert meter.joules == pytest.approx(2 + 3)


@pytest.mark.parametrize("watts", [5.0, 100.0, 1500.0])
@pytest.mark.parametrize("bits", [32, 64])
def test_a_counter_of_no_known_range_wraps_at_the_end_of_a_word(bits: int, watts: float) -> None:
    believer = Meter(0).believer
    step = round(watts / 10 * 1e6)
    raw = [(2**bits + (number - 5) * step) % 2**bits for number in range(50)]
    joules = sum(believer.read(value, number * TENTH).joules for number, value in enumerate(raw))
    assert joules == pytest.approx(49 * watts / 10)


def test_a_reset_far_below_the_end_of_a_word_is_no_wrap() -> None:
    meter = Meter(0)
    meter.read(2000, 2010, 0.5, 10.5)
    assert meter.joules == pytest.approx(20)
    assert meter.faults == ["reset"]


def test_a_counter_that_may_have_gone_round_a_word_twice_tells_nothing() -> None:
    meter = Meter(0)
    meter.read(4290, 4294, seconds=5.0)
    meter.read(100)
    assert meter.joules == pytest.approx(4)
    assert meter.faults == ["reset"]


@pytest.mark.parametrize("span", [65_532_610_988, 200_000_000_000])
def test_a_range_below_where_the_counter_was_explains_no_fall(span: int) -> None:
    """The file tells too little, or another range than it did: no joule is taken back."""
    meter = Meter(0)
    meter.read(262_138, 262_142)
    meter.believer.span = span
    meter.read(0.0005, 0.0006)
    assert meter.joules == pytest.approx(4, abs=1e-3)
    assert meter.faults == ["reset"]


def test_a_counter_that_may_have_wrapped_unseen_tells_nothing() -> None:
    meter = Meter(10_000_000_000)
    meter.read(100, seconds=600.0)
    meter.read(300)
    assert meter.joules == 0
    assert meter.faults == ["gap"]


def test_a_part_that_is_off_uses_nothing_and_a_package_that_stands_still_is_silent() -> None:
    graphics, package = Meter(stands_still=True), Meter()
    for meter in (graphics, package):
        meter.read(1, 2, 3)
        meter.read(*[3.0] * 60)
    assert graphics.seconds == pytest.approx(0.2 + 5.0, abs=1.1)
    assert package.seconds == pytest.approx(0.2)
    assert graphics.joules == package.joules == pytest.approx(2)


garbage = st.one_of(st.integers(-(2**63), 2**64), st.sampled_from((0, 1, SPAN - 1, SPAN, 2**32 - 1, 2**64 - 1)))
ranges = st.sampled_from((0, 1, 1_000, SPAN, 65_532_610_988, 2**32, 2**64))


@settings(max_examples=examples(300), deadline=None)
@given(ranges, st.lists(st.tuples(garbage, st.floats(0.001, 900), st.none() | ranges), max_size=40), st.booleans())
def test_no_readings_whatever_give_more_than_can_be_drawn(
    span: int, readings: list[tuple[int, float, int | None]], still: bool
) -> None:
    """The range is read again now and then, and may be another one."""
    believer = Believer(span, MICRO, 500.0, stands_still=still)
    now, joules, faults = 0.0, 0.0, 0
    for value, seconds, new_span in readings:
        now += seconds
        believer.span = believer.span if new_span is None else new_span
        verdict = believer.read(value, round(now * 1e9))
        assert verdict.joules >= 0
        assert verdict.seconds >= 0
        assert verdict.joules == 0 or verdict.seconds > 0
        assert math.isfinite(verdict.joules)
        joules += verdict.joules
        faults += bool(verdict.fault)
    assert joules <= 500.0 * (now + 1.0) + 1e-3 * len(readings)


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.floats(0, 400), min_size=5, max_size=60),
    st.integers(0, SPAN - 1),
    st.sets(st.integers(0, 59)),
    st.dictionaries(st.integers(0, 59), garbage, max_size=5),
)
@example([0.0] * 5, 0, set(), {1: 1_000_000_001})
def test_garbage_between_good_readings_costs_no_more_than_what_was_refused(
    powers: list[float], start: int, missing: set[int], nonsense: dict[int, int]
) -> None:
    """Wraps, gaps and nonsense: the error is at most the energy of the readings that were counted as faults."""
    believer = Believer(SPAN, MICRO, 2000.0, stands_still=True)
    truth = joules = 0.0
    faults = 0
    raw, now = start, 0
    believer.read(raw, now)
    for number, watts in enumerate(powers):
        now += TENTH
        raw = (raw + round(watts * 0.1e6)) % SPAN
        truth += round(watts * 0.1e6) * MICRO
        if number in missing:
            continue
        verdict = believer.read(nonsense.get(number, raw), now)
        joules, faults = joules + verdict.joules, faults + bool(verdict.fault)
    now += TENTH
    for _ in range(3):
        verdict = believer.read(raw, now)
        joules, faults, now = joules + verdict.joules, faults + bool(verdict.fault), now + TENTH
    if not nonsense:
        assert joules == pytest.approx(truth, abs=1e-6)
    else:
        # A second more than was watched: a counter that is refreshed so seldom began to change before it was met.
        assert joules <= truth + 2000.0 * (0.1 * len(powers) + 1.0)


def test_power_is_integrated_by_trapezes() -> None:
    sensor = PowerBeliever(500.0)
    assert sensor.read(100.0, 0).joules == 0
    assert sensor.read(300.0, 10**9).joules == pytest.approx(200.0)


@pytest.mark.parametrize(("watts", "fault"), [(-1.0, "negative"), (math.nan, "negative"), (4_294_967.295, "range")])
def test_power_that_cannot_be(watts: float, fault: str) -> None:
    """2^32 - 1 milliwatts mean "not known" to ACPI."""
    sensor = PowerBeliever(2000.0)
    sensor.read(100.0, 0)
    assert sensor.read(watts, 10**9).fault == fault
    assert sensor.read(100.0, 2 * 10**9).joules == pytest.approx(200.0), "the good readings around it cover it"


def test_a_power_that_may_not_be_0_tells_nothing_until_it_is_above() -> None:
    sensor, part = PowerBeliever(2000.0, may_be_off=False), PowerBeliever(2000.0)
    powers = [100.0, 0.0, 0.0, 100.0, 100.0]
    told = [sensor.read(watts, second * 10**9) for second, watts in enumerate(powers)]
    assert [verdict.seconds for verdict in told] == [0, 0, 0, 3.0, 1.0]
    assert [verdict.joules for verdict in told] == pytest.approx([0, 0, 0, 100.0, 100.0])
    assert [part.read(watts, second * 10**9).seconds for second, watts in enumerate(powers)] == [0, 1, 1, 1, 1]
