"""A GPU whose energy counter fails or stands still is metered by its power, and nothing is counted twice."""

from __future__ import annotations

import logging

import pynvml
import pytest

from kepler_ebpf.energy.nvml import NvmlSource
from tests.gpu.bench import Bench

STEP_SECONDS = 0.1


class Drawing:
    """GPU 0 at 100 W, polled and read ten times a second, and looked for every five."""

    def __init__(self, bench: Bench, millijoules: int = 1000) -> None:
        self._bench = bench
        self.millijoules = millijoules
        self._steps = 0
        bench.script.write(self._line())
        self.source = bench.open()

    def _line(self, watts: int = 100) -> str:
        return f"gpu 0 {self.millijoules} {watts * 1000} 0 0"

    def go_on(self, seconds: float, *lines: str, moves: bool = True, watts: int = 100) -> float:
        """What was told in this time."""
        before = self.source.joules.sum()
        for _ in range(round(seconds / STEP_SECONDS)):
            self._steps += 1
            self.millijoules += round(watts * STEP_SECONDS * 1000) if moves else 0
            if self._steps % 50 == 0:
                self.source.recount()
            self._bench.poll(self._line(watts), *lines, seconds=STEP_SECONDS)
            self.source.read()
        return float(self.source.joules.sum() - before)


FAILING = pytest.mark.parametrize(
    ("lines", "moves", "reason"),
    [
        (["error energy 4"], True, "NoPermission"),
        (["error energy 999"], True, "Unknown"),
        ([], False, "still"),
    ],
    ids=["no permission", "unknown", "still"],
)


@FAILING
def test_a_counter_that_tells_nothing_from_the_start(
    bench: Bench, caplog: pytest.LogCaptureFixture, lines: list[str], moves: bool, reason: str
) -> None:
    caplog.set_level(logging.INFO)
    gpu = Drawing(bench, 0)
    gpu.go_on(30, *lines, moves=moves)
    assert gpu.source.joules[0] == pytest.approx(2800, abs=15), "users are waited for for two seconds"
    assert gpu.source.live.tolist() == [True]
    assert caplog.messages == [f"energy of GPU 0 by its energy counter is not known for now: {reason}"]
    assert "power times time" in gpu.source.inspect()[0][1]


@FAILING
@pytest.mark.parametrize("seconds", [0.5, 3, 7, 20, 60])
def test_a_counter_that_tells_nothing_for_a_while_costs_nothing_and_nothing_counts_twice(
    bench: Bench, caplog: pytest.LogCaptureFixture, lines: list[str], moves: bool, reason: str, seconds: float
) -> None:
    """A stand-in for what would have been told: the counter goes on from where it is, or has gone on meanwhile."""
    gpu = Drawing(bench)
    gpu.go_on(10)
    gpu.go_on(seconds, *lines, moves=moves)
    if not moves and seconds < 8:
        gpu.millijoules += round(seconds * 100_000)  # it was late
    gpu.go_on(15)
    assert gpu.source.joules[0] == pytest.approx(100 * (25 + seconds) - 200, abs=25)
    assert gpu.source.live.tolist() == [True]
    assert len(caplog.messages) == (0 if reason == "still" and seconds < 8 else 1)
    assert "energy counter" in gpu.source.inspect()[0][1]
    assert "power" not in gpu.source.inspect()[0][1]


def test_a_gpu_stays_live_until_power_stands_in(bench: Bench) -> None:
    gpu = Drawing(bench)
    gpu.go_on(10)
    for _ in range(20):
        gpu.go_on(1, moves=False)
        assert gpu.source.live.tolist() == [True]


def test_a_gpu_that_draws_nothing_may_have_a_counter_that_stands_still(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = Drawing(bench)
    gpu.go_on(10)
    gpu.go_on(60, moves=False, watts=0)
    assert gpu.source.joules[0] == pytest.approx(1000, abs=11)
    assert not caplog.messages
    gpu.go_on(40, moves=False)
    assert gpu.source.joules[0] == pytest.approx(4800, abs=100), "power is looked at anew"


def test_a_gpu_whose_name_cannot_be_told_is_metered(bench: Bench) -> None:
    class Binding:
        def __getattr__(self, name: str) -> object:
            return getattr(pynvml, name)

        def nvmlDeviceGetName(self, handle: object) -> str:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)

    bench.source = NvmlSource(binding=Binding, clock_ns=lambda: bench.now_ns)
    gpu = Drawing(bench)
    assert gpu.go_on(10) == pytest.approx(800, abs=15)
    assert [(domain.uuid, domain.model) for domain in gpu.source.domains] == [("GPU-0", "")]
    assert not gpu.source.faults
