"""What is measured is what a simulated machine used: its meter's truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from kepler_ebpf.attribution.frame import Frames
from kepler_ebpf.stat.runs import order
from kepler_ebpf.stat.statistics import ratio
from kepler_ebpf.stat.usage import Usage
from tests.needs import QUICK
from tests.stat.machine import COMMAND, OTHER, Machine, Program


def assert_closes(usage: Usage) -> None:
    """The column sums to the meter."""
    parts = usage.joules + usage.others + usage.idle + usage.unattributed
    assert parts[:2] == pytest.approx(usage.whole[:2], rel=1e-9)
    assert np.isnan(usage.joules[2])  # no GPU: no number of one


@pytest.mark.parametrize("refresh_seconds", [0.001, 0.016, 0.1, 1.0])
@pytest.mark.parametrize("seconds", [0.05, 0.5, 3.3])
def test_joules_are_the_meters_truth(seconds: float, refresh_seconds: float) -> None:
    """Also where the meter tells ten times a second, or once, and the command has ended before."""
    machine = Machine(refresh_seconds=refresh_seconds)
    machine.wait(2.0)
    machine.probe.learn_floors()
    assert machine.probe.floor_known
    # DRAM follows the package in the same proportion for both, so that cycles tell it too.
    machine.beside.watts = (20.0, 2.0)
    usage = machine.measure(Program(COMMAND, (40.0, 4.0), seconds))
    assert_closes(usage)
    assert usage.elapsed_seconds == pytest.approx(seconds, abs=0.0011)
    assert usage.cpu_seconds == pytest.approx(machine.cpu_seconds, rel=1e-9)
    assert usage.joules[:2] == pytest.approx(machine.truth, rel=0.02)
    assert usage.total_joules == pytest.approx(machine.truth.sum(), rel=0.02)


@pytest.mark.parametrize("ancestry", [False, True])
def test_short_children_are_all_in(ancestry: bool) -> None:
    """A thousand processes, each of which lives for a tenth of a sample."""
    machine = Machine()
    machine.probe.learn_floors()
    machine.kernel.run(100, OTHER, 0, 10**6)  # what becomes the command is there before, elsewhere
    machine.wait(0.01)
    machine.probe.begin()
    target = machine.by_ancestry() if ancestry else machine.by_cgroup()
    usage = machine.measure(Program(COMMAND, (40.0, 2.0), 1.0, children=True), target)
    assert_closes(usage)
    assert machine.cpu_seconds == pytest.approx(1.0)
    assert usage.cpu_seconds == pytest.approx(machine.cpu_seconds, rel=1e-9)
    assert usage.joules[0] == pytest.approx(machine.truth[0], rel=1e-6)
    assert usage.cycles == pytest.approx(1000 * 40e5)


def test_what_runs_beside_is_not_the_commands() -> None:
    machine = Machine()
    machine.probe.learn_floors()
    usage = machine.measure(Program(COMMAND, (0.0, 0.0), 0.5, busy=0.0))
    assert_closes(usage)
    assert (usage.total_joules, usage.cpu_seconds) == (0.0, 0.0)
    assert usage.others[0] == pytest.approx(20.0 * 0.5, rel=0.02)
    assert usage.idle[0] == pytest.approx(10.0 * 0.5, rel=0.02)


def test_the_peak_is_a_samples_and_the_mean_the_runs() -> None:
    machine = Machine(Program(9, (0.0, 0.0), busy=0.0))
    machine.probe.learn_floors()
    usage = machine.measure(Program(COMMAND, (40.0, 0.0), 4.0, busy=0.5))
    assert usage.mean_watts == pytest.approx(20.0, rel=0.05)
    assert 25.0 < usage.peak_watts < 40.1


def test_runs_one_after_the_other_do_not_mix() -> None:
    machine = Machine()
    machine.probe.learn_floors()
    for watts in (40.0, 10.0, 30.0):
        usage = machine.measure(Program(COMMAND, (watts, 0.0), 0.3))
        assert usage.joules[0] == pytest.approx(machine.truth[0], rel=1e-6)
        machine.wait(0.2)


@pytest.mark.parametrize("seconds", [0.002, 0.05, 0.7])
def test_the_table_covers_what_has_elapsed_however_long_booking_takes(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what else is done around a run: whole power is the machine's, also of a command of 2 ms."""
    machine = Machine()
    machine.probe.learn_floors()
    book = machine.sampler.book

    def book_slowly() -> Frames | None:
        machine.wait(0.02)
        return book()

    def look_slowly() -> tuple[int, int]:
        machine.wait(0.03)
        return 0, 0

    monkeypatch.setattr(machine.sampler, "book", book_slowly)
    for _ in range(2):
        usage = machine.measure(Program(COMMAND, (40.0, 0.0), seconds), status=look_slowly)
        assert_closes(usage)
        assert usage.elapsed_seconds == pytest.approx(seconds, abs=0.0201)
        assert usage.whole[0] == pytest.approx(30.0 * usage.elapsed_seconds + machine.truth[0], rel=1e-6)
        assert usage.joules[0] == pytest.approx(machine.truth[0], rel=1e-6)
        assert usage.cpu_seconds == pytest.approx(machine.cpu_seconds, rel=1e-9)


def test_a_meter_that_says_nothing_gives_no_number() -> None:
    machine = Machine(refresh_seconds=1e9)
    machine.probe.learn_floors()
    assert not machine.probe.floor_known
    usage = machine.measure(Program(COMMAND, (40.0, 0.0), 0.3))
    assert np.isnan([usage.total_joules, usage.mean_watts, usage.peak_watts, usage.energy_delay]).all()
    assert usage.cpu_seconds == pytest.approx(0.3)


def test_each_command_runs_once_before_any_runs_again() -> None:
    import random

    plan = order(2, 20, 3, random.Random(1))
    assert len(plan) == 46
    assert all({command for command, _ in plan[at : at + 2]} == {0, 1} for at in range(0, 46, 2))
    assert [counts for _, counts in plan] == [False] * 6 + [True] * 40
    assert 0 < sum(plan[at][0] for at in range(0, 46, 2)) < 23  # neither is always the first


def test_the_interval_of_two_commands_holds_their_true_ratio() -> None:
    """``stat -r 20 --vs`` in a hundred repetitions on the simulated machine, whose programs vary from run to run."""
    held, repetitions, truth = 0, 20 if QUICK else 100, 1.25
    for seed in range(repetitions):
        machine = Machine(seed=seed, refresh_seconds=0.003)
        machine.probe.learn_floors()
        found: list[list[float]] = [[], []]
        for command, _ in order(2, 20, 0, machine.chance):
            watts = 40.0 * (truth if command else 1.0) * machine.chance.lognormvariate(0, 0.05)
            machine.beside.watts = (machine.chance.uniform(5, 30), 0.0)
            usage = machine.measure(Program(COMMAND, (watts, 0.0), 0.025))
            found[command].append(usage.total_joules)
        interval = ratio(found[1], found[0])
        assert interval is not None
        held += interval.low <= truth <= interval.high
    assert held >= 0.95 * repetitions


def test_it_ends_when_it_is_to_and_not_with_the_sample_that_is_due_then() -> None:
    machine = Machine()
    machine.probe._interval = 60.0
    machine.probe.begin()
    machine.program, machine._left = Program(COMMAND, (40.0, 4.0)), float("inf")
    usage = machine.probe.watch(machine.by_cgroup(), lambda: False, lambda: (None, 0), machine.now + 2.5)
    assert usage.elapsed_seconds == pytest.approx(2.5, abs=0.0011)


def test_what_is_gone_is_noticed_between_samples() -> None:
    machine = Machine()
    machine.probe._interval = 60.0
    machine.probe.begin()
    gone = machine.now + 0.5
    usage = machine.probe.watch(machine.by_cgroup(), lambda: machine.now >= gone, lambda: (None, 0))
    assert usage.elapsed_seconds < 2.0
