"""Series of containers from the first joule to the end, by a fake kernel and names that come when the test says."""

from __future__ import annotations

import numpy as np
import pytest

from kepler_ebpf.columns import NODE
from kepler_ebpf.kernel.source import CgroupEvent
from kepler_ebpf.snapshot.containers import ContainerSeries
from kepler_ebpf.snapshot.types import Containers
from kepler_ebpf.workloads.workload import Workload
from tests.node import DOMAINS, Node

HOLD = 120.0
EPOCH = 1.75e9  # what the clock on the wall says more than the monotonic one


class World:
    """Containers by cgroup id: their names are known, pending or unknown as ``names`` says."""

    def __init__(self) -> None:
        self.node = Node()
        self.names = self.node.workloads.names
        self.forgotten = self.node.workloads.forgotten
        ledger = self.node.ledger
        self.series = ContainerSeries(ledger.levels["container"], self.node.table, self.node.workloads, HOLD)
        self.since = EPOCH + self.node.now

    def run(self, *cgroups: int) -> None:
        for cgroup in cgroups:
            self.node.kernel.run(cgroup, cgroup, 0, 1_000_000)
        self.node.tick(np.full(len(DOMAINS), 8.0))

    def end(self, *cgroups: int) -> None:
        """Their processes end, their cgroups are removed, and the sampler has seen it."""
        for cgroup in cgroups:
            self.node.kernel.kill(cgroup)
            self.node.kernel.events.append(CgroupEvent(cgroup, True, ""))
        for seconds in (0.1, 6.0, 0.1):
            self.node.tick(np.zeros(len(DOMAINS)), seconds)

    def publish(self) -> Containers:
        self.node.ledger.end_publication()
        found = self.series.publish(self.node.now, self.node.sampler.owed_since, self.since)
        self.since = EPOCH + self.node.now
        level = self.node.ledger.levels["container"]
        whole = found.joules[: len(NODE)].sum() + found.pending_joules + found.exited_joules
        assert whole == pytest.approx(float(level.total()[: len(NODE)].sum()), rel=1e-9)
        labels = [(workload.container_id, workload.container) for workload in found.workloads]
        assert len(set(labels)) == len(labels), "no two series have the same labels"
        return found

    def labels(self) -> dict[tuple[str, str], float]:
        found = self.publish()
        return {
            (workload.container_id, workload.container): joules
            for workload, joules in zip(found.workloads, found.joules.sum(axis=0).tolist())
        }


def test_a_series_begins_with_its_name_and_its_joules_are_kept_meanwhile() -> None:
    world = World()
    world.names["c7"] = None
    world.run(7)
    found = world.publish()
    assert found.workloads == ()
    assert found.pending_joules > 0
    world.names["c7"] = "app"
    world.run(7)
    assert world.labels()["c7", "app"] > found.pending_joules
    world.names["c7"] = "other"
    assert list(world.labels()) == [("c7", "app")], "its labels are its for life"


def test_one_that_dies_while_its_name_is_looked_up_waits_too() -> None:
    world = World()
    world.names["c7"] = None
    world.run(7)
    world.end(7)
    assert world.publish().workloads == ()
    world.node.now += 10
    world.names["c7"] = "app"
    assert list(world.labels()) == [("c7", "app")]
    world.node.now += HOLD - 1
    assert list(world.labels()) == [("c7", "app")], "held from when it was first shown"
    world.node.now += 2
    assert world.labels() == {}
    assert world.forgotten == ["c7"]


def test_a_name_that_comes_too_late_begins_a_series_of_its_own() -> None:
    world = World()
    world.run(7)
    before = world.labels()["c7", ""]
    world.names["c7"] = "app"
    world.publish()
    world.run(7)
    found = world.labels()
    assert found["c7", ""] == before, "nothing of it is counted twice, and no counter falls"
    assert found["c7", "app"] > 0
    world.node.now += HOLD + 1
    world.run(7)
    assert list(world.labels()) == [("c7", "app")]
    assert world.forgotten == [], "the container lives"


def test_no_more_than_a_thousand_dead_stay_but_each_was_shown() -> None:
    world, shown = World(), set()
    for first in range(1, 2000, 8):
        cgroups = range(first, first + 8)
        world.run(*cgroups)
        world.end(*cgroups)
        found = world.publish()
        assert len(found.workloads) <= 1000 + 8
        shown |= {workload.container_id for workload in found.workloads}
    assert len(shown) == 2000


def test_a_systemd_unit_dies_like_a_container() -> None:
    world = World()
    world.node.workloads.known[3] = Workload("system", container="run-3.service")
    world.run(3)
    world.end(3)
    assert list(world.labels()) == [("", "run-3.service")]
    world.node.now += HOLD + 1
    assert world.labels() == {}


def test_a_series_tells_when_it_was_at_nought() -> None:
    """One that waits for its name began when it ran first, and comes with all that it has used since."""
    world = World()
    world.run(8)
    assert world.publish().began == (EPOCH,)
    began = EPOCH + world.node.now
    world.names["c7"] = None
    for _ in range(2):
        world.run(7)
        assert len(world.publish().began) == 1
    world.names["c7"] = "app"
    world.run(7)
    assert world.publish().began == (EPOCH, began)
