"""What a target used over some frames, beside everybody else: sums that close."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..attribution.frame import Frame
from ..columns import NODE, Floats
from .target import Part

EVERYTHING = np.ones(len(NODE), np.bool_)
_LEAST_PART = 0.5


@dataclass(frozen=True)
class Usage:
    """One run. Joules by component of ``NODE``, float64[3], NaN where no meter told anything:
    ``whole = joules + others + idle + unattributed``.

    ``cycles``: NaN where they are not counted. ``peak_watts``: highest mean power over a sample. ``status``: how the
    command ended, the number of a signal below 0; None where there is no command. ``left``: its processes that still
    run. ``late``: samples that came late.
    """

    joules: Floats
    others: Floats
    idle: Floats
    unattributed: Floats
    whole: Floats
    cpu_seconds: float
    cycles: float
    elapsed_seconds: float
    peak_watts: float
    samples: int
    late: int
    status: int | None = None
    left: int = 0

    @property
    def total_joules(self) -> float:
        """Of all components that were measured, NaN where none was."""
        return float(np.nansum(self.joules)) if np.isfinite(self.joules).any() else math.nan

    @property
    def mean_watts(self) -> float:
        return _ratio(self.total_joules, self.elapsed_seconds)

    @property
    def joules_per_cpu_second(self) -> float:
        return _ratio(self.total_joules, self.cpu_seconds)

    @property
    def energy_delay(self) -> float:
        """Energy times time, in joule seconds."""
        return self.total_joules * self.elapsed_seconds


@dataclass(frozen=True)
class Figure:
    """One of a run's. ``attribute``: of :class:`Usage`; ``name``: in files; ``title``: for people."""

    attribute: str
    name: str
    unit: str
    title: str

    def of(self, usage: Usage) -> float:
        """This figure of a run."""
        return float(getattr(usage, self.attribute))


ENERGY = Figure("total_joules", "joules", "J", "energy")
PEAK = Figure("peak_watts", "peak_watts", "W", "peak power")
CPU_TIME = Figure("cpu_seconds", "cpu_seconds", "s", "CPU time")
CYCLES = Figure("cycles", "cycles", "", "cycles")
ELAPSED = Figure("elapsed_seconds", "elapsed_seconds", "s", "elapsed")
FIGURES = (
    ENERGY,
    Figure("mean_watts", "mean_watts", "W", "mean power"),
    PEAK,
    CPU_TIME,
    CYCLES,
    Figure("joules_per_cpu_second", "joules_per_cpu_second", "J/s", "joules per CPU second"),
    Figure("energy_delay", "energy_delay_joule_seconds", "J·s", "energy-delay product"),
    ELAPSED,
)


class Tally:
    """Adds frames up. ``interval_seconds``: of samples."""

    def __init__(self, interval_seconds: float) -> None:
        self._least_seconds = _LEAST_PART * interval_seconds
        self._joules, self._idle, self._unattributed, self._whole = np.zeros((4, len(NODE)))
        self.covered_seconds = np.zeros(len(NODE))
        self._cpu_seconds = self._cycles = self._peak_watts = 0.0
        self._waiting, self._waiting_seconds = np.zeros((2, len(NODE)))
        self.samples = 0

    def add(self, frame: Frame, part: Part) -> None:
        """Add a frame, of which the target used ``part``."""
        self._cpu_seconds += part.cpu_seconds
        self._cycles += part.cycles
        self.samples += 1
        self.add_joules(frame, part, EVERYTHING)

    def add_joules(self, frame: Frame, part: Part, components: NDArray[np.bool_]) -> None:
        """Add only what meters told, of these components, bool[3]: after the end, of what was used before it."""
        covered = frame.covered_seconds * components
        self.covered_seconds += covered
        for sums, joules in (
            (self._joules, part.joules),
            (self._whole, frame.measured),
            (self._idle, frame.idle),
            (self._unattributed, frame.unattributed),
        ):
            sums += joules * components
        self._look_for_peak(part.joules * components, covered)

    def _look_for_peak(self, joules: Floats, covered: Floats) -> None:
        """The power of a moment much shorter than a sample says more of the meter's steps than of the target."""
        self._waiting += joules
        self._waiting_seconds += covered
        if self._waiting_seconds.max() >= self._least_seconds:
            watts = np.divide(
                self._waiting, self._waiting_seconds, out=np.zeros(len(NODE)), where=self._waiting_seconds > 0
            )
            self._peak_watts = max(self._peak_watts, float(watts.sum()))
            self._waiting, self._waiting_seconds = np.zeros((2, len(NODE)))

    def usage(self, elapsed_seconds: float, cycles: bool, late: int, status: int | None = None, left: int = 0) -> Usage:
        """The sums. ``cycles``: whether those are counted."""
        told = self.covered_seconds > 0
        joules, idle, unattributed, whole = (
            np.where(told, sums, np.nan) for sums in (self._joules, self._idle, self._unattributed, self._whole)
        )
        others = np.maximum(whole - joules - idle - unattributed, 0.0)
        mean = float(np.nansum(joules)) / elapsed_seconds if told.any() and elapsed_seconds > 0 else math.nan
        return Usage(
            joules,
            others,
            idle,
            unattributed,
            whole,
            self._cpu_seconds,
            self._cycles if cycles else math.nan,
            elapsed_seconds,
            max(self._peak_watts, mean) if told.any() else math.nan,
            self.samples,
            late,
            status,
            left,
        )


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else math.nan
