"""GPUs that sleep while nobody uses them, as those of laptops do, for 5 to 10 W less.

Whoever asks NVML about one wakes it, and whoever has NVML open keeps it awake. The kernel tells without that which of
them sleep (``power/runtime_status``, Documentation/ABI/testing/sysfs-devices-power), and the driver which of them it
lets sleep (its README, chapter "PCI-Express Runtime D3 (RTD3) Power Management").
"""

from __future__ import annotations

from pathlib import Path

from ..host.fs import HostFS, read_text

_UNUSED_NS = 30_000_000_000
"""After so long without any load NVML is closed, so that GPUs can fall asleep."""
_FALLS_ASLEEP_NS = 15_000_000_000
"""In so long they do, if ever: 6 s after the last one who had it open, as has been seen."""
_AGAIN_NS = 600_000_000_000
"""GPUs that did not fall asleep then are not let alone again for so long."""
_ASLEEP = ("suspended", "suspending")


class GpuSleep:
    """Whether all of this machine's GPUs are to be let alone. With one that is awake NVML is open, and all are."""

    def __init__(self, fs: HostFS) -> None:
        self._devices = fs.sys / "bus/pci/drivers/nvidia"
        self._driver = fs.proc / "driver/nvidia/gpus"
        self._opened_ns: int | None = None
        self._since_ns: int | None = None  # for how long they have been let alone
        self._slept = False
        self._again_ns = 0

    @property
    def let_alone(self) -> bool:
        """What was last decided."""
        return self._since_ns is not None

    def decide(self, now_ns: int, used_ns: int) -> bool:
        """Whether to let them alone from now on. ``used_ns``: when any of them was in use, as far as NVML told."""
        states = [_read(path) for path in self._devices.glob("*:*/power/runtime_status")]
        if states and all(state in _ASLEEP for state in states):
            self._since_ns, self._slept = now_ns, True
        elif self._since_ns is not None:
            if self._slept or now_ns - self._since_ns >= _FALLS_ASLEEP_NS:
                self._again_ns = 0 if self._slept else now_ns + _AGAIN_NS
                self._since_ns, self._slept, self._opened_ns = None, False, now_ns
        elif self._opened_ns is None:
            self._opened_ns = now_ns
        elif now_ns >= max(used_ns, self._opened_ns, self._again_ns - _UNUSED_NS) + _UNUSED_NS and self._may_sleep():
            self._since_ns = now_ns
        return self.let_alone

    def _may_sleep(self) -> bool:
        """Whether the driver lets all of them sleep: "Runtime D3 status:          Enabled (fine-grained)"."""
        told = [_read(path).partition("Runtime D3 status:")[2].strip() for path in self._driver.glob("*/power")]
        return bool(told) and all(status.startswith("Enabled") for status in told)


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except OSError:
        return ""
