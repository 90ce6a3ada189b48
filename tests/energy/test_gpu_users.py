"""Who is charged when a driver's utilisation fails, stays empty, or is not the multiprocessors'."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace

import pynvml
import pytest

from kepler_ebpf.energy.nvml import NvmlSource
from tests.gpu.bench import Bench, shares_of

STEP_SECONDS = 0.1


class Busy:
    """GPU 0 at 100 W, polled and read ten times a second. ``charged``: joules by process, and by 0 those of nobody."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.source = bench.open()
        self.step = 0
        self.charged: dict[int, float] = {}

    def go_on(
        self, seconds: float, *lines: str, use: Callable[[int], list[str]] = lambda stamp: []
    ) -> dict[int, float]:
        """What was charged in this time. ``use``: lines of samples with a stamp."""
        charged: dict[int, float] = {}
        for _ in range(round(seconds / STEP_SECONDS)):
            self.step += 1
            before = self.source.joules[0]
            energy = f"gpu 0 {1000 + self.step * 10_000} 100000 0 0"
            self.bench.poll(energy, *lines, *use(self.step * 100_000), seconds=STEP_SECONDS)
            self.source.read()
            told = self.source.joules[0] - before
            for pid, share in (shares_of(self.source) or {0: 1.0}).items():
                charged[pid] = charged.get(pid, 0.0) + told * share
        return charged


@pytest.mark.parametrize(("code", "at_once"), [(4, True), (10, False), (999, False)])
def test_where_utilisation_fails_for_long_those_pay_who_have_the_gpu_open(
    bench: Bench, caplog: pytest.LogCaptureFixture, code: int, at_once: bool
) -> None:
    """No permission, timeout, unknown. Once it can be asked for, it counts."""
    caplog.set_level(logging.INFO)
    busy = Busy(bench)
    first = busy.go_on(12, f"error use {code}", "run 0 100", "run 0 200")
    assert first.get(0, 0.0) <= (20 if at_once else 800)
    assert busy.go_on(20, f"error use {code}", "run 0 100", "run 0 200") == pytest.approx({100: 1000, 200: 1000}, abs=1)
    assert len(caplog.messages) == 1
    busy.go_on(3, "run 0 100", "run 0 200", use=lambda stamp: [f"use 0 200 50 {stamp}"])
    later = busy.go_on(10, "run 0 100", "run 0 200", use=lambda stamp: [f"use 0 200 50 {stamp}"])
    assert later == pytest.approx({200: 1000}, abs=1)


def test_a_failure_for_a_moment_charges_nobody_for_having_it_open(bench: Bench) -> None:
    busy = Busy(bench)
    busy.go_on(5, "run 0 100", "run 0 200", use=lambda stamp: [f"use 0 200 50 {stamp}"])
    charged = busy.go_on(3, "run 0 100", "run 0 200", "error use 999")
    assert 100 not in charged


@pytest.mark.parametrize("use", ["", "use 0 100 80 0", "use 0 100 128 {}"], ids=["none", "no stamp", "above 100"])
def test_a_busy_gpu_of_which_utilisation_names_nobody_is_theirs_who_have_it_open(bench: Bench, use: str) -> None:
    busy = Busy(bench)
    busy.go_on(12, "load 0 50", "run 0 100", use=lambda stamp: [use.format(stamp)])
    charged = busy.go_on(10, "load 0 50", "run 0 100", use=lambda stamp: [use.format(stamp)])
    assert charged == pytest.approx({100: 1000}, abs=1)


@pytest.mark.parametrize("load", ["", "load 0 0"], ids=["not known", "idle"])
def test_a_gpu_that_is_not_said_to_be_busy_is_nobodys_because_it_is_open(bench: Bench, load: str) -> None:
    assert set(Busy(bench).go_on(30, load, "run 0 100")) == {0}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"smUtil": 0, "encUtil": 90}, {"smUtil": 0}, {100: 1.0}),
        ({"smUtil": 0, "decUtil": 30, "encUtil": 1000}, {"smUtil": 30}, {100: 0.5, 200: 0.5}),
        ({"smUtil": 5, "encUtil": 100}, {"smUtil": 15, "memUtil": 50}, {100: 0.25, 200: 0.75}),
    ],
    ids=["encoder", "decoder", "multiprocessors first"],
)
def test_who_keeps_an_encoder_busy_uses_the_gpu(
    bench: Bench, first: dict[str, int], second: dict[str, int], expected: dict[int, float]
) -> None:
    class Binding:
        def __getattr__(self, name: str) -> object:
            return getattr(pynvml, name)

        def nvmlDeviceGetProcessUtilization(self, handle: object, since_us: int) -> list[object]:
            stamp = bench.now_ns // 1000
            return [SimpleNamespace(pid=pid, timeStamp=stamp, **use) for pid, use in ((100, first), (200, second))]

    bench.source = NvmlSource(binding=Binding, clock_ns=lambda: bench.now_ns)
    busy = Busy(bench)
    busy.go_on(5)
    assert shares_of(busy.source) == pytest.approx(expected)
