"""What the rest of the collector knows of an energy meter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..columns import Component, Floats
from .marks import Mark

ALL_PACKAGES = -1
"""Index of a domain that all CPUs pay for: a counter of the whole machine."""


@dataclass(frozen=True)
class Domain:
    """One thing whose energy is counted: a RAPL zone, a GPU, a modelled package.

    ``index`` is the rank of the package (socket) whose CPUs pay for the energy (``Topology``), or ``ALL_PACKAGES``
    where no package alone can be told: then whatever ran anywhere pays. For a GPU it is the device's index.
    ``source`` is the label users see (``rapl-powercap``, ``rapl-perf``, ``hwmon``, ``nvml``, ``model``). ``zone`` is
    the value of the ``package`` label where a package has several zones of one component (dies); ``uuid`` and ``model``
    are a GPU's. ``idle_watts``: the idle floor, where the source knows it; a function tells it as it is now.
    """

    component: Component
    index: int
    source: str
    zone: str = ""
    uuid: str = ""
    model: str = ""
    idle_watts: float | Callable[[], float] | None = None

    @property
    def label(self) -> str:
        """Value of the ``package`` label, of a GPU of ``gpu``."""
        return self.zone or str(self.index)


class Counted(NamedTuple):
    """What a source's n domains have counted. Lists: as there are few, a call into numpy costs more.

    ``joules``: accepted since the source was opened; they never fall. ``time_ns``: the time that these cover; only
    differences are used. Both advance together, or not at all. ``live``: whether anything was accepted lately: from
    the first accepted difference on, until some seconds without one.
    """

    joules: list[float]
    time_ns: list[int]
    live: list[bool]


Taking = Callable[[], None]
"""What is left to do with raw readings: to believe them or not, and to add them up."""


class EnergySource(Protocol):
    """Cumulative joules per domain, refreshed in place by what :meth:`look` returns.

    ``domains`` only ever grows: a domain keeps its index for life. A domain that vanished merely stops advancing.

    ``faults``: readings, or energy, that were not believed, by reason (``EIO``, ``reset``, ``gap``, …); logged once.
    ``notes``: what the source left out and why, for people.

    A failed reading leaves joules and time as they were, so the next good one covers the gap and no energy is lost.
    """

    @property
    def name(self) -> str:
        """The label that users see."""

    @property
    def domains(self) -> tuple[Domain, ...]: ...

    @property
    def faults(self) -> Counter[str]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def counted(self) -> Counted:
        """The figures as they are now."""

    def look(self) -> Taking:
        """Read all counters, raw and with the time: no more, as each sample does it at its moment, on cold caches.

        What is returned refreshes all figures by that; several are called in the order of their looks, and one that is
        never called is a reading that failed. Whatever either raises costs this source this reading.
        """

    @property
    def presses(self) -> bool:
        """Whether what was read is to be worked out at once: a counter is gone, and is to be looked for."""

    def close(self) -> None:
        """Release descriptors."""


class PackageSource(EnergySource, Protocol):
    """A source that may meter packages.

    ``expected``: domains that it may come to offer, once more is known of them. ``longest_seconds``: for how long it
    may be left unread without losing energy, infinity where it may be for ever.
    """

    @property
    def longest_seconds(self) -> float: ...

    @property
    def expected(self) -> tuple[Domain, ...]: ...

    def marks(self) -> Mapping[Domain, Mark]:
        """Where the counters of its domains stand, of those that run on while no collector reads them."""


@runtime_checkable
class GpuSource(EnergySource, Protocol):
    """A source whose domains are GPUs, and which knows their users."""

    def shares(self, position: int) -> tuple[NDArray[np.int32], Floats]:
        """Who used the joules that a domain told last: process ids, int32[n], and weights, float64[n].

        Id 0 stands for users that cannot be named: their part is nobody's.
        """

    def load(self, position: int) -> float:
        """The device's utilisation while it used those joules, 0 to 1, NaN where it is not known."""
