"""Which samples of a driver are new, by stamps that follow a wall clock, or should."""

from __future__ import annotations

import pytest

from kepler_ebpf.energy.gpu_samples import GpuSample, SampleStream

WALL_US = 1_700_000_000_000_000
HOUR_US = 3_600_000_000
TENTHS = 10


class Driver:
    """Keeps the latest sample of each process, and is asked ten times a second. ``shift_us``: of the wall clock."""

    def __init__(self) -> None:
        self.stream = SampleStream()
        self.kept: dict[int, GpuSample] = {}
        self.step = 0
        self.shift_us = 0

    @property
    def wall_us(self) -> int:
        return WALL_US + self.step * 100_000 + self.shift_us

    def ask(self, *samples: GpuSample) -> dict[int, float]:
        """A tenth of a second later."""
        self.step += 1
        self.kept |= {sample.pid: sample for sample in samples}
        now_ns = 10**12 + self.step * 10**8
        since_us = self.stream.since_us(now_ns, self.wall_us)
        reply = [sample for sample in self.kept.values() if sample.stamp_us > since_us]
        return self.stream.take(reply, now_ns, self.wall_us)

    def busy(self, *others: GpuSample, ahead_us: int = 0) -> dict[int, float]:
        """As :meth:`ask`, with a new sample of process 8."""
        return self.ask(GpuSample(8, 0.8, self.wall_us + ahead_us), *others)


@pytest.mark.parametrize("stamp_us", [WALL_US + HOUR_US, 2**63, 2**64 - 1])
@pytest.mark.parametrize("pid", [9, 2**32 - 1])
@pytest.mark.parametrize("seconds", [0.3, 60])
def test_a_stamp_that_cannot_be_hides_no_other(stamp_us: int, pid: int, seconds: float) -> None:
    driver = Driver()
    for _ in range(50):
        assert driver.busy() == {8: 0.8}
    for _ in range(round(seconds * 10)):
        assert driver.busy(GpuSample(pid, 0.1, stamp_us)) == {8: 0.8}
        assert driver.stream.refused == 1
    del driver.kept[pid]
    assert driver.busy() == {8: 0.8}
    assert driver.stream.refused == 0


def test_a_stamp_that_cannot_be_of_the_busy_process_itself() -> None:
    driver = Driver()
    driver.busy()
    for _ in range(3):
        assert driver.busy(ahead_us=HOUR_US) == {}
    assert driver.busy() == {8: 0.8}


def test_a_stamp_that_cannot_be_is_never_believed_for_being_alone() -> None:
    driver = Driver()
    for _ in range(600):
        assert driver.ask(GpuSample(9, 0.1, 2**64 - 1)) == {}
    assert driver.busy() == {8: 0.8}


def test_a_clock_that_is_set_back_is_followed_at_once() -> None:
    driver = Driver()
    driver.shift_us = HOUR_US
    for _ in range(20):
        driver.busy()
    driver.shift_us = 0
    assert driver.busy() == {8: 0.8}
    driver.shift_us = 2 * HOUR_US
    assert driver.busy() == {8: 0.8}


def test_stamps_of_another_clock_are_believed_once_they_go_on() -> None:
    """A clock that is an hour ahead of ours, in a virtual machine say: what is new is known again by that one."""
    driver = Driver()
    found = [driver.busy(ahead_us=HOUR_US) for _ in range(300)]
    assert not any(found[:50])
    assert all(found[-90:])
    assert driver.busy(GpuSample(9, 0.1, 2**64 - 1), ahead_us=HOUR_US) == {8: 0.8}


@pytest.mark.parametrize("age_seconds", [30, 3600])
@pytest.mark.parametrize("alone", [True, False])
def test_what_is_long_over_at_the_start_is_no_use_of_now(age_seconds: int, alone: bool) -> None:
    """The driver keeps the sample of a process that has been idle since. A later one of that process is one."""
    driver = Driver()
    old = GpuSample(7, 1.0, WALL_US - age_seconds * 1_000_000)
    assert driver.ask(old) == {} if alone else driver.busy(old) == {8: 0.8}
    for _ in range(300):
        assert driver.ask() == {} if alone else driver.busy() == {8: 0.8}
    assert driver.ask(GpuSample(7, 0.5, driver.wall_us)) == {7: 0.5}


def test_what_is_recent_at_the_start_is() -> None:
    assert Driver().ask(GpuSample(7, 0.5, WALL_US - 4_000_000)) == {7: 0.5}
