"""GPUs of laptops, which sleep while nobody has them open, and which every question wakes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from kepler_ebpf.energy.nvml import NvmlSource
from kepler_ebpf.host.fs import HostFS

SECOND = 10**9
# As a notebook's driver tells it (NVIDIA/open-gpu-kernel-modules, issue 907).
POWER = """Runtime D3 status:          {}
Tegra iGPU Rail-Gating:     Disabled
Video Memory:               Off

GPU Hardware Support:
 Video Memory Self Refresh: Not Supported
 Video Memory Off:          Supported
"""


class Laptop:
    """A GPU of 8 W at idle, which falls asleep 6 s after the last one who had it open. ``application``: what another
    program uses of it, per cent; None while there is none, which keeps it awake as we do."""

    NVMLError = pynvml.NVMLError

    def __init__(self, root: Path, runtime_d3: str = "Enabled (fine-grained)", asleep: bool = True) -> None:
        self.fs = HostFS(proc=root / "proc", sys=root / "sys")
        self._status = root / "sys/bus/pci/drivers/nvidia/0000:01:00.0/power/runtime_status"
        power = root / "proc/driver/nvidia/gpus/0000:01:00.0/power"
        for file in (self._status, power):
            file.parent.mkdir(parents=True)
        power.write_text(POWER.format(runtime_d3))
        self.application: int | None = None
        self.can_sleep = runtime_d3.startswith("Enabled")
        self.opened = self.woken = self.seconds = self._left = 0
        self._joules = 0.0
        self.asleep = asleep
        self._tell()
        self.source = NvmlSource(self.fs, lambda: self, lambda: (1 + self.seconds) * SECOND)

    def __getattr__(self, name: str) -> object:
        answers = {
            "nvmlInit": self._open,
            "nvmlShutdown": self._close,
            "nvmlDeviceGetCount": lambda: 1,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetUUID": lambda handle: "GPU-0",
            "nvmlDeviceGetName": lambda handle: "Laptop",
            "nvmlDeviceGetTotalEnergyConsumption": lambda handle: round(self._joules * 1000),
            "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=self.application or 0, memory=0),
        }
        return answers.get(name, self._absent)

    @staticmethod
    def _absent(*arguments: object) -> object:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def _open(self) -> None:
        self.opened += 1
        self.woken += self.asleep
        self.asleep = False

    def _close(self) -> None:
        self.opened -= 1

    def _tell(self) -> None:
        self._told = self.asleep
        self._status.write_text("suspended\n" if self.asleep else "active\n")

    def go_on(self, seconds: int) -> None:
        for _ in range(seconds):
            self.seconds += 1
            if self.application is not None:
                self.asleep = False
            self._left = 0 if self.opened or self.application is not None else self._left + 1
            if self.can_sleep and self._left >= 6:
                self.asleep, self._joules = True, 0.0
            self._joules += 0 if self.asleep else 8 + (self.application or 0)
            if self.asleep != self._told:
                self._tell()
            self.source.recount()
            self.source.poll()
            self.source.read()


def test_a_gpu_that_sleeps_is_not_asked(tmp_path: Path) -> None:
    laptop = Laptop(tmp_path)
    laptop.go_on(100)
    assert (laptop.woken, laptop.asleep) == (0, True)
    assert laptop.source.inspect() == [(True, "asleep, and not asked, as that would wake them")]
    assert not laptop.source.faults


def test_a_gpu_that_somebody_wakes_is_metered_until_it_may_sleep_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    laptop = Laptop(tmp_path)
    laptop.go_on(10)
    for times in (1, 2):
        laptop.application = 42
        laptop.go_on(100)
        assert laptop.source.joules[0] == pytest.approx(times * 50 * 100, abs=times * 8 * 50)
        assert laptop.source.live.tolist() == [True]
        laptop.application = None
        laptop.go_on(100)
        assert laptop.asleep, "closing NVML let it"
        assert laptop.source.live.tolist() == [False]
    assert laptop.woken == 0
    assert not caplog.messages


def test_a_gpu_that_does_not_fall_asleep_is_let_alone_seldom(tmp_path: Path) -> None:
    laptop = Laptop(tmp_path, asleep=False)
    laptop.application = 0  # it computes nothing, but has it open
    laptop.go_on(1300)
    assert laptop.source.joules[0] == pytest.approx(8 * 1300, rel=0.06)


@pytest.mark.parametrize("runtime_d3", ["Disabled by default", "Not supported", "?"])
def test_a_gpu_that_its_driver_keeps_awake_is_asked_all_the_time(tmp_path: Path, runtime_d3: str) -> None:
    laptop = Laptop(tmp_path, runtime_d3, asleep=False)
    laptop.go_on(300)
    assert laptop.opened == 1
    assert laptop.source.joules[0] == pytest.approx(8 * 300, abs=8 * 4)


def test_a_gpu_in_use_now_and_then_is_asked_all_the_time(tmp_path: Path) -> None:
    laptop = Laptop(tmp_path, asleep=False)
    for _ in range(10):
        laptop.application = 80
        laptop.go_on(2)
        laptop.application = None
        laptop.go_on(20)
    assert laptop.opened == 1
