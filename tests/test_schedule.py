from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.schedule import Schedule


@settings(deadline=None)
@given(st.lists(st.floats(0, 0.09), min_size=1, max_size=200))
def test_the_grid_does_not_drift(work: list[float]) -> None:
    """However long each sample took, as long as it was in time: the n-th tick is at n intervals."""
    schedule, now = Schedule(0.1, 1.0, 0.0), 0.0
    for number, seconds in enumerate(work, 1):
        due = schedule.next(now)
        assert due == pytest.approx(number * 0.1)
        now = due + seconds
    assert schedule.late == 0


def test_missed_ticks_are_skipped_and_counted() -> None:
    schedule = Schedule(0.1, 1.0, 0.0)
    assert schedule.next(0.0) == pytest.approx(0.1)
    assert schedule.next(0.55) == pytest.approx(0.6)
    assert schedule.late == 4
    assert schedule.next(0.61) == pytest.approx(0.7)


def test_a_stall_counts_although_it_stretches_the_interval() -> None:
    schedule = Schedule(0.1, 0.05, 0.0)
    now = schedule.next(0.0) + 10.4
    schedule.spent(0.08, now)
    assert schedule.interval == pytest.approx(0.16)
    assert schedule.next(now) == pytest.approx(now + 0.16)
    assert schedule.late == 104


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 0.5)), min_size=1, max_size=100))
def test_every_point_of_the_grid_is_taken_or_missed(work: list[tuple[float, float]]) -> None:
    """Also where what a sample cost moves the grid."""
    schedule = Schedule(0.1, 0.05, 0.0)
    due = schedule.next(0.0)
    for seconds, cost in work:
        late, interval = schedule.late, schedule.interval
        schedule.spent(cost, due + seconds)
        due = schedule.next(due + seconds)
        assert schedule.late - late == pytest.approx(seconds / interval, abs=1)


@settings(deadline=None)
@given(st.lists(st.floats(0, 5), min_size=1, max_size=100))
def test_the_next_tick_is_always_ahead(work: list[float]) -> None:
    schedule, now = Schedule(0.1, 1.0, 0.0), 0.0
    for seconds in work:
        due = schedule.next(now)
        assert now < due <= now + 0.1 + 1e-9
        now = due + seconds


def test_the_interval_stretches_to_the_budget_and_comes_back() -> None:
    schedule, now = Schedule(0.1, 0.05, 0.0), 0.0
    for _ in range(200):
        now = schedule.next(now)
        schedule.spent(0.02, now)
    assert schedule.interval == pytest.approx(0.4, rel=0.05)
    assert schedule.configured == 0.1
    for _ in range(200):
        now = schedule.next(now)
        schedule.spent(0.0005, now)
    assert schedule.interval == pytest.approx(0.1)


def test_cheap_samples_keep_the_interval() -> None:
    schedule, now = Schedule(0.1, 0.05, 0.0), 0.0
    for _ in range(100):
        now = schedule.next(now)
        schedule.spent(0.004, now)
    assert schedule.interval == 0.1
