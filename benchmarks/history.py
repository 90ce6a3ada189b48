"""What the page's last minutes cost ``serve``: CPU time of a frame, and memory when all of them are there.

The rows are synthetic: no kernel is asked. Ten minutes are filled, sample by sample, by a clock that nobody waits for.
"""

from __future__ import annotations

import gc
import random
import statistics
import sys
import time
from collections.abc import Callable
from types import FunctionType, ModuleType

import numpy as np
from tests.fakes import FakeSource, FakeTables, sampler_over

from benchmarks.report import Figure
from kepler_ebpf.attribution.frame import Frames
from kepler_ebpf.energy.source import Domain
from kepler_ebpf.history.ring import LIMIT_BYTES, History

_ROWS = 1_000
_FRAMES_A_STEP = 10
_STEPS = 600
_SECONDS = 1.0 / _FRAMES_A_STEP
_MIB = 1 << 20
_CODE = (type, FunctionType, ModuleType)


class _Machine:
    """A thousand processes in a hundred cgroups. A tenth of them, each time another one, runs in a frame."""

    def __init__(self) -> None:
        self._kernel = FakeTables(1, 4 * _ROWS, 256)
        self._source = FakeSource((Domain("package", 0, "fake", idle_watts=10.0), Domain("dram", 0, "fake")))
        self.sampler = sampler_over(self._kernel, self._source)
        self._chance = random.Random(1)
        self._alive: list[int] = []
        self._born = 0
        self._bear(_ROWS)

    def history(self, clock: Callable[[], float]) -> History:
        return History(self.sampler, self._kernel, clock=clock, wall=clock)

    def frame(self) -> Frames:
        for pid in self._chance.sample(self._alive, _ROWS // 10):
            self._run(pid)
        self._source.use(np.array([50.0, 5.0]) * _SECONDS, _SECONDS)
        return self.sampler.sample()

    def replace(self, count: int) -> None:
        """So many end, and others take their places."""
        self._chance.shuffle(self._alive)
        for pid in self._alive[:count]:
            self._kernel.kill(pid)
        del self._alive[:count]
        self._bear(count)

    def _bear(self, count: int) -> None:
        for _ in range(count):
            self._born += 1
            self._alive.append(self._born)
            self._run(self._born)

    def _run(self, pid: int) -> None:
        self._kernel.run(pid, 1 + pid % 100, 0, self._chance.randrange(10_000, 1_000_000))


def _bytes_of(whole: object, others: object) -> int:
    """Memory of every object that is only reached from here and not from others, as the interpreter tells it."""
    seen: set[int] = set()
    found = 0
    for root in (others, whole):
        found, waiting = 0, [root]
        while waiting:
            one = waiting.pop()
            if id(one) not in seen and not isinstance(one, _CODE):
                seen.add(id(one))
                found += sys.getsizeof(one)
                waiting += gc.get_referents(one)
    return found


def _filled(replaced: int) -> tuple[History, list[float], int]:
    """A full history, CPU seconds of each frame, and the bytes that the history takes."""
    machine = _Machine()
    now = 0.0
    costs = []
    history = machine.history(lambda: now)
    for number in range(_STEPS * _FRAMES_A_STEP):
        if number % _FRAMES_A_STEP == 0:
            machine.replace(replaced)
        frame = machine.frame()
        now = (number + 1) * _SECONDS
        began = time.thread_time()
        history.add(frame)
        costs.append(time.thread_time() - began)
    return history, costs, _bytes_of(history, machine)


def measure() -> list[Figure]:
    """A node whose processes stay, and one on which a fifth of them is replaced every second."""
    figures = []
    for name, replaced in (("they stay", 0), ("200 new a second", 200)):
        history, costs, size = _filled(replaced)
        what = f"history: {_ROWS:,} processes, {name}"
        ends = costs[_FRAMES_A_STEP - 1 :: _FRAMES_A_STEP]
        frame, end = statistics.median(costs), statistics.median(ends)
        share = 100 * sum(costs) / (len(costs) * _SECONDS)
        note = f"{frame * 1e6:.0f} µs a frame, {end * 1e3:.2f} ms at the end of each second"
        figures += [
            Figure(f"{what}: CPU at 100ms samples", share, "%", None, f"of one core; {note}"),
            Figure(
                f"{what}: memory when full",
                size / _MIB,
                "MiB",
                LIMIT_BYTES / _MIB,
                f"{len(history.steps)} steps; {history.nbytes / _MIB:.2f} MiB by its own books",
            ),
        ]
    return figures
