"""Whatever the packages and the meters are: each joule goes somewhere, and to nobody only where nobody ran."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.columns import NODE
from kepler_ebpf.energy.source import ALL_PACKAGES, Domain
from tests.needs import examples
from tests.node import Node

SAMPLES = 12
READINGS = st.just(0.0) | st.floats(1e-6, 1000)
"""Joules of one reading: no meter counts in less than a microjoule."""


@st.composite
def machines(draw: st.DrawFn) -> tuple[int, tuple[Domain, ...]]:
    """Packages, and domains that name one of them, all of them, or one that is not there; two zones of one package."""
    packages = draw(st.integers(1, 8))
    places = st.one_of(st.integers(0, packages - 1), st.just(ALL_PACKAGES), st.integers(packages, 40))
    domains = draw(
        st.lists(
            st.builds(
                Domain,
                st.sampled_from(("package", "dram", "core", "uncore", "platform")),
                places,
                st.just("fake"),
                idle_watts=st.sampled_from((0.0, 3.0, 1e9)),
            ),
            min_size=1,
            max_size=8,
        )
    )
    return packages, tuple(domains)


@settings(max_examples=examples(200), deadline=None)
@given(machines(), st.data(), st.sampled_from(("none", "proportional", "equal", "requests")))
def test_every_joule_goes_somewhere(machine: tuple[int, tuple[Domain, ...]], data: st.DataObject, policy: str) -> None:
    packages, domains = machine
    node = Node(domains, packages, policy)
    of_node = np.array([domain.component in NODE for domain in domains])
    for _ in range(data.draw(st.integers(1, SAMPLES))):
        ran = data.draw(st.lists(st.tuples(st.integers(1, 5), st.integers(0, packages - 1)), max_size=6))
        for tgid, package in ran:
            node.kernel.run(tgid, tgid, package, data.draw(st.integers(1, 10**8)))
        for domain in data.draw(st.sets(st.integers(0, len(domains) - 1), max_size=2)):
            node.source.fail(domain)
        joules = np.array([data.draw(READINGS) for _ in domains])
        before = {name: level.total().copy() for name, level in node.ledger.levels.items()}
        frame = node.tick(joules).last
        reading = frame.reading
        assert frame.measured.sum() == pytest.approx(reading.joules[of_node].sum())
        for name, level in node.ledger.levels.items():
            charged = (level.total() - before[name])[: len(NODE)]
            assert charged + frame.idle + frame.unattributed == pytest.approx(frame.measured, rel=1e-9, abs=1e-9)
        # Nothing is unattributed of a domain of which any CPU ran since it last answered.
        busy = {package for _, package in ran}
        idle_payers = [p for p in range(packages) if p not in busy] + ([] if busy else [packages])
        blameless = of_node & np.isin(reading.payer, idle_payers)
        assert frame.unattributed.sum() <= reading.dynamic[blameless].sum() + 1e-9
    assert node.ledger.gap_exceeded == {"process": 0, "container": 0}


def test_a_domain_of_a_package_that_is_not_there_is_paid_by_all() -> None:
    """The ranks of eight sockets on a guest whose kernel rows tell one apart: 10, 20 … 80 J."""
    domains = tuple(Domain("package", rank, "fake", str(rank), idle_watts=0.0) for rank in range(8))
    node = Node(domains, packages=1)
    node.kernel.run(10, 1, 0, 10**8)
    node.kernel.run(11, 2, 0, 3 * 10**8)
    node.tick(np.arange(10.0, 90.0, 10.0))
    assert (node.process(10), node.process(11)) == pytest.approx((90.0, 270.0))
    assert node.ledger.unattributed.tolist() == [0.0, 0.0, 0.0]
    assert node.ledger.domains.tolist() == list(np.arange(10.0, 90.0, 10.0))


def test_each_of_eight_packages_is_paid_by_its_own() -> None:
    domains = tuple(Domain("package", rank, "fake", str(rank), idle_watts=0.0) for rank in range(8))
    node = Node(domains, packages=8)
    for rank in range(8):
        node.kernel.run(10 + rank, 1 + rank, rank, 10**8)
    node.tick(np.arange(10.0, 90.0, 10.0))
    assert [node.process(10 + rank) for rank in range(8)] == pytest.approx(list(np.arange(10.0, 90.0, 10.0)))
