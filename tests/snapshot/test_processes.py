"""Which processes are shown: the level always sums, no counter falls, and no sum over the level takes a step."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.attribution.frame import Departed, Entry
from kepler_ebpf.attribution.ledger import Level
from kepler_ebpf.columns import NODE
from kepler_ebpf.kernel.layout import PROCESS
from kepler_ebpf.snapshot.processes import Candidates, ProcessSeries
from kepler_ebpf.snapshot.types import Processes
from kepler_ebpf.workloads.workload import Workload
from tests.fakes import FakeWorkloads
from tests.needs import examples

HOLD_SECONDS = 120.0
EPOCH = 1.75e9  # what the clock on the wall says more than the monotonic one
ONE_SECOND = np.ones(len(NODE))
Labels = tuple[str, str, str]
ENDED = ("exited", "", "")


class World:
    """Processes that use energy, are born and die, over a real level: one row a process, one joule a CPU second."""

    def __init__(self, limit: int) -> None:
        self.workloads = FakeWorkloads()
        self.series = ProcessSeries(limit, HOLD_SECONDS, self.workloads, EPOCH)
        self.level = Level(NODE, 64)
        self.rows = np.zeros(64, PROCESS)
        self.row_of: dict[int, int] = {}
        self.departed: list[Departed] = []
        self.now = 0.0
        self.since = EPOCH
        self.starts = 0

    def use(self, tgid: int, joules: float, comm: str = "", cgroup: int = 0) -> None:
        if tgid not in self.row_of:
            row = self.row_of[tgid] = int(np.flatnonzero(self.rows["tgid"] == 0)[0])
            self.starts += 1
            self.rows["tgid"][row], self.rows["start_ns"][row] = tgid, self.starts
            self.rows["comm"][row] = comm.encode() or b"p%d" % tgid
        row = self.row_of[tgid]
        if comm:
            self.rows["comm"][row] = comm.encode()
        self.rows["cgroup_id"][row] = cgroup
        energy = np.array([[joules], [0.0], [0.0]])
        figures = np.array([joules])
        entry = Entry(np.zeros(1, np.intp), np.array([row], np.intp), energy, figures, figures * 1e6)
        self.level.book(entry, ONE_SECOND[np.newaxis])

    def kill(self, tgid: int) -> None:
        row = np.array([self.row_of.pop(tgid)], np.intp)
        self.departed.append(Departed(row, self.rows[row], self.level.figures[:, row], self.level.published(row)))
        self.level.settle(row)
        self.rows[row] = np.zeros((), PROCESS)

    def publish(self, seconds: float = 1.0) -> Processes:
        self.now += seconds
        self.level.end_publication(ONE_SECOND)
        used = np.flatnonzero(self.rows["tgid"])
        candidates = Candidates.gather(self.rows, used, self.level, self.departed, ONE_SECOND)
        found = self.series.publish(candidates, self.level.total(), 1e6, self.now, self.since)
        self.since = EPOCH + self.now
        self.level.begin_publication()
        self.departed = []
        return found

    def values(self, seconds: float = 1.0) -> dict[str, float]:
        """Joules by pid, and those of ended series."""
        found = self.publish(seconds)
        return {**dict(zip(found.pid, found.joules.sum(axis=0).tolist())), "exited": float(found.exited[:3].sum())}


def counters(found: Processes) -> dict[Labels, tuple[float, float, float]]:
    """Joules, seconds and cycles by labels; what has ended is under ``exited``."""
    names = zip(found.pid, found.comm, found.container_id)
    values = zip(found.joules.sum(axis=0).tolist(), found.seconds.tolist(), found.cycles.tolist())
    exited = (float(found.exited[:3].sum()), float(found.exited[3]), float(found.exited[4]))
    return {**dict(zip(names, values)), ENDED: exited}


events = st.lists(
    st.one_of(
        st.tuples(st.just("use"), st.integers(1, 12), st.floats(0.001, 1000)),
        st.tuples(st.just("die"), st.integers(1, 12), st.just(0.0)),
        st.tuples(st.just("rename"), st.integers(1, 12), st.floats(0.001, 1000)),
        st.tuples(st.just("move"), st.integers(1, 12), st.floats(0.001, 1000)),
        st.tuples(st.just("publish"), st.just(0), st.floats(0.1, 60)),
    ),
    max_size=80,
)


@settings(max_examples=examples(300), deadline=None)
@given(st.integers(0, 6), events)
def test_the_level_sums_and_nothing_falls_or_steps(limit: int, script: list[tuple[str, int, float]]) -> None:
    world = World(limit)
    seen: dict[Labels, tuple[float, float, float]] = {}
    whole_before = 0.0
    for number, (what, pid, amount) in enumerate([*script, ("publish", 0, 1.0)]):
        if what == "use":
            world.use(pid, amount)
        elif what == "rename":
            world.use(pid, amount, comm=f"worker-{number}")
        elif what == "move":
            world.use(pid, amount, cgroup=number + 1)
        elif what == "die" and pid in world.row_of:
            world.kill(pid)
        elif what == "publish":
            found = world.publish(amount)
            whole = float(world.level.total()[:3].sum())
            now = counters(found)
            for figure in (0, 1):
                assert sum(values[figure] for values in now.values()) == pytest.approx(whole, rel=1e-9, abs=1e-9)
            assert len(found.pid) - 1 <= limit
            assert len(now) == len(found.pid) + 1, "no two series with the same labels"
            assert (found.watts >= 0).all()
            for labels in now.keys() & seen.keys():
                assert all(after >= before for after, before in zip(now[labels], seen[labels])), labels
            grown = sum(v[0] - seen.get(k, (0.0,))[0] for k, v in now.items() if k[0] != "exited")
            assert grown == pytest.approx(whole - whole_before - 0.0, rel=1e-9, abs=1e-6) or len(
                seen.keys() - now.keys()
            )
            # What Prometheus calls the increase of a sum: every series from where it was, new ones from 0.
            grown = sum(max(values[0] - seen.get(key, (0.0,))[0], 0.0) for key, values in now.items() if key != ENDED)
            assert grown <= whole - whole_before + 1e-6, "nothing is counted twice"
            seen, whole_before = now, whole


def test_the_biggest_are_shown_under_their_names() -> None:
    world = World(2)
    for tgid, joules in ((1, 5.0), (2, 50.0), (3, 500.0)):
        world.use(tgid, joules)
    found = world.publish()
    assert set(found.pid) == {"2", "3", "other"}
    three = found.pid.index("3")
    assert (found.joules[0, three], found.comm[three], found.watts[three]) == (500.0, "p3", 500.0)
    assert found.joules[0, -1] == 5.0


def test_a_series_starts_from_what_was_used_at_the_publication_before() -> None:
    world = World(1)
    world.use(1, 5.0)
    world.use(2, 4.0)
    assert world.values() == {"1": 5.0, "other": 4.0, "exited": 0.0}
    world.use(2, 7.0)
    assert world.values() == {"2": 7.0, "other": 4.0, "exited": 5.0}, "its past stays where it was"


def test_a_series_gives_way_to_a_process_that_used_twice_as_much() -> None:
    """Processes that use nearly the same do not take turns: a series that goes before it was scraped twice is lost."""
    world = World(1)
    world.use(1, 5.0)
    world.publish()
    for joules in (9.0, 0.9):
        world.use(2, joules)
        assert set(world.values()) == {"1", "other", "exited"}
    world.use(2, 0.2)
    assert set(world.values()) == {"2", "other", "exited"}
    world.kill(2)
    world.use(3, 20.0)
    assert set(world.values()) == {"2", "other", "exited"}, "a dead one's too, as long as it is held"
    world.use(3, 1.0)
    assert set(world.values()) == {"3", "other", "exited"}


def test_rates_of_processes_that_come_and_go_are_whole_where_every_third_publication_is_scraped() -> None:
    """A simulation of a build: each process lives for two publications of 5 s, and uses about as much as the others."""
    world, chance = World(limit=10), random.Random(1)
    seen: dict[Labels, float] = {}
    increase = 0.0
    alive: list[int] = []
    for number in range(90):
        alive += range(10 * number + 1, 10 * number + 11)
        for tgid in alive:
            world.use(tgid, chance.uniform(0.5, 1.5))
        for tgid in alive[:-10]:
            world.kill(tgid)
        del alive[:-10]
        found = world.publish(5.0)
        if number % 3 == 2:
            now = {labels: values[0] for labels, values in counters(found).items() if labels != ENDED}
            increase += sum(joules - seen.get(labels, 0.0) for labels, joules in now.items())
            seen = now
    assert increase == pytest.approx(float(world.level.total()[:3].sum()), rel=1e-3)


def test_the_dead_stay_with_their_final_value_and_then_go() -> None:
    world = World(10)
    world.use(1, 5.0)
    world.use(2, 7.0)
    world.publish()
    world.use(2, 1.0)
    world.kill(2)
    assert world.values() == {"1": 5.0, "2": 8.0, "other": 0.0, "exited": 0.0}
    assert world.values(HOLD_SECONDS - 6)["2"] == 8.0
    assert world.values(10) == {"1": 5.0, "other": 0.0, "exited": 8.0}


def test_the_limit_holds_for_the_dead_too() -> None:
    world = World(3)
    for tgid in range(1, 10):
        world.use(tgid, float(tgid))
        world.kill(tgid)
        world.use(100 + tgid, 0.5)
        assert len(world.publish().pid) <= 3 + 1


def test_a_pid_used_again_goes_on_with_its_series() -> None:
    world = World(10)
    world.use(7, 5.0)
    world.use(8, 1.0)
    world.publish()
    world.use(7, 1.0)
    world.kill(7)
    world.use(7, 2.0)
    found = world.values()
    assert found["7"] + found["other"] == 8.0
    assert found["exited"] == 0.0
    world.use(7, 1.0)
    assert world.values()["7"] == found["7"] + 1.0


def test_a_pid_used_again_under_another_name_is_another_series() -> None:
    world = World(10)
    world.use(7, 5.0, comm="before")
    assert world.values() == {"7": 5.0, "other": 0.0, "exited": 0.0}
    world.kill(7)
    world.use(7, 2.0, comm="after")
    found = world.publish()
    assert found.comm == ("after", "")
    assert (found.joules[0, 0], found.exited[0]) == (2.0, 5.0)


def test_a_process_that_renames_itself_keeps_its_series() -> None:
    world = World(10)
    for number in range(5):
        world.use(7, 1.0, comm=f"worker-{number}")
        found = world.publish()
        assert found.comm == ("worker-0", "")
        assert found.joules[0, 0] == number + 1.0


def test_a_process_that_comes_into_its_container_late_gets_another_series() -> None:
    world = World(10)
    world.workloads.known[1] = Workload("system", container="system")
    world.use(7, 1.0, cgroup=1)
    assert world.publish().container_id == ("", "")
    world.use(7, 2.0, cgroup=2)
    found = world.publish()
    assert found.container_id == ("c2", "")
    assert (found.joules[0, 0], found.exited[0]) == (2.0, 1.0), "what it used before stays where it was"


def test_a_series_tells_when_it_was_at_nought() -> None:
    """What a process had used before the publication at which it comes into view is not in its series."""
    world = World(limit=1)
    world.use(1, 5.0)
    world.use(2, 3.0)
    found = world.publish()
    assert dict(zip(found.pid, found.began)) == {"1": EPOCH, "other": EPOCH}
    world.use(2, 8.0)  # more than twice of the other now
    found = world.publish()
    assert dict(zip(found.pid, found.began)) == {"2": EPOCH + 1.0, "other": EPOCH}
    assert found.joules[:, 0].sum() == 8.0
    world.use(2, 1.0)
    assert world.publish().began == (EPOCH + 1.0, EPOCH)


def test_a_pid_that_is_used_again_under_the_same_labels_goes_on_since_the_first() -> None:
    world = World(limit=10)
    for life in range(3):
        world.use(7, 2.0, "again")
        found = world.publish()
        assert (found.began[0], found.joules[:, 0].sum()) == (EPOCH, 2.0 * (life + 1))
        world.kill(7)
