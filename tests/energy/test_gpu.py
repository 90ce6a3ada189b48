"""One GPU over the stand-in library: what it may draw, and when it is asked again."""

from __future__ import annotations

import logging

import pynvml
import pytest

from kepler_ebpf.energy.nvml import NvmlSource
from tests.gpu.bench import Bench

STEP_SECONDS = 0.1


class Drawn:
    """GPU 0, polled and read ten times a second, and looked for every five. ``joules``: used since it was met."""

    def __init__(self, bench: Bench, *lines: str, counter: bool = True, power: bool = True) -> None:
        self._bench, self.counter, self.power = bench, counter, power
        self.joules = 0.0
        self._polls = 0
        bench.script.write(self._line(0.0), *lines)
        self.source = bench.open()

    def _line(self, watts: float) -> str:
        energy = round(1000 + self.joules * 1e3) if self.counter else -1
        return f"gpu 0 {energy} {round(watts * 1e3) if self.power else -1} 0 0"

    def draw(self, watts: float, seconds: float, *lines: str) -> None:
        """Let it draw this for so long; ``lines`` say what else the driver tells."""
        for _ in range(round(seconds / STEP_SECONDS)):
            self.joules += watts * STEP_SECONDS
            self._polls += 1
            if self._polls % 50 == 0:
                self.source.recount()
            self._bench.poll(self._line(watts), *lines, seconds=STEP_SECONDS)
            self.source.read()

    def settle(self, *lines: str) -> float:
        """Joules that are told when those that wait for their users are, too."""
        self.draw(0.0, 3.0, *lines)
        return float(self.source.joules[0])


@pytest.mark.parametrize("counter", [True, False], ids=["counter", "power"])
@pytest.mark.parametrize("limit", ["limit 0 400000", "limit 0 0", "limit 0 4294967295", ""])
def test_a_limit_that_is_raised_while_running_is_read_again(
    bench: Bench, caplog: pytest.LogCaptureFixture, counter: bool, limit: str
) -> None:
    """By ``nvidia-smi -pl``, or dynamic boost. One that cannot be, or is told no more, bounds nothing."""
    caplog.set_level(logging.INFO)
    gpu = Drawn(bench, "limit 0 150000", counter=counter)
    gpu.draw(60, 6, "limit 0 150000")
    gpu.draw(380, 20, limit)
    assert gpu.settle(limit) == pytest.approx(gpu.joules, abs=50)
    assert sum(gpu.source.faults.values()) == 1
    reason = "jump" if counter else "range"
    assert caplog.messages == [f"energy of GPU 0 is not known for now: {reason}", "GPU 0 can be read again"]


@pytest.mark.parametrize("limit_mw", [0, 999, 3_000_001, 5_000_000, 2**32 - 1])
def test_a_limit_that_cannot_be_is_not_used(bench: Bench, limit_mw: int) -> None:
    limit = f"limit 0 {limit_mw}"
    gpu = Drawn(bench, limit)
    gpu.draw(500, 5, limit)
    assert gpu.settle(limit) == pytest.approx(gpu.joules)
    assert not gpu.source.faults
    gpu.draw(3500, 5, limit)
    assert gpu.source.faults["jump"], "more than any GPU draws"


def test_a_limit_is_read_no_more_than_once_a_second(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """What no GPU draws is refused for good, and that is logged once."""
    asked: list[int] = []

    class Binding:
        def __getattr__(self, name: str) -> object:
            return getattr(pynvml, name)

        def nvmlDeviceGetEnforcedPowerLimit(self, handle: object) -> int:
            asked.append(bench.now_ns)
            return 10_000

    bench.source = NvmlSource(binding=Binding, clock_ns=lambda: bench.now_ns)
    gpu = Drawn(bench)
    gpu.draw(5, 3)
    gpu.draw(4000, 30)
    assert gpu.source.joules[0] < 100
    assert len(asked) > 10
    assert min(after - before for before, after in zip(asked, asked[1:])) >= 10**9
    assert len(caplog.messages) == 1


def test_a_limit_that_is_wrong_for_good_is_given_up(bench: Bench) -> None:
    limit = "limit 0 10000"
    gpu = Drawn(bench, limit)
    gpu.draw(5, 3, limit)
    gpu.draw(380, 30, limit)
    assert gpu.settle(limit) == pytest.approx(gpu.joules, rel=0.1)


@pytest.mark.parametrize("seconds", [0.1, 6, 60])
def test_a_gpu_that_tells_nothing_for_a_while_is_asked_again(
    bench: Bench, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    caplog.set_level(logging.INFO)
    gpu = Drawn(bench, power=False)
    gpu.draw(100, 10)
    gpu.draw(100, seconds, "error energy 3")
    gpu.draw(100, 20)
    assert gpu.settle() == pytest.approx(gpu.joules)
    assert gpu.source.live.tolist() == [True]
    assert gpu.source.faults == {"NotSupported": 1}
    assert caplog.messages == ["energy of GPU 0 is not known for now: NotSupported", "GPU 0 can be read again"]


@pytest.mark.parametrize(("counter", "power"), [(True, False), (False, True), (True, True)])
def test_a_gpu_that_tells_nothing_at_first_is_metered_once_it_does(bench: Bench, counter: bool, power: bool) -> None:
    gpu = Drawn(bench, counter=False, power=False)
    gpu.draw(100, 6)
    gpu.counter, gpu.power = counter, power
    gpu.draw(100, 30)
    assert gpu.settle() == pytest.approx(3000, abs=500), "what it used before it was asked again is not known"
    assert gpu.source.faults == {"NotSupported": 1}


def test_a_gpu_that_never_tells_anything_is_said_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gpu = Drawn(bench, counter=False, power=False)
    gpu.draw(100, 60)
    assert caplog.messages == ["energy of GPU 0 is not known for now: NotSupported"]
    assert gpu.source.faults == {"NotSupported": 1}
    assert gpu.source.live.tolist() == [False]
    assert not gpu.source.inspect()[0][0]
