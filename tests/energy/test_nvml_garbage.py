"""Whatever NVML answers, nothing is raised, counters never fall, and nothing absurd comes out."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from kepler_ebpf.energy.gpu_calls import Calls
from kepler_ebpf.energy.gpu_lists import WHOLE_GPU, Listed
from kepler_ebpf.energy.gpu_use import NOBODY
from kepler_ebpf.energy.nvml import NvmlSource
from kepler_ebpf.energy.plausible import PLAUSIBLE_WATTS

ABSURD: tuple[object, ...] = (0, -1, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, 2**64, None, "x", math.nan, [], b"\xff")
ERRORS = (*(pynvml.NVMLError(code) for code in (*range(30), 999)), RuntimeError("odd"), OSError("odd"), KeyError("odd"))
GPUS = 3


def test_an_entry_that_names_no_process_costs_the_others_nothing() -> None:
    class Binding:
        NVMLError = pynvml.NVMLError

        def nvmlDeviceGetProcessUtilization(self, handle: object, since: int) -> list[SimpleNamespace]:
            return [
                SimpleNamespace(pid=pid, smUtil=40, timeStamp=stamp) for pid, stamp in ((None, 1), (7, 2), (8, None))
            ]

        def nvmlDeviceGetMigMode(self, handle: object) -> list[int]:
            return [0, 0]

        def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> list[SimpleNamespace]:
            return [SimpleNamespace(pid=2**32 - 1), SimpleNamespace(), SimpleNamespace(pid=10)]

        def nvmlDeviceGetGraphicsRunningProcesses(self, handle: object) -> list[SimpleNamespace]:
            return [SimpleNamespace(pid=None)]

    calls = Calls(Binding())
    assert [(sample.pid, sample.utilization) for sample in calls.samples(None, 0)] == [(NOBODY, 0.4), (7, 0.4)]
    assert calls.lists(None) == [Listed(WHOLE_GPU, 1, {NOBODY, 2**32 - 1, 10})]


class Garbage:
    """Three GPUs of 100 W, each used by two processes, of whose answers a fraction ``noise`` is garbage."""

    NVMLError = pynvml.NVMLError

    def __init__(self, dice: random.Random, noise: float) -> None:
        self._dice, self._noise = dice, noise
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self._answer(name, *arguments)

    def _number(self, sane: int) -> Any:
        return self._dice.choice(ABSURD) if self._dice.random() < self._noise / 4 else sane

    def _answer(self, name: str, *arguments: Any) -> Any:
        if self._dice.random() < self._noise:
            raw = self._dice.choice((*ABSURD, *ERRORS))
            if isinstance(raw, Exception):
                raise raw
            return raw
        sane = {
            "nvmlInit": None,
            "nvmlShutdown": None,
            "nvmlDeviceGetCount": GPUS,
            "nvmlDeviceGetHandleByIndex": arguments[0] if arguments else None,
            "nvmlDeviceGetUUID": f"GPU-{arguments[0] if arguments else ''}",
            "nvmlDeviceGetName": "Garbage",
            "nvmlDeviceGetEnforcedPowerLimit": 400_000,
            "nvmlDeviceGetTotalEnergyConsumption": round(self.seconds * 100_000),
            "nvmlDeviceGetPowerUsage": 100_000,
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=self._number(50)),
            "nvmlDeviceGetProcessUtilization": [
                SimpleNamespace(
                    pid=self._number(pid), smUtil=self._number(40), timeStamp=self._number(round(self.seconds * 1e6))
                )
                for pid in (100, 200)
            ],
        }
        if name not in sane:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return sane[name]


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(20))
def test_garbage(seed: int, noise: float) -> None:
    dice = random.Random(seed)
    garbage = Garbage(dice, noise)
    source = NvmlSource(binding=lambda: garbage, clock_ns=lambda: round((1 + garbage.seconds) * 1e9))
    joules: list[float] = []
    used_by: set[int] = set()
    for step in range(300):
        if step % 50 == 0:
            source.recount()
        source.poll()
        source.read()
        now = source.joules.tolist()
        assert all(after >= before for before, after in zip(joules, now))
        joules = now
        # The most that a GPU is believed to draw: twice the greatest limit that one may claim.
        assert all(value <= 2 * PLAUSIBLE_WATTS["gpu"] * (garbage.seconds + 2) for value in joules)
        for position in range(len(source.domains)):
            pids, weights = source.shares(position)
            used_by |= set(pids.tolist())
            assert ((pids >= 0) & (pids <= 1 << 22)).all()
            assert (weights >= 0).all()
            assert math.isnan(source.load(position)) or 0 <= source.load(position) <= 1
        garbage.seconds += dice.choice((0.05, 0.1, 0.1, 0.3))
    whole = GPUS * 100 * garbage.seconds
    assert sum(joules) <= 1.01 * whole or noise > 0.02
    if noise < 0.02:
        # A single word that the driver has gone costs the energy of all GPUs until they are counted again.
        assert sum(joules) >= (0.5 if noise else 0.98) * whole
        assert used_by >= {100, 200}
