"""Statistics of runs against tables, and against chance itself."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest

from kepler_ebpf.stat.statistics import FEWEST_PAIRS, _signed_rank_cut, ratio, summarize


def test_a_summary_has_mean_deviation_and_what_is_odd() -> None:
    found = summarize([10.0, 10.1, 9.9, 10.0, 10.05, 9.95, 14.0])
    assert found.mean == pytest.approx(10.571, abs=1e-3)
    assert found.deviation == pytest.approx(1.5127, abs=1e-3)
    assert (found.lowest, found.highest, found.outliers) == (9.9, 14.0, (6,))


@pytest.mark.parametrize("values", [[1.0], [3.0, 3.0, 3.0], [1.0, 2.0], [5.0, 5.0, 5.0, 9.0]])
def test_few_or_equal_values_have_no_outliers(values: list[float]) -> None:
    assert summarize(values).outliers == ()


def test_one_run_has_no_deviation() -> None:
    assert math.isnan(summarize([2.0]).deviation)


@pytest.mark.parametrize(("pairs", "critical"), [(7, 0), (8, 1), (9, 3), (10, 5), (15, 19), (20, 43), (25, 76)])
def test_the_signed_rank_distribution_is_wilcoxons(pairs: int, critical: int) -> None:
    """Critical values for 2 %, both sides, as in F. Wilcoxon and R. A. Wilcox, 1964 (table II)."""
    assert _signed_rank_cut(pairs) == critical


def test_too_few_pairs_and_nothing_used_have_no_ratio() -> None:
    assert ratio([2.0] * 6, [1.0] * 6) is None
    assert ratio([2.0] * 7, [1.0] * 6) is None
    assert ratio([0.0] * 20, [1.0] * 20) is None
    assert ratio([math.nan] * 20, [1.0] * 20) is None
    assert ratio([2.0] * FEWEST_PAIRS, [1.0] * FEWEST_PAIRS) is not None


def test_a_machine_that_grows_warm_is_no_difference() -> None:
    chance = random.Random(1)
    drift = np.linspace(1.0, 1.5, 20)
    first = [10 * warm * chance.gauss(1, 0.001) for warm in drift]
    second = [10 * warm * chance.gauss(1.02, 0.001) for warm in drift]
    found = ratio(second, first)
    assert found is not None
    assert found.is_significant
    assert found.estimate == pytest.approx(1.02, abs=0.002)


def test_some_odd_runs_move_it_little() -> None:
    chance = random.Random(2)
    first = [10 * chance.gauss(1, 0.01) for _ in range(20)]
    second = [20 * chance.gauss(1, 0.01) for _ in range(20)]
    second[3] = second[11] = 100.0
    found = ratio(second, first)
    assert found is not None
    assert found.estimate == pytest.approx(2.0, rel=0.02)
    assert found.low < 2.0 < found.high < 2.1


NOISES: dict[str, Callable[[random.Random], float]] = {
    "normal": lambda chance: math.exp(chance.gauss(0, 0.05)),
    "mostly quiet, seldom loud": lambda chance: math.exp(chance.gauss(0, 0.3 if chance.random() < 0.1 else 0.01)),
    "disturbed upwards": lambda chance: 1 + chance.expovariate(20),
}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("truth", [1.0, 1.03, 2.5])
def test_the_interval_holds_the_truth_as_often_as_it_says(noise: str, truth: float) -> None:
    """in at least 95 of 100 repetitions: a thousand, so that luck has little part in it."""
    chance = random.Random(3)
    draw, held, repetitions = NOISES[noise], 0, 1000
    for _ in range(repetitions):
        found = ratio([truth * draw(chance) for _ in range(20)], [draw(chance) for _ in range(20)])
        assert found is not None
        held += found.low <= truth <= found.high
    assert held / repetitions >= 0.95
