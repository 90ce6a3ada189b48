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


def slices(
    package: np.ndarray, alone_ns: np.ndarray, *, sample: np.ndarray | None = None, **columns: np.ndarray
) -> Slices:
    """One row each, in one sample unless it is said otherwise."""
    nothing, sample = np.zeros(len(package)), np.zeros(len(package), np.intp) if sample is None else sample
    others = [columns.get(name, nothing) for name in ("shared_ns", "cycles", "misses", "instructions")]
    return Slices(sample, np.arange(len(package)), package, alone_ns, *others)


def attribute(weight: np.ndarray, package: np.ndarray, joules: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joules per row, and what is left of each package on which nobody ran."""
    split = share(slices(package, weight), 1, len(joules), 1.1, False, False)
    by_payer = np.append(joules, 0.0)
    return split.charge(by_payer[np.newaxis, np.newaxis])[0], np.where(split.total[0, :-1] > 0, 0.0, joules)


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
    split = share(slices(package, time_ns, misses=misses), 1, 2, 1.1, by_cycles=False, by_misses=True)
    charged = split.charge(np.array([[[4.0, 8.0, 0.0], [10.0, 2.0, 0.0], [0.0, 0.0, 0.0]]]))
    assert charged[0] == pytest.approx([1.0, 3.0, 4.0, 4.0])
    assert charged[1] == pytest.approx([9.0, 1.0, 1.0, 1.0])


def test_dram_is_not_weighed_by_what_two_threads_of_a_core_save() -> None:
    """Two rows of equal time, one alone on its core: the core's energy differs, the memory's does not."""
    ran = slices(np.zeros(2, np.intp), np.array([1e9, 0.0]), shared_ns=np.array([0.0, 1e9]))
    charged = share(ran, 1, 1, 1.0, by_cycles=False, by_misses=False).charge(np.array([[[3.0, 0.0], [2.0, 0.0]]]))
    assert charged.tolist() == [[2.0, 1.0], [1.0, 1.0]]


def test_a_row_on_a_cpu_without_a_counter_is_weighed_by_its_time() -> None:
    ran = slices(np.zeros(3, np.intp), np.full(3, 1e9), cycles=np.array([3e9, 1e9, 0.0]))
    charged = share(ran, 1, 1, 1.1, by_cycles=True, by_misses=False).charge(np.array([[[6.0, 0.0]]]))
    assert charged[0] == pytest.approx([3.0, 1.0, 2.0])


def test_what_all_packages_pay_for_is_shared_among_all_rows() -> None:
    ran = slices(np.array([0, 0, 1]), np.array([1.0, 2.0, 3.0]))
    used = share(ran, 1, 2, 1.1, False, False).charge(np.array([[[3.0, 5.0, 6.0]]]))
    assert used[0] == pytest.approx([1.0 + 1.0, 2.0 + 2.0, 5.0 + 3.0])


@pytest.mark.parametrize("counted", [False, True])
def test_samples_that_are_shared_at_once_are_shared_one_by_one(counted: bool) -> None:
    """Four samples on two packages, some rows without a counter: as if each were the only one."""
    chance = np.random.default_rng(1)
    sample, package = np.sort(chance.integers(0, 4, 40)), chance.integers(0, 2, 40)
    columns = {"shared_ns": chance.random(40), "cycles": chance.random(40), "misses": chance.random(40)}
    columns["cycles"][chance.random(40) < 0.3] = 0.0
    joules = chance.random((4, 3, 3))
    ran = slices(package, chance.random(40), sample=sample, **columns)
    at_once = share(ran, 4, 2, 1.1, counted, counted).charge(joules)
    for number in range(4):
        alone = share(ran.of(number), 1, 2, 1.1, counted, counted).charge(joules[number : number + 1])
        assert at_once[:, sample == number] == pytest.approx(alone)
