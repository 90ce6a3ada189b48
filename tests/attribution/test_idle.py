from __future__ import annotations

import math
import random

import pytest

from kepler_ebpf.attribution.idle import IdleFloor


def power(utilization: float) -> float:
    return 40.0 + 100.0 * utilization


def test_unknown_until_something_is_known() -> None:
    assert math.isnan(IdleFloor().watts)


def test_a_set_floor_stays() -> None:
    floor = IdleFloor(12.5)
    floor.update(5.0, 0.0, 100.0)
    assert floor.watts == 12.5


def test_low_load_teaches_the_floor() -> None:
    floor, chance = IdleFloor(), random.Random(1)
    for _ in range(500):
        floor.update(power(0.02) + chance.gauss(0, 2), 0.02, 0.1)
    assert floor.watts == pytest.approx(42.0, abs=1.0)


def test_without_low_load_the_line_does() -> None:
    floor, chance = IdleFloor(), random.Random(2)
    for _ in range(3000):
        load = chance.uniform(0.3, 0.95)
        floor.update(power(load) + chance.gauss(0, 3), load, 0.1)
    assert floor.watts == pytest.approx(40.0, abs=5.0)


def test_one_odd_reading_moves_little() -> None:
    floor = IdleFloor()
    for _ in range(1000):
        floor.update(power(0.01), 0.01, 0.1)
    floor.update(0.1, 0.01, 0.1)
    for _ in range(60):
        floor.update(power(0.01), 0.01, 0.1)
    assert floor.watts == pytest.approx(41.0, abs=0.5)


def test_the_floor_is_never_above_what_low_load_draws() -> None:
    floor, chance = IdleFloor(), random.Random(3)
    for _ in range(2000):
        load = chance.choice((0.5, 0.6, 0.7, 0.8, 0.9))
        floor.update(power(load) * chance.uniform(0.8, 1.2), load, 0.1)
    assert 0 <= floor.watts <= 90
