from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kepler_ebpf.attribution.weights import hyperthread_weights, share, split_idle
from kepler_ebpf.kernel.table import Slices

PACKAGES = 3
weights = arrays(np.float64, st.integers(0, 40), elements=st.one_of(st.just(0.0), st.floats(1e-9, 1e15)))


def attribute(weight: np.ndarray, package: np.ndarray, joules: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joules per row, and what is left of each package on which nobody ran."""
    nothing = np.zeros(len(weight))
    split = share(Slices(np.arange(len(weight)), package, weight, *[nothing] * 4), len(joules), 1.1, False, False)
    by_payer = np.append(joules, 0.0)
    return split.charge(by_payer[np.newaxis])[0], np.where(split.total[:-1] > 0, 0.0, joules)


@given(weights, st.randoms(), arrays(np.float64, PACKAGES, elements=st.floats(0, 1e9)))
def test_rows_and_remainder_sum_to_what_went_in(weight: np.ndarray, random: object, joules: np.ndarray) -> None:
    package = np.array([random.randrange(PACKAGES) for _ in weight], np.intp)  # type: ignore[attr-defined]
    used, rest = attribute(weight, package, joules)
    assert np.all(used >= 0)
    assert np.bincount(package, used, PACKAGES) + rest == pytest.approx(joules, rel=1e-12)
    for p in range(PACKAGES):
        assert rest[p] == (0 if weight[package == p].sum() > 0 else joules[p])


def test_each_package_is_shared_among_its_own() -> None:
    """Two sockets, 100 J and 10 J, two processes each: summing first would give each row a quarter of 110 J."""
    used, rest = attribute(np.array([1.0, 3.0, 1.0, 1.0]), np.array([0, 0, 1, 1]), np.array([100.0, 10.0]))
    assert used.tolist() == [25.0, 75.0, 5.0, 5.0]
    assert rest.tolist() == [0.0, 0.0]


@given(weights, st.floats(1e-3, 1e3))
def test_the_unit_of_weights_does_not_matter(weight: np.ndarray, factor: float) -> None:
    package = np.zeros(len(weight), np.intp)
    one, _ = attribute(weight, package, np.array([50.0]))
    other, _ = attribute(weight * factor, package, np.array([50.0]))
    assert one == pytest.approx(other)


@pytest.mark.parametrize(("ratio", "expected"), [(1.0, 1.5), (1.1, 1.55), (2.0, 2.0)])
def test_hyperthread_weights(ratio: float, expected: float) -> None:
    assert hyperthread_weights(np.array([1.0]), np.array([1.0]), ratio)[0] == pytest.approx(expected)


def test_nobody_gets_nothing() -> None:
    used, rest = attribute(np.zeros(2), np.array([0, 1]), np.array([3.0, 4.0]))
    assert used.tolist() == [0, 0]
    assert rest.tolist() == [3.0, 4.0]


@given(
    arrays(np.float64, 4, elements=st.floats(0, 1e6)),
    arrays(np.float64, 4, elements=st.one_of(st.just(np.nan), st.floats(0, 500))),
    arrays(np.float64, 4, elements=st.floats(0, 100)),
)
def test_idle_and_dynamic_sum_and_are_never_negative(
    joules: np.ndarray, floor: np.ndarray, seconds: np.ndarray
) -> None:
    dynamic, idle = split_idle(joules, floor, seconds)
    assert np.all(dynamic >= 0)
    assert np.all(idle >= 0)
    assert dynamic + idle == pytest.approx(joules, rel=1e-12)


def test_dram_goes_by_cache_misses_where_they_are_counted() -> None:
    """Two packages; on the second nobody missed, so its DRAM is shared like its package energy."""
    package = np.array([0, 0, 1, 1])
    time_ns, misses = np.array([1e9, 3e9, 1e9, 1e9]), np.array([9.0, 1.0, 0.0, 0.0])
    slices = Slices(np.arange(4), package, time_ns, np.zeros(4), np.zeros(4), misses, np.zeros(4))
    split = share(slices, 2, 1.1, by_cycles=False, by_misses=True)
    charged = split.charge(np.array([[4.0, 8.0, 0.0], [10.0, 2.0, 0.0], [0.0, 0.0, 0.0]]))
    assert charged[0] == pytest.approx([1.0, 3.0, 4.0, 4.0])
    assert charged[1] == pytest.approx([9.0, 1.0, 1.0, 1.0])


def test_dram_is_not_weighed_by_what_two_threads_of_a_core_save() -> None:
    """Two rows of equal time, one alone on its core: the core's energy differs, the memory's does not."""
    slices = Slices(np.arange(2), np.zeros(2, np.intp), np.array([1e9, 0.0]), np.array([0.0, 1e9]), *np.zeros((3, 2)))
    charged = share(slices, 1, 1.0, by_cycles=False, by_misses=False).charge(np.array([[3.0, 0.0], [2.0, 0.0]]))
    assert charged.tolist() == [[2.0, 1.0], [1.0, 1.0]]


def test_a_row_on_a_cpu_without_a_counter_is_weighed_by_its_time() -> None:
    slices = Slices(
        np.arange(3), np.zeros(3, np.intp), np.full(3, 1e9), np.zeros(3), np.array([3e9, 1e9, 0.0]), *np.zeros((2, 3))
    )
    charged = share(slices, 1, 1.1, by_cycles=True, by_misses=False).charge(np.array([[6.0, 0.0]]))
    assert charged[0] == pytest.approx([3.0, 1.0, 2.0])


def test_what_all_packages_pay_for_is_shared_among_all_rows() -> None:
    used = share(
        Slices(np.arange(3), np.array([0, 0, 1]), np.array([1.0, 2.0, 3.0]), *np.zeros((4, 3))), 2, 1.1, False, False
    ).charge(np.array([[3.0, 5.0, 6.0]]))
    assert used[0] == pytest.approx([1.0 + 1.0, 2.0 + 2.0, 5.0 + 3.0])
