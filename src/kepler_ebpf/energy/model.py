"""Power without a meter: a model of CPU utilisation, for machines (most virtual ones) that have nothing to measure.

Idle and full watts per hardware thread are medians over servers of the same microarchitecture, and the curve between
them is their vendor's (``data/README.md`` names the source, SPEC). Known only so well, a node's power is off by about
30 % (14 % for EPYC 2 and 3; up to 46 % at idle): every series it feeds is marked ``source="model"``. The table has x86
servers alone: on other processors their median stands in, and its error is not known.
"""

from __future__ import annotations

import csv
import statistics
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from .. import data
from ..host.fs import HostFS
from ..host.processor import read_processor
from ..host.topology import Topology
from .believe import Verdict
from .figures import Figures
from .source import ALL_PACKAGES, Domain, Taking

_ERROR_OF_MICROARCHITECTURE = 0.30
_ERROR_OF_ROME_AND_MILAN = 0.14
_ERROR_OF_UNKNOWN = 0.46


@dataclass(frozen=True)
class PowerSpec:
    """Watts per hardware thread at idle and at full load, and the curve between.

    ``load``, ``curve``: utilisation, ascending, and the part of the way from idle to full power there.
    ``error_ratio``: the expected relative error, NaN where the user gave the watts, and where no server of the
    processor's vendor is in the table: then nobody knows it.
    """

    idle_watts_per_thread: float
    full_watts_per_thread: float
    load: tuple[float, ...]
    curve: tuple[float, ...]
    description: str
    error_ratio: float

    def watts(self, utilization: float, threads: int) -> float:
        """Power of a machine with so many threads at this utilisation (0 to 1)."""
        above = min(max(bisect_right(self.load, utilization), 1), len(self.load) - 1)
        (low, high), (start, end) = self.load[above - 1 : above + 1], self.curve[above - 1 : above + 1]
        part = start + (end - start) * min(max((utilization - low) / (high - low), 0.0), 1.0)
        return threads * (self.idle_watts_per_thread + part * (self.full_watts_per_thread - self.idle_watts_per_thread))


def power_spec(fs: HostFS, threads: int, idle_watts: float | None = None, max_watts: float | None = None) -> PowerSpec:
    """The model for this machine's processor; ``idle_watts`` and ``max_watts``, of the whole node, replace its own."""
    processor = read_processor(fs)
    rows = _table()
    row = next((row for row in rows if row["microarchitecture"] == processor.microarchitecture), None)
    if row is not None:
        idle, full = float(row["idle_watts_median"]), float(row["full_watts_median"])
        known = "EPYC 2" in row["microarchitecture"] or "EPYC 3" in row["microarchitecture"]
        error = _ERROR_OF_ROME_AND_MILAN if known else _ERROR_OF_MICROARCHITECTURE
        description = f"SPECpower median of {row['servers']} {row['vendor']} {row['microarchitecture']} servers"
    else:
        same = [row for row in rows if row["vendor"] == processor.vendor]
        alike = same or rows
        # Not numpy's: that imports its masked arrays, which stay in memory (2 MiB).
        idle = statistics.median(float(row["idle_watts_median"]) for row in alike)
        full = statistics.median(float(row["full_watts_median"]) for row in alike)
        error = _ERROR_OF_UNKNOWN if same else float("nan")
        whose = processor.vendor if same else "all x86"
        description = f"SPECpower median of {whose} microarchitectures, this one being unknown"
    load, curve = _load_curve("amd" if processor.vendor == "AMD" else "intel")
    if idle_watts is not None or max_watts is not None:
        description = "watts set by the user" + ("" if None not in (idle_watts, max_watts) else f", else {description}")
        idle = idle if idle_watts is None else idle_watts / max(threads, 1)
        full = full if max_watts is None else max_watts / max(threads, 1)
        error = error if None in (idle_watts, max_watts) else float("nan")
    return PowerSpec(idle, max(idle, full), load, curve, description, error)


def _table() -> list[dict[str, str]]:
    with (data.FOLDER / "specpower_watts_per_thread.csv").open(encoding="utf-8") as text:
        return list(csv.DictReader(text))


def _load_curve(vendor: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    with (data.FOLDER / "load_curve.csv").open(encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    return tuple(float(row["load"]) for row in rows), tuple(float(row[vendor]) for row in rows)


class CpuUse(Protocol):
    """How much of the CPUs' time was in use: what the kernel side tells."""

    @property
    def topology(self) -> Topology: ...

    @property
    def busy_seconds(self) -> Sequence[float]:
        """Cumulative CPU seconds of everything but the idle tasks, by package, without what a hypervisor took."""

    @property
    def sampled_ns(self) -> int:
        """When that was (CLOCK_MONOTONIC)."""


class ModelSource(Figures):
    """Modelled energy of the machine (see :class:`EnergySource`): power at the utilisation since the last reading.

    One domain that all CPUs pay for: a model cannot tell packages apart. It is silent until :meth:`ask`.
    """

    name = "model"

    def __init__(
        self,
        spec: PowerSpec,
        threads: int,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """``threads``: hardware threads that are online now; later the topology is followed."""
        super().__init__(clock_ns)
        self.spec = spec
        self._threads = threads
        self._cpus: CpuUse | None = None
        self.add(Domain("package", ALL_PACKAGES, self.name, "0", idle_watts=self.idle_watts))
        self._then_ns, self._busy = 0, 0.0

    def ask(self, cpus: CpuUse) -> None:
        """From now on the utilisation is what this tells."""
        self._cpus = cpus
        self.restart()

    def restart(self) -> None:
        """Begin anew: what was used until now is not this meter's."""
        if self._cpus is not None:
            self._then_ns, self._busy = self._cpus.sampled_ns, sum(self._cpus.busy_seconds)

    def idle_watts(self) -> float:
        """Power at no utilisation of the threads that were online at the latest reading."""
        return self._threads * self.spec.idle_watts_per_thread

    def look(self) -> Taking:
        """See the CPUs' latest sample: the energy since the one before is that of the mean utilisation there."""
        if self._cpus is None:
            return self._silent
        return partial(self._take, self._cpus.sampled_ns, sum(self._cpus.busy_seconds), len(self._cpus.topology.online))

    def _silent(self) -> None:
        """Nobody is there to be asked yet."""

    def _take(self, now: int, busy: float, online: int) -> None:
        if now <= self._then_ns:
            return
        seconds, threads = (now - self._then_ns) * 1e-9, max(online, 1)
        self._threads = threads
        utilization = min(max((busy - self._busy) / (seconds * threads), 0.0), 1.0)
        self.book(0, Verdict(self.spec.watts(utilization, threads) * seconds, seconds), now, "the power model")
        self._then_ns, self._busy = now, busy

    def close(self) -> None:
        """Nothing is held."""
