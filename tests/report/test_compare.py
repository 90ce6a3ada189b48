"""Two recordings: what is called different is, and what is not may be chance."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kepler_ebpf.columns import GPU
from kepler_ebpf.report import compare, student
from kepler_ebpf.report.book import Book, Charges
from kepler_ebpf.report.people import Who
from kepler_ebpf.report.text import WIDTH

FRAMES = 1000


def machine(seed: int, watts: dict[str, float], memory: float = 0.9) -> Book:
    """A recording of programs whose power wanders about a mean: a moment later it is much as it was (AR(1))."""
    chance = np.random.default_rng(seed)
    everyone, power = tuple(Who("", "system", "", "", comm, 1, 1) for comm in watts), []
    for mean in watts.values():
        noise, now = np.empty(FRAMES), 0.0
        for k, step in enumerate(chance.normal(0, 0.3, FRAMES)):
            now = memory * now + step
            noise[k] = now
        power.append(np.maximum(mean * (1 + 0.3 * noise), 0.0))
    joules = np.array(power) * 0.01
    seconds = np.full(FRAMES, 0.01)
    measured = np.stack([joules.sum(axis=0), np.zeros(FRAMES), np.zeros(FRAMES)])
    flat = np.stack([joules.reshape(-1), np.zeros(joules.size), np.zeros(joules.size)])
    charges = Charges(
        everyone,
        np.repeat(np.arange(len(everyone)), FRAMES),
        np.tile(np.arange(FRAMES), len(everyone)),
        flat,
        np.ones(joules.size) * 1e-3,
    )
    nothing = np.zeros((3, FRAMES))
    covered = np.stack([seconds, np.zeros(FRAMES), np.zeros(FRAMES)])
    return Book(
        Path("a"),
        np.arange(1, FRAMES + 1) * 10_000,
        seconds,
        np.zeros(FRAMES),
        measured,
        nothing,
        nothing,
        covered,
        measured / 0.01,
        {"process": charges, "container": charges},
        ("fake",),
        {"idle_policy": "none", "hyperthread_ratio": 1.1},
        {},
        "",
    )


def test_the_same_machine_twice_differs_seldom() -> None:
    """Of 200 pairs that differ by chance alone 5 % may be called different; a test over frames calls most so."""
    wrong = sum(
        compare.compare(machine(2 * k, {"a": 3.0}), machine(2 * k + 1, {"a": 3.0}), "program")[0].means_something
        for k in range(200)
    )
    assert wrong <= 20


def test_the_true_difference_is_in_the_interval() -> None:
    inside = 0
    for k in range(100):
        node = compare.compare(machine(2 * k, {"a": 3.0}), machine(2 * k + 1, {"a": 3.6}), "program")[0]
        inside += node.interval[0] <= 0.6 <= node.interval[1]
    assert inside >= 88


def test_what_differs_is_found_and_what_is_gone_is_named() -> None:
    first = machine(1, {"same": 2.0, "slower": 2.0, "gone": 1.0})
    second = machine(2, {"same": 2.0, "slower": 4.0, "new": 1.0})
    found = {one.name: one for one in compare.compare(first, second, "program")}
    assert found["node"].means_something
    assert found["slower"].means_something
    assert not found["same"].means_something
    assert found["gone"].watts[1] == 0
    assert found["new"].watts[0] == 0
    text = compare.text(first, second, "program", 10)
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []
    assert "the node's mean power differs: B draws" in text
    assert "% more than A" in text


def test_what_is_known_of_one_alone_is_no_difference() -> None:
    """Where only one machine's GPU has a meter, the other's is not less hungry by all of it."""
    first, second = machine(1, {"a": 2.0}), machine(2, {"a": 2.0})
    measured, covered = second.measured.copy(), second.covered_seconds.copy()
    measured[GPU], covered[GPU] = 1.0, second.seconds
    charges = second.levels["process"]
    joules = charges.joules.copy()
    joules[GPU] = 1.0
    levels = dict.fromkeys(second.levels, replace(charges, joules=joules))
    more = replace(second, measured=measured, covered_seconds=covered, levels=levels)
    assert compare.compare(first, more, "program") == compare.compare(first, second, "program")
    text = compare.text(first, more, "program", 5)
    assert "GPU power is known in B alone: it is left out" in text
    assert f"B {second.measured.sum():.3f} J" in text
    unknown = replace(second, covered_seconds=np.zeros_like(covered))
    assert compare.text(first, unknown, "program", 5).endswith("power in both: they cannot be compared\n")
    assert not any(one.means_something for one in compare.compare(first, unknown, "program"))


def test_meters_and_rules_that_differ_are_told_of_each() -> None:
    """What differs in these may be all that differs."""
    first = machine(1, {"a": 2.0})
    other = {"idle_policy": "equal", "hyperthread_ratio": 1.1}
    text = compare.text(first, replace(first, sources=("model",), rules=other), "program", 5)
    assert "A: measured by fake\nB: power is a model's, not measured: unknown model\n" in text
    assert "A: shared by CPU time; idle energy: none;" in text
    assert "B: shared by CPU time; idle energy: equal;" in text
    assert "A: measured" not in compare.text(first, first, "program", 5)


def test_of_many_workloads_few_are_called_different_by_chance() -> None:
    """100 programs, the same in both: without a correction five would differ."""
    watts = {f"p{k}": 1.0 for k in range(100)}
    found = compare.compare(machine(1, watts), machine(2, watts), "program")
    assert sum(one.means_something for one in found[1:]) <= 1


def test_a_recording_that_is_too_short_tells_nothing() -> None:
    book = machine(1, {"a": 1.0})
    charges = book.levels["process"]
    kept = charges.frame < 50
    told = {name: getattr(charges, name)[..., kept] for name in ("who", "frame", "joules", "cpu_seconds")}
    names = ("end_us", "seconds", "measured", "idle", "unattributed", "covered_seconds", "watts")
    cut = replace(charges, **told)
    columns = {name: getattr(book, name)[..., :50] for name in names}
    short = replace(book, levels={"process": cut, "container": cut}, **columns)
    found = compare.compare(short, book, "program")
    assert all(math.isnan(one.probability) and not one.means_something for one in found)
    assert "too short to tell" in compare.text(short, book, "program", 5)


@pytest.mark.parametrize(
    ("probability", "freedom", "t"),
    [(0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 10, 2.228), (0.95, 38, 2.024), (0.99, 20, 2.845), (0.95, 1e6, 1.960)],
)
def test_quantiles_are_those_of_printed_tables(probability: float, freedom: float, t: float) -> None:
    assert student.quantile(probability, freedom) == pytest.approx(t, abs=6e-4)


@given(st.floats(0, 100), st.floats(1, 1000))
def test_a_probability_is_one_and_falls(t: float, freedom: float) -> None:
    here = student.two_sided(t, freedom)
    assert 0 <= here <= 1
    assert student.two_sided(t + 0.5, freedom) <= here + 1e-12
    assert student.two_sided(-t, freedom) == pytest.approx(here)


@given(st.floats(0, 50))
def test_one_degree_of_freedom_is_cauchys(t: float) -> None:
    assert student.two_sided(t, 1) == pytest.approx(1 - 2 * math.atan(t) / math.pi, abs=1e-9)
