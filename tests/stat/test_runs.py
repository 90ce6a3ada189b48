"""Signals that come while something runs: real ones, with a real child."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from kepler_ebpf.errors import KeplerError
from kepler_ebpf.stat.runs import Runner, describe_status
from kepler_ebpf.stat.signals import Signals

ASKING = [signal.SIGTERM, signal.SIGHUP]  # not those that a terminal sends the command, too
OTHERS: list[int] = [
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGPWR),
    *(signal.SIGRTMIN, signal.SIGRTMIN + 3, signal.SIGRTMAX),
]
WAIT = "while :; do sleep 0.05; done"


@pytest.fixture
def runner() -> Iterator[Runner]:
    """One that has signals, and nothing to measure with."""
    signals, nothing = Signals(), None
    measuring: Any = (nothing,) * 3
    probe: Any = nothing
    try:
        yield Runner(probe, signals, *measuring, *measuring[:2])
    finally:
        signals.close()


@pytest.mark.parametrize("number", [*ASKING, *OTHERS])
def test_a_signal_ends_whoever_runs_and_not_us(number: int, runner: Runner) -> None:
    runner.prepare(f"kill -{int(number)} $PPID; {WAIT}")
    assert runner.signals.told == [number]


@pytest.mark.parametrize("number", OTHERS)
def test_one_that_is_lived_on_with_ends_nothing(number: int, runner: Runner) -> None:
    runner.prepare(f"trap 'exit 0' {int(number)}; kill -{int(number)} $PPID; {WAIT}")
    assert runner.signals.told == []
    with pytest.raises(KeplerError, match="ended with status 4"):
        runner.prepare(f"trap 'exit 4' {int(number)}; kill -{int(number)} $PPID; {WAIT}")


def test_one_that_asks_for_an_end_is_heeded_whatever_the_command_makes_of_it(runner: Runner) -> None:
    runner.prepare(f"trap 'exit 0' TERM; kill -TERM $PPID; {WAIT}")
    assert runner.signals.told == [signal.SIGTERM]


def test_a_real_time_signal_has_a_name() -> None:
    assert describe_status(-signal.SIGRTMIN) == "was killed by SIGRTMIN"
    assert describe_status(-signal.SIGRTMIN - 3) == "was killed by SIGRTMIN+3"
    assert describe_status(-signal.SIGRTMAX) == "was killed by SIGRTMAX"
