"""What the rest of the collector knows of an energy meter."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..columns import Component

ALL_PACKAGES = -1
"""Index of a domain that all CPUs pay for: a counter of the whole machine."""


@dataclass(frozen=True)
class Domain:
    """One thing whose energy is counted: a RAPL zone, a GPU, a modelled package.

    ``index`` is the rank of the package (socket) whose CPUs pay for the energy (``Topology``), or ``ALL_PACKAGES``
    where no package alone can be told: then whatever ran anywhere pays. For a GPU it is the device's index.
    ``source`` is the label users see (``rapl-powercap``, ``rapl-perf``, ``hwmon``, ``nvml``, ``model``). ``zone`` is
    the value of the ``package`` label where a package has several zones of one component (dies); ``uuid`` and ``model``
    are a GPU's. ``idle_watts``: the idle floor, where the source knows it.
    """

    component: Component
    index: int
    source: str
    zone: str = ""
    uuid: str = ""
    model: str = ""
    idle_watts: float | None = None


class EnergySource(Protocol):
    """Cumulative joules per domain, refreshed in place by :meth:`read`.

    ``domains`` only ever grows: a domain keeps its index for life. A domain that vanished merely stops advancing.

    ``joules``: float64[n], used since the source was opened; never falls.
    ``time_ns``: int64[n], when the latest good reading was taken, on any steady clock: only differences are used.

    A failed reading leaves both as they were, so the next good one covers the gap and no energy is lost. Where the
    energy of a gap cannot be known (counter reset, more wraps than can be told), ``joules`` stays and ``time_ns``
    advances. Either is counted in ``faults`` by reason (``EIO``, ``reset``, ``gap``, …) and logged once.
    """

    name: str
    domains: tuple[Domain, ...]
    joules: NDArray[np.float64]
    time_ns: NDArray[np.int64]
    faults: Counter[str]

    def read(self) -> None:
        """Refresh ``joules`` and ``time_ns``. Never raises."""

    def close(self) -> None:
        """Release descriptors."""


@runtime_checkable
class GpuSource(EnergySource, Protocol):
    """A source whose domains are GPUs, and which knows their users."""

    def shares(self, position: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Who used the joules that a domain told last: process ids, int32[n], and weights, float64[n]."""

    def load(self, position: int) -> float:
        """The device's utilisation, 0 to 1, NaN where it is not known."""
