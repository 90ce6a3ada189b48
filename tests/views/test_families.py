"""The page of a snapshot that has everything, whole; and that no page ever says a thing twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.snapshot.types import Snapshot
from kepler_ebpf.views.families import FAMILIES, families
from kepler_ebpf.views.text import Labels, prometheus_text
from tests.needs import examples
from tests.snapshots import everything
from tests.test_collector import World

GOLDEN = Path(__file__).with_name("golden.txt")


def page(snapshot: Snapshot) -> str:
    return b"".join(prometheus_text(families(snapshot), Labels())).decode()


def test_the_page_is_what_it_was() -> None:
    """To change it on purpose: python -m tests.views.test_families."""
    assert page(everything()) == GOLDEN.read_text()


def test_every_family_is_on_a_page_that_has_everything() -> None:
    text = page(everything())
    for family in FAMILIES:
        assert f"# TYPE {family.full_name} {family.kind}\n" in text


def test_what_is_not_measured_is_not_there() -> None:
    world = World()
    world.tick(5.0)
    world.collector.publish()
    assert world.collector.snapshot is not None
    text = page(world.collector.snapshot)
    assert "kepler_node_package_joules_total" in text
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    for absent in ("dram", "gpu", "core", "cycles", "platform"):
        assert not [name for name in names if f"_{absent}_" in name]


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4), st.sampled_from(("run", "die", "publish")))))
def test_no_page_has_two_samples_with_one_name_and_label_set(script: list[tuple[int, int, str]]) -> None:
    world = World()
    for tgid, cgroup, what in script:
        if what == "run":
            world.kernel.run(tgid, cgroup, 0, 10**7)
        elif what == "die":
            world.kernel.kill(tgid)
        world.tick(1.0)
        if what == "publish":
            world.collector.publish()
            assert world.collector.snapshot is not None
            lines = [line.rsplit(" ", 1)[0] for line in page(world.collector.snapshot).splitlines() if line[0] != "#"]
            assert max(Counter(lines).values()) == 1


def test_families_are_told_apart_by_name() -> None:
    assert max(Counter(family.name for family in FAMILIES).values()) == 1


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_are_as_prometheus_wants_them(family: object) -> None:
    from kepler_ebpf.views.family import Family

    assert isinstance(family, Family)
    assert family.help.endswith(".")
    assert not family.name.endswith("_total")
    assert len(set(family.labels)) == len(family.labels)


if __name__ == "__main__":
    GOLDEN.write_text(page(everything()))
