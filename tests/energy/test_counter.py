from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kepler_ebpf.energy.counter import WrappingCounter, energy_delta


@pytest.mark.parametrize(
    ("now", "before", "span", "delta"), [(5, 3, 10, 2), (1, 9, 10, 2), (0, 9, 10, 1), (3, 3, 10, 0)]
)
def test_energy_delta(now: int, before: int, span: int, delta: int) -> None:
    assert energy_delta(now, before, span) == delta


@pytest.mark.parametrize("unit_joules", [15.3e-6, 61e-6])
@given(st.data())
def test_wraps_cost_at_most_one_unit(unit_joules: float, data: st.DataObject) -> None:
    """A 32-bit counter under up to 1 kW, sampled irregularly, for as long as it likes."""
    span = 2**32
    truth, now_ns = data.draw(st.integers(0, span - 1)), 0
    counter = WrappingCounter(span, unit_joules, truth, now_ns)
    start, counted, wraps = truth, 0.0, 0
    for seconds, watts in data.draw(st.lists(st.tuples(st.floats(0.01, 20), st.floats(0, 1000)), max_size=40)):
        before = truth // span
        truth += int(seconds * watts / unit_joules)
        now_ns += round(seconds * 1e9) + 1
        joules, reason = counter.advance(truth % span, now_ns)
        assert not reason
        counted += joules
        wraps += truth // span - before
    assert counted == pytest.approx((truth - start) * unit_joules, abs=(wraps + 1) * unit_joules, rel=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.floats(0.01, 3600), st.sampled_from([15.3e-6, 61e-6]))
def test_no_reading_ever_makes_a_spike(before: int, after: int, seconds: float, unit_joules: float) -> None:
    counter = WrappingCounter(2**32, unit_joules, before, 0)
    joules, reason = counter.advance(after, round(seconds * 1e9))
    assert 0 <= joules <= 2000 * seconds + 2 * unit_joules
    assert joules == 0 or not reason
