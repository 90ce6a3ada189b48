"""Energy and power sensors of boards without RAPL (Documentation/hwmon/sysfs-interface.rst, …/acpi_power_meter.rst).

``energy*_input`` counts microjoules; ``power*_average`` or ``power*_input`` gives microwatts, and a chip that has
neither may have pairs of ``in*_input`` (millivolts) and ``curr*_input`` (milliamperes). ``chips.py`` finds them.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Union

from ..host.fs import HostFS, same_file
from .believe import Believer, PowerBeliever, Verdict
from .chips import Sensor, Sockets, find_sensors
from .discovery import Discovering
from .figures import reason_of
from .places import Places
from .plausible import PLAUSIBLE_WATTS
from .sensor_rules import RULES, Rule
from .source import Taking

_MICRO = 1e-6
_SPAN = 0  # hwmon tells no range


@dataclass
class _Open:
    sensor: Sensor
    position: int
    believer: Believer | PowerBeliever
    fds: tuple[int, ...] = ()
    refusal: int = errno.ENOENT  # why it is not open

    @property
    def what(self) -> str:
        return str(self.sensor.paths[0])

    def read(self) -> list[bytes]:
        """Raises OSError."""
        if not self.fds:
            raise OSError(self.refusal, "not open")
        return [os.pread(fd, 32, 0) for fd in self.fds]

    def verdict(self, raw: Sequence[bytes], time_ns: int) -> Verdict:
        """What a reading says. Raises ValueError."""
        values = [int(text) for text in raw]
        if isinstance(self.believer, Believer):
            return self.believer.read(values[0], time_ns)
        # Millivolts times milliamperes are microwatts; of two negatives neither can be.
        micro_watts = math.prod(values) if min(values) >= 0 else -1
        return self.believer.read(micro_watts * _MICRO, time_ns)

    def open(self) -> None:
        """Open its files; where that is refused, each reading fails for the same reason."""
        try:
            for path in self.sensor.paths:
                self.fds += (os.open(path, os.O_RDONLY | os.O_CLOEXEC),)
        except OSError as error:
            self.close()
            self.refusal = error.errno or errno.EIO

    def close(self) -> None:
        for fd in self.fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.fds, self.refusal = (), errno.ENOENT


def _believer(sensor: Sensor) -> Believer | PowerBeliever:
    component = sensor.domain.component
    if sensor.counts_energy:
        return Believer(_SPAN, _MICRO, PLAUSIBLE_WATTS[component])
    # A package that runs us is never at 0 W: a board's controller that hangs says so.
    return PowerBeliever(PLAUSIBLE_WATTS[component], may_be_off=component != "package")


_Raw = tuple[_Open, Union[list[bytes], OSError], int]
"""A reading of a sensor: what was read, and when."""


class HwmonSource(Discovering):
    """Energy of every sensor that a rule knows (see :class:`EnergySource`)."""

    name = "hwmon"

    def __init__(
        self,
        fs: HostFS,
        rules: Sequence[Rule] = RULES,
        places: Places | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__(fs, places, clock_ns)
        self._rules = rules
        self._sockets = Sockets()
        self._open: dict[tuple[str, str], _Open] = {}
        self._discover_first()

    def look(self) -> Taking:
        """Read every sensor; one that cannot be read keeps its figures until it can."""
        raw: list[_Raw] = []
        for one in self._open.values():
            now = self._clock_ns()
            try:
                raw.append((one, one.read(), now))
            except OSError as error:
                raw.append((one, error, now))
        return partial(self._take_all, raw, self._looked(is_gone=False))  # it is looked for each five seconds

    def _take_all(self, raw: Sequence[_Raw], looked_ns: int) -> None:
        for one, texts, now in raw:
            try:
                if isinstance(texts, OSError):
                    raise texts
                verdict = one.verdict(texts, now)
            except (OSError, ValueError) as error:
                self.fault(one.what, reason_of(error))
                continue
            self.book(one.position, verdict, now, one.what)
        self.end_reading(looked_ns)
        self._discover_again(looked_ns)

    def close(self) -> None:
        for one in self._open.values():
            one.close()

    def _discover(self) -> None:
        """Take up sensors that have appeared, and those that have come back, under another number perhaps. Those that
        are not found any more are read no more."""
        sensors, notes = find_sensors(self._fs, self._rules, self._places, self.name, self._sockets)
        for note in notes:
            self.note(note)
        gone = {key: self._open[key] for key in self._open.keys() - {sensor.key for sensor in sensors}}
        for missing in gone.values():
            missing.close()
        for sensor in sensors:
            one = self._open.get(sensor.key)
            if one is None:
                # The same series as one that has gone: it has come back as another device.
                key = next((key for key, missing in gone.items() if missing.sensor.domain == sensor.domain), None)
                one = gone.pop(key) if key else None
                if key and one:
                    self._open[sensor.key] = self._open.pop(key)
            if one is None:
                one = self._open[sensor.key] = _Open(sensor, self.add(sensor.domain), _believer(sensor))
            elif one.sensor.counts_energy != sensor.counts_energy:
                one.believer = _believer(sensor)
            elif one.fds and one.sensor.paths == sensor.paths and all(map(same_file, one.fds, sensor.paths)):
                continue
            one.close()
            one.sensor = sensor
            one.believer.restart()
            one.open()
