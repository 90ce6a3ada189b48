"""The history holds what the books say, step by step, within its memory."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.energy.source import Domain
from kepler_ebpf.history.step import IDLE, MEASURED, UNATTRIBUTED, Process, Shares, Step
from kepler_ebpf.kernel.source import CgroupEvent
from kepler_ebpf.snapshot.containers import ContainerSeries
from kepler_ebpf.workloads.workload import Workload
from tests.history.world import World
from tests.needs import examples


def closes(shares: Shares[Process] | Shares[Workload], step: Step) -> None:
    """The level's power and energy add up to the node's."""
    for mine, others, books in (
        (shares.watts.sum(dtype=np.float64), shares.others_watts, step.watts),
        (shares.joules.sum(), shares.others_joules, step.joules),
    ):
        whole = mine + others + books[IDLE].sum() + books[UNATTRIBUTED].sum()
        assert whole == pytest.approx(books[MEASURED].sum(), rel=1e-6)


def test_a_step_is_the_power_of_its_second() -> None:
    world = World()
    for _ in range(10):
        world.frame(3.0, runs=((10, 1), (11, 2)))
    step = world.last
    assert step.number == 1
    assert step.ended == pytest.approx(1001.0)
    assert step.clock == pytest.approx(1001.0 + 5e8)
    assert step.node_watts == pytest.approx(30.0)
    assert step.watts[IDLE].sum() == pytest.approx(10.0)
    assert {(who.pid, who.comm, who.workload.container_id) for who in step.processes.who} == {
        (10, "p10", "c1"),
        (11, "p11", "c2"),
    }
    assert step.processes.watts.tolist() == pytest.approx([10.0, 10.0])
    assert step.containers.joules.tolist() == pytest.approx([10.0, 10.0])
    assert step.domain_watts.tolist() == pytest.approx([30.0])
    for _ in range(10):
        world.frame(1.0)
    assert world.last.node_joules == pytest.approx(40.0)
    idle = {who.pid: watts for who, watts in zip(world.last.processes.who, world.last.processes.watts.tolist())}
    assert idle[11] == 0.0, "who used much before is still there"


def test_who_ended_within_a_step_is_in_it_by_name_even_where_its_row_is_another_s_now() -> None:
    world = World()
    world.frame(2.0, runs=((10, 1),))
    world.kernel.kill(10)
    world.frame(2.0, runs=())
    world.frame(2.0, runs=())
    world.frame(2.0, runs=())  # settled: its row is free
    for _ in range(6):
        world.frame(2.0, runs=((12, 1),))
    assert world.kernel.row_of_process(12) == 1, "the row is used again"
    found = {who.comm: joules for who, joules in zip(world.last.processes.who, world.last.processes.joules.tolist())}
    assert found == {"p10": pytest.approx(1.0), "p12": pytest.approx(6.0)}
    closes(world.last.processes, world.last)


def test_short_lived_processes_of_one_name_are_one() -> None:
    world = World(step_seconds=1.3)
    world.frame(2.0, runs=((7, 1),))
    for tgid in range(10, 19):
        world.frame(2.0, runs=((tgid, tgid % 2 + 1),))
        world.kernel.processes.rows["comm"][world.kernel.row_of_process(tgid)] = b"sh"
        world.kernel.kill(tgid)
    for _ in range(3):
        world.frame(2.0, runs=((7, 1),))
    shares = world.last.processes
    found = {(who.pid, who.comm, who.workload.container_id): joules for who, joules in zip(shares.who, shares.joules)}
    assert found == {
        (7, "p7", "c1"): pytest.approx(4.0),
        (0, "sh", "c1"): pytest.approx(5.0),
        (0, "sh", "c2"): pytest.approx(4.0),
    }
    closes(shares, world.last)


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), max_size=4),
            st.sets(st.integers(1, 9), max_size=3),
            st.floats(0, 50),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_the_books_of_every_step_close(script: list[tuple[list[tuple[int, int]], set[int], float]]) -> None:
    world = World(step_seconds=0.3, kept=3)
    for runs, ends, joules in script:
        world.frame(joules, runs=tuple(runs))
        for tgid in ends:
            world.kernel.kill(tgid)
    for step in world.history.steps:
        closes(step.processes, step)
        closes(step.containers, step)
        assert len(step.processes.who) <= 3
    total = sum(float(step.watts[MEASURED].sum() * step.seconds) for step in world.history.steps)
    assert total == pytest.approx(world.last.node_joules if world.history.steps else 0.0)


def test_a_container_that_takes_the_row_of_one_that_has_gone_has_its_own_power() -> None:
    world = World(Domain("package", 0, "fake"))
    series = ContainerSeries(world.sampler.ledger.levels["container"], world.sampler.table, world.workloads, 0.0)
    for _ in range(15):
        world.frame(100.0)
    world.kernel.kill(10)
    world.kernel.events.append(CgroupEvent(1, True, ""))
    for _ in range(70):
        world.frame(0.0, runs=())
    number = next(n for n, row in world.sampler.table.rows.items() if row.workload.container_id == "c1")
    series.publish(world.now, world.sampler.owed_since, 0.0)
    series.publish(world.now, world.sampler.owed_since, 0.0)
    assert number not in world.sampler.table.rows
    before = len(world.history.steps)
    while len(world.history.steps) == before:
        world.frame(3.0, runs=((11, 2),))
    assert world.sampler.table.rows[number].workload.container_id == "c2"
    step = world.last
    watts = {who.container_id: watts for who, watts in zip(step.containers.who, step.containers.watts.tolist())}
    assert watts == {"c2": pytest.approx(step.node_watts)}
    closes(step.containers, step)


def test_a_meter_that_answers_late_makes_no_gap_and_no_peak() -> None:
    world = World()
    for number in range(80):
        world.frame(1.0)
        if number % 25:  # 2.5 seconds between two answers
            world.source.fail(0)
    assert len(world.history.steps) >= 3
    for step in world.history.steps:
        assert step.node_watts == pytest.approx(10.0)


def test_a_meter_that_goes_silent_ends_the_step_at_last() -> None:
    world = World(Domain("package", 0, "fake"), Domain("gpu", 0, "fake"))
    for _ in range(10):
        world.frame(1.0, 2.0)
    for _ in range(90):
        world.source.fail(1)
        world.frame(1.0, 2.0)
    assert world.history.steps[0].watts[MEASURED].tolist() == pytest.approx([10.0, 0.0, 20.0])
    assert world.last.watts[MEASURED].tolist() == pytest.approx([10.0, 0.0, 0.0])
    assert np.isnan(world.last.domain_watts).tolist() == [False, True]
    assert world.last.ended == pytest.approx(world.now, abs=1.1)


def test_only_so_many_steps_are_held() -> None:
    world = World(steps=5)
    for _ in range(120):
        world.frame(1.0)
    assert [step.number for step in world.history.steps] == [8, 9, 10, 11, 12]


def test_a_build_does_not_shorten_the_history() -> None:
    world = World(rows=1024)
    tgid = 100
    for _ in range(30):
        born = range(tgid, tgid + 50)
        tgid += 50
        world.frame(9.0, runs=tuple((one, one % 4 + 1) for one in born))
        for one in born:
            world.kernel.processes.rows["comm"][world.kernel.row_of_process(one)] = b"cc1"
            world.kernel.kill(one)
    assert [who.comm for who in world.last.processes.who if who.pid == 0] == ["cc1"] * 4


def test_a_storm_of_short_processes_stays_within_the_memory() -> None:
    """What the history says of its memory is not less than what Python allocates for it."""
    world = World(rows=1024, step_seconds=0.2, limit_bytes=1 << 19)
    gc.collect()
    tracemalloc.start()
    tgid = 100
    for _ in range(80):  # 40 steps of 100 processes each, none of which lives on
        born = range(tgid, tgid + 50)
        tgid += 50
        world.frame(9.0, runs=tuple((one, one % 40 + 1) for one in born))
        for one in born:
            world.kernel.kill(one)
    world.sampler.begin_publication()
    gc.collect()
    here = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/history/*")])
    tracemalloc.stop()
    used = sum(line.size for line in here.statistics("filename"))
    assert used <= world.history.nbytes <= 1 << 19
    assert 2 < len(world.history.steps) < 40, "it holds fewer steps rather than more memory"
    closes(world.last.processes, world.last)


def test_ten_minutes_of_an_ordinary_machine_fit() -> None:
    world = World()
    runs = tuple((tgid, tgid % 40 + 1) for tgid in range(10, 110))
    for _ in range(610):
        world.frame(9.0, seconds=1.0, runs=runs)
    assert len(world.history.steps) == 600
    assert world.history.nbytes <= 4 << 20
