"""Which processes are shown: the level always sums, and no counter ever falls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.attribution.sampler import Departed
from kepler_ebpf.kernel.layout import ROW
from kepler_ebpf.snapshot.processes import ProcessSeries, merge
from kepler_ebpf.snapshot.types import Process

HOLD_SECONDS = 120.0


class World:
    """Processes that use energy, are born and die, and the totals that must come out."""

    def __init__(self, limit: int, bound: int = 10_000) -> None:
        self.series = ProcessSeries(limit, bound, HOLD_SECONDS, lambda cgroup: f"c{cgroup}")
        self.joules: dict[tuple[int, int], float] = {}
        self.before: dict[tuple[int, int], float] = {}
        self.names: dict[tuple[int, int], bytes] = {}
        self.exited = 0.0
        self.departed: list[tuple[tuple[int, int], float]] = []
        self.now = 0.0

    def rows(self, keys: list[tuple[int, int]], joules: list[float]) -> np.ndarray:
        rows = np.zeros(len(keys), ROW)
        for row, (tgid, start), used in zip(rows, keys, joules):
            row["tgid"], row["start_ns"] = tgid, start
            row["comm"] = self.names.get((tgid, start), b"p%d" % tgid)
            row["alone_ns"], row["cycles"] = used * 1e9, used * 1e6
        return rows

    def kill(self, key: tuple[int, int]) -> None:
        used = self.joules.pop(key)
        self.exited += used
        self.departed.append((key, used))

    def publish(self, seconds: float = 5.0) -> tuple[Process, ...]:
        self.now += seconds
        keys = list(self.joules)
        joules = np.array([self.joules[key] for key in keys])
        recent = joules - np.array([self.before.get(key, 0.0) for key in keys])
        gone = [key for key, _ in self.departed]
        used = np.array([used for _, used in self.departed])
        departed = []
        if gone:
            was = np.array([self.before.get(key, 0.0) for key in gone])
            departed = [Departed(self.rows(gone, used.tolist()), used, used - was)]
        self.departed = []
        whole = sum(self.joules.values()) + self.exited
        self.before = dict(self.joules)
        total = np.array([whole, whole, whole * 1e6])
        return self.series.publish(self.rows(keys, joules.tolist()), joules, recent, departed, total, seconds, self.now)


events = st.lists(
    st.one_of(
        st.tuples(st.just("use"), st.integers(1, 12), st.floats(0.001, 1000)),
        st.tuples(st.just("die"), st.integers(1, 12), st.just(0.0)),
        st.tuples(st.just("publish"), st.just(0), st.floats(0.1, 60)),
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 4), st.integers(1, 6), events)
def test_the_level_sums_and_nothing_falls(limit: int, bound: int, script: list[tuple[str, int, float]]) -> None:
    world = World(limit, bound)
    starts = dict.fromkeys(range(1, 13), 1)
    seen: dict[tuple[str, str, str], tuple[float, float, float]] = {}
    for what, pid, amount in [*script, ("publish", 0, 1.0)]:
        key = (pid, starts.get(pid, 0))
        if what == "use":
            world.joules[key] = world.joules.get(key, 0.0) + amount
        elif what == "die" and key in world.joules:
            world.kill(key)
            starts[pid] += 1
        elif what == "publish":
            series = world.publish(amount)
            whole = sum(world.joules.values()) + world.exited
            assert sum(p.joules for p in series) == pytest.approx(whole, rel=1e-9, abs=1e-9)
            assert sum(p.seconds for p in series) == pytest.approx(whole, rel=1e-9, abs=1e-9)
            assert len(series) - 1 <= bound
            assert series[-1].pid == "other"
            assert all(p.joules >= -1e-9 and p.watts >= 0 for p in series)
            counters = {(p.pid, p.comm, p.container_id): (p.joules, p.seconds, p.cycles) for p in series}
            assert len(counters) == len(series), "no two series with the same labels"
            for labels in counters.keys() & seen.keys():
                assert all(now >= before for now, before in zip(counters[labels], seen[labels])), labels
            seen = counters


def test_the_biggest_are_shown_under_their_names() -> None:
    world = World(2)
    world.joules = {(1, 1): 5.0, (2, 1): 50.0, (3, 1): 500.0}
    series = {p.pid: p for p in world.publish()}
    assert set(series) == {"2", "3", "other"}
    assert (series["3"].joules, series["3"].comm, series["3"].watts) == (500.0, "p3", 100.0)
    assert series["other"].joules == 5.0
    assert series["other"].watts == pytest.approx(1.0)


def test_the_dead_stay_with_their_final_value_and_then_go() -> None:
    world = World(10)
    world.joules = {(1, 1): 5.0, (2, 1): 7.0}
    world.publish()
    world.joules[2, 1] = 8.0
    world.kill((2, 1))
    assert {p.pid: p.joules for p in world.publish()} == {"1": 5.0, "2": 8.0, "other": 0.0}
    assert {p.pid: p.joules for p in world.publish(HOLD_SECONDS - 6)}["2"] == 8.0
    assert {p.pid: p.joules for p in world.publish(10)} == {"1": 5.0, "other": 8.0}


def test_a_pid_used_again_goes_on_with_its_series() -> None:
    world = World(10)
    world.joules = {(7, 1): 5.0, (8, 1): 1.0}
    world.publish()
    world.joules[7, 1] = 6.0
    world.kill((7, 1))
    world.joules[7, 2] = 2.0
    assert sorted((p.pid, p.joules) for p in world.publish()) == [("7", 8.0), ("8", 1.0), ("other", 0.0)]
    world.joules[7, 2] = 3.0
    world.kill((7, 2))
    assert sorted((p.pid, p.joules) for p in world.publish()) == [("7", 9.0), ("8", 1.0), ("other", 0.0)]
    assert sorted((p.pid, p.joules) for p in world.publish(HOLD_SECONDS)) == [("8", 1.0), ("other", 9.0)]


def test_a_pid_used_again_under_another_name_is_another_series() -> None:
    world = World(10)
    world.names[7, 1] = b"before"
    world.joules = {(7, 1): 5.0}
    assert [(p.comm, p.joules) for p in world.publish()] == [("before", 5.0), ("", 0.0)]
    world.kill((7, 1))
    world.joules[7, 2] = 2.0
    assert [(p.comm, p.joules) for p in world.publish()] == [("p7", 2.0), ("", 5.0)]


def test_one_process_on_two_packages_is_one() -> None:
    rows = np.zeros(3, ROW)
    rows["tgid"], rows["start_ns"], rows["alone_ns"] = [7, 8, 7], [1, 1, 1], [10**9, 10**9, 2 * 10**9]
    first, figures, recent = merge(rows, np.array([1.0, 2.0, 4.0]), np.array([0.5, 0.0, 0.25]))
    assert first["tgid"].tolist() == [7, 8]
    assert figures[0].tolist() == [5.0, 2.0]
    assert figures[1].tolist() == [3.0, 1.0]
    assert recent.tolist() == [0.75, 0.0]
