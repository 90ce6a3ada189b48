"""Processes of three kinds, with the CPU time that they had: one that lives on, many that end at once, a thousand that
hardly run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.footprint import crowd

STEADY, BRIEF, LIGHT = "steady", "brief", "light"
# Both are busy 10 ms of every 40: this one always the same process, the next one a new process each time.
_STEADY = """
import os, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
while True:
    busy_until, due = time.process_time() + 0.01, time.monotonic() + 0.04
    while time.process_time() < busy_until:
        pass
    time.sleep(max(0.0, due - time.monotonic()))
"""
_BRIEF = """
import os, sys, time
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
while True:
    due = time.monotonic() + 0.04
    child = os.fork()
    if child == 0:
        while time.process_time() < 0.01:
            pass
        os._exit(0)
    _, _, usage = os.wait4(child, 0)
    print(child, usage.ru_utime + usage.ru_stime, flush=True)
    time.sleep(max(0.0, due - time.monotonic()))
"""


@dataclass(frozen=True)
class Loads:
    """``steady``: a process id. ``light``: process ids. ``told``: a file with what brief ones used. ``groups``: their
    process groups."""

    groups: list[int]
    steady: int
    light: list[int]
    told: Path

    def pause(self, pause: bool = True) -> None:
        """Stop all of them where they are, or let them go on."""
        for group in self.groups:
            os.killpg(group, signal.SIGSTOP if pause else signal.SIGCONT)

    def _ended(self) -> list[tuple[int, float]]:
        lines = self.told.read_text().split("\n")[:-1]
        return [(int(pid), float(seconds)) for pid, seconds in map(str.split, lines)]

    def kinds(self) -> dict[str, set[int]]:
        """Process ids so far, by kind."""
        return {STEADY: {self.steady}, BRIEF: {pid for pid, _ in self._ended()}, LIGHT: set(self.light)}

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time since the start, by kind."""
        return {
            STEADY: cpu_seconds(self.steady),
            BRIEF: sum(seconds for _, seconds in self._ended()),
            LIGHT: sum(map(cpu_seconds, self.light)),
        }


@contextmanager
def loads(directory: Path, light: int) -> Iterator[Loads]:
    """Start all three kinds, paused; ``light``: how many there are of the last one."""
    told = directory / "brief"
    with ExitStack() as stack:

        def start(code: str, output: IO[bytes] | None = None) -> int:
            command = [sys.executable, "-S", "-c", code]
            process = stack.enter_context(subprocess.Popen(command, stdout=output, start_new_session=True))
            stack.callback(os.killpg, process.pid, signal.SIGTERM)
            return process.pid

        # /proc tells whole ticks of 10 ms: were they in step, its readers would see none of them, or all at once.
        pids = stack.enter_context(crowd(light, 0.01))
        with told.open("wb") as output:
            brief = start(_BRIEF, output)
        steady = start(_STEADY)
        processes = Loads([os.getpgid(pids[0]), brief, steady], steady, pids, told)
        stack.callback(processes.pause, False)  # else they would not end
        while cpu_seconds(pids[-1]) < 0.01 * (light - 1) / light:
            time.sleep(0.1)
        processes.pause()
        yield processes


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, threads that have ended included, on its own clock (clock_getcpuclockid(3))."""
    return time.clock_gettime_ns((~pid << 3) | 2) * 1e-9
