"""What ``stat`` adds to the CPU time of the command that it measures, and what it uses itself meanwhile.

The command runs bare and measured in turn. Bare is without any of our programs in the kernel.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.report import Figure, growth
from kepler_ebpf.assembly import open_session
from kepler_ebpf.config import from_arguments
from kepler_ebpf.stat.probe import BATCH_SECONDS, Probe
from kepler_ebpf.stat.runs import Runner
from kepler_ebpf.stat.signals import Signals
from kepler_ebpf.stat.statistics import FEWEST_PAIRS

_PAIRS = FEWEST_PAIRS + 2
_GOAL_PER_CENT = 2.0
_NOBODY = {f"KEPLER_{name}": "off" for name in ("KUBELET_URL", "CRI_SOCKET", "DOCKER_SOCKET", "PODMAN_SOCKET")}
_COMPUTES = [sys.executable, "-S", "-c", "n = 0\nfor i in range(8_000_000): n += i * i"]
_FORKS = ["/bin/sh", "-c", "i=0; while [ $i -lt 1000 ]; do /bin/true; i=$((i+1)); done"]
_SWITCHES = ["perf", "bench", "sched", "pipe", "-l", "100000"]


@contextmanager
def _runner(interval: float) -> Iterator[Runner]:
    config = from_arguments(argparse.Namespace(), _NOBODY)
    with open_session(config, drop_privileges=False, batch_seconds=BATCH_SECONDS) as session:
        signals = Signals()
        probe = Probe(session.sampler, signals, interval)
        probe.learn_floors(0.0)
        try:
            yield Runner.over(session, probe, signals, config.fs)
        finally:
            signals.close()


def _bare_seconds(command: Sequence[str]) -> float:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    return used.ru_utime + used.ru_stime


def _measured(command: Sequence[str], interval: float) -> tuple[float, float]:
    """CPU seconds of the command while it is measured, and of the measuring, with samples so many seconds apart."""
    with _runner(interval) as runner:
        began = time.process_time()
        usage = runner.run(command)
        if usage.status:
            raise RuntimeError(f"{command} ended with status {usage.status}")
        return usage.cpu_seconds, time.process_time() - began


def measure() -> list[Figure]:
    """By pairs of runs, one after the other, so that a machine that grows slower cancels out."""
    figures = []
    for name, command, interval, goal in (
        ("computes, 10ms samples", _COMPUTES, 0.01, _GOAL_PER_CENT),
        ("computes, 100ms samples", _COMPUTES, 0.1, _GOAL_PER_CENT),
        ("starts 1,000 children, 100ms samples", _FORKS, 0.1, _GOAL_PER_CENT),
        ("switches all the time, 100ms samples", _SWITCHES, 0.1, None),
    ):
        quiet = ["sh", "-c", '"$0" "$@" > /dev/null', *command]
        bare, measured, own = [], [], []
        for _ in range(_PAIRS):
            bare.append(_bare_seconds(quiet))
            with_stat, mine = _measured(quiet, interval)
            measured.append(with_stat)
            own.append(mine / with_stat)
        note = f", {statistics.median(bare):.3f} s bare"
        figures.append(growth(f"stat: added to one that {name}", measured, bare, goal, note))
        figures.append(Figure("stat: its own CPU time beside that", 100 * statistics.median(own), "%"))
    return figures
