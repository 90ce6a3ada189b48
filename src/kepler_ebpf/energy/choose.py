"""Which sources this machine has, and which of them are used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..hostfs import HostFS
from ..kernel.topology import Topology
from .model import ModelSource, power_spec
from .powercap import PowercapSource
from .source import EnergySource
from .steal import StolenTime


class ModelOptions(Protocol):
    """What the user may say of the power model, in watts of the whole node."""

    @property
    def model_idle_watts(self) -> float | None: ...

    @property
    def model_max_watts(self) -> float | None: ...


@dataclass(frozen=True)
class Choice:
    """``sources`` to read; ``model``, where it stands in for a meter of the CPUs; ``notes`` for the log."""

    sources: tuple[EnergySource, ...]
    notes: tuple[str, ...]
    model: ModelSource | None = None

    @property
    def label(self) -> str:
        """``power_source`` of kepler_node_info."""
        return "+".join(dict.fromkeys(source.name for source in self.sources))


def _measures_packages(source: EnergySource) -> bool:
    source.read()
    return any(d.component == "package" and read_ns > 0 for d, read_ns in zip(source.domains, source.time_ns.tolist()))


def choose_sources(
    fs: HostFS, topology: Topology, busy_seconds: Callable[[], NDArray[np.float64]], options: ModelOptions
) -> Choice:
    """Open the meter of the packages, or the power model where there is none that can be read."""
    powercap = PowercapSource(fs)
    if _measures_packages(powercap):
        return Choice((powercap,), ())
    notes = []
    if powercap.faults:
        reasons = ", ".join(sorted(powercap.faults))
        notes.append(f"RAPL is there but cannot be read ({reasons}): see kepler-ebpf doctor")
    powercap.close()
    spec = power_spec(fs, len(topology.online), options.model_idle_watts, options.model_max_watts)
    model = ModelSource(topology.cpus_per_package(), busy_seconds, spec, StolenTime(fs))
    notes.append(f"no energy meter for the CPUs on this machine: their power is a model's ({spec.description})")
    return Choice((model,), tuple(notes), model)
