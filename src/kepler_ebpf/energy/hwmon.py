"""Energy and power sensors of boards without RAPL (Documentation/hwmon/sysfs-interface.rst, …/acpi_power_meter.rst).

``energy*_input`` counts microjoules; ``power*_average`` or ``power*_input`` gives microwatts, which are integrated over
the time that really passed. What a sensor measures, the chip's ``name`` and the sensor's ``label`` tell:
only known chips are taken, or those that the user names, because many boards publish the same power twice.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..columns import Component
from ..host.fs import HostFS, read_text
from .counter import WrappingCounter
from .source import Domain

log = logging.getLogger(__name__)

_MICRO = 1e-6
_SPAN = 1 << 64  # hwmon drivers accumulate in 64 bits


@dataclass(frozen=True)
class Rule:
    """A sensor, by regular expressions on chip ``name`` and ``label``; group 1 of ``label``, if any, is the socket."""

    chip: str
    label: str
    component: Component


RULES = (
    # Documentation/hwmon/amd_energy.rst: Ecore* and Esocket*; sockets contain their cores.
    Rule(r"amd_energy", r"Esocket(\d+)", "package"),
    # NVIDIA Grace through the ACPI power meter ("Grace Power Socket 0" contains "CPU Power Socket 0").
    Rule(r"power_meter.*", r"Grace Power Socket (\d+)", "package"),
    # APM X-Gene (Documentation/hwmon/xgene-hwmon.rst).
    Rule(r"apm_xgene", r"CPU power", "package"),
    # Ampere Altra's SMpro (Documentation/hwmon/smpro-hwmon.rst): socket power, and that of its DIMMs.
    Rule(r"smpro", r"CPU power", "package"),
    Rule(r"smpro", r"DIMM power", "dram"),
)


@dataclass
class _Sensor:
    path: Path
    domain: Domain
    fd: int
    counts_energy: bool
    counter: WrappingCounter | None = None
    watts: float = 0.0
    time_ns: int = 0
    failing: str = ""


class HwmonSource:
    """Energy of every sensor that a rule knows (see :class:`EnergySource`)."""

    name = "hwmon"

    def __init__(
        self, fs: HostFS, rules: Sequence[Rule] = RULES, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.faults: Counter[str] = Counter()
        self._clock_ns = clock_ns
        self._sensors: list[_Sensor] = []
        for chip in sorted((fs.sys / "class/hwmon").glob("hwmon*")):
            self._take(chip, rules)
        self.domains = tuple(sensor.domain for sensor in self._sensors)
        self.joules = np.zeros(len(self._sensors))
        self.time_ns = np.zeros(len(self._sensors), np.int64)

    def _take(self, chip: Path, rules: Sequence[Rule]) -> None:
        try:
            name = read_text(chip / "name", 256)
        except OSError:
            return
        for value, counts_energy in _values(chip):
            label = _label(chip, value)
            for rule in rules:
                match = re.fullmatch(rule.label, label)
                if match and re.fullmatch(rule.chip, name):
                    socket = int(match.group(1)) if match.groups() else 0
                    domain = Domain(rule.component, socket, self.name, str(socket))
                    if any(sensor.domain == domain for sensor in self._sensors):
                        continue  # energy comes before power in _values: the same socket's power is not added to it
                    try:
                        fd = os.open(value, os.O_RDONLY | os.O_CLOEXEC)
                    except OSError as error:
                        self.faults[errno.errorcode.get(error.errno or 0, "EIO")] += 1
                        log.warning("%s (%s) cannot be opened: %s", value, label, error.strerror)
                        continue
                    self._sensors.append(_Sensor(value, domain, fd, counts_energy))

    def read(self) -> None:
        """Read every sensor; one that cannot be read keeps its value until it can."""
        for position, sensor in enumerate(self._sensors):
            try:
                value = int(os.pread(sensor.fd, 32, 0))
            except OSError as error:
                self._fault(sensor, errno.errorcode.get(error.errno or 0, "EIO"))
                continue
            except ValueError:
                self._fault(sensor, "not a number")
                continue
            now = self._clock_ns()
            joules, reason = self._energy(sensor, value, now)
            self.joules[position] += joules
            self.time_ns[position] = now
            if reason:
                self._fault(sensor, reason)
            else:
                sensor.failing = ""

    @staticmethod
    def _energy(sensor: _Sensor, value: int, now: int) -> tuple[float, str]:
        if sensor.counts_energy:
            if sensor.counter is None:
                sensor.counter = WrappingCounter(_SPAN, _MICRO, value, now)
                return 0.0, ""
            return sensor.counter.advance(value, now)
        if value < 0:
            return 0.0, "negative"
        before, since = sensor.watts, sensor.time_ns
        sensor.watts, sensor.time_ns = value * _MICRO, now
        # Between two readings the power is taken to go straight from one to the other.
        return (0.0 if since == 0 else (before + sensor.watts) / 2 * (now - since) * 1e-9), ""

    def _fault(self, sensor: _Sensor, reason: str) -> None:
        self.faults[reason] += 1
        if sensor.failing != reason:
            log.warning("%s is not known for now: %s", sensor.path, reason)
            sensor.failing = reason

    def close(self) -> None:
        for sensor in self._sensors:
            os.close(sensor.fd)


def _values(chip: Path) -> list[tuple[Path, bool]]:
    """Files to read, energy first, and whether each counts energy."""
    averages = sorted(chip.glob("power*_average"))
    numbers = {path.name.partition("_")[0] for path in averages}
    inputs = [path for path in sorted(chip.glob("power*_input")) if path.name.partition("_")[0] not in numbers]
    return [(path, True) for path in sorted(chip.glob("energy*_input"))] + [(path, False) for path in averages + inputs]


def _label(chip: Path, value: Path) -> str:
    """A sensor's label; ACPI power meters have theirs in ``power1_oem_info`` or the device."""
    number = value.name.partition("_")[0]
    for name in (f"{number}_label", f"{number}_oem_info"):
        try:
            return read_text(chip / name, 256)
        except OSError:
            continue
    return ""
