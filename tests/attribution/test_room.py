"""Whoever fills the kernel's table of cgroups loses rows again, and nobody else does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kepler_ebpf.attribution.room import chosen, fair_share
from tests.node import Node, package


@given(st.lists(st.integers(1, 100), max_size=20), st.integers(0, 500))
def test_fair_shares(counts: list[int], most: int) -> None:
    share = fair_share(counts, most)
    assert sum(min(count, share) for count in counts) <= most
    if sum(counts) > most:
        assert sum(min(count, share + 1) for count in counts) > most, "as much as there is room for"
    else:
        assert share == max(counts, default=0)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100)), max_size=60),
    st.integers(0, 60),
)
def test_only_the_idle_of_whoever_has_most_lose_their_rows(cgroups: list[tuple[str, float]], most: int) -> None:
    makers, ran = [maker for maker, _ in cgroups], [since for _, since in cgroups]
    taken = set(chosen(range(len(cgroups)), makers, ran, 100.0, most))
    left = [maker for row, maker in enumerate(makers) if row not in taken]
    assert all(100.0 - ran[row] > 2.0 for row in taken)
    share = fair_share([makers.count(maker) for maker in set(makers)], most)
    for maker in set(makers):
        assert left.count(maker) >= min(makers.count(maker), share), "nobody below his share loses any"


def test_a_user_who_fills_the_table_keeps_nobody_out() -> None:
    """Fifty cgroups of one user, each for a moment, in a table of 64; then ten containers, and one of the fifty."""
    node = Node((package(),), packages=1)
    for number in range(100, 150):
        node.workloads.makers[number] = "/user.slice/user-1000.slice"
        node.kernel.run(1, number, 0, 10**6)
    node.kernel.run(2, 7, 0, 10**6)
    node.tick(np.array([1.0]))
    for _ in range(8):
        node.kernel.run(3, 8, 0, 10**6)
        node.tick(np.array([1.0]), seconds=1.0)
    assert len(node.kernel.cgroups.used()) <= 33
    assert node.number(7) in node.table.rows
    assert node.table.rows[node.number(7)].died is None, "it is idle too, and not one of many"
    for number in range(10, 20):
        node.kernel.run(4, number, 0, 10**7)
    node.kernel.run(1, 100, 0, 10**7)
    before = node.container(100)
    node.tick(np.array([11.0]))
    assert [node.container(number) for number in range(10, 20)] == pytest.approx([1.0] * 10)
    assert node.container(100) == pytest.approx(before + 1.0), "its series goes on"
    for level in node.ledger.levels:
        assert node.ledger.relative_gap(level) < 1e-12
