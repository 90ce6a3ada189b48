"""Which sources this machine has, and which of them are used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..hostfs import HostFS
from ..kernel.syscalls import perf_event_open
from ..kernel.topology import Topology
from .hwmon import HwmonSource
from .model import ModelSource, PowerSpec, power_spec
from .nvml import NvmlSource, open_nvml
from .perf_rapl import PerfRaplSource
from .powercap import PowercapSource
from .source import Domain, EnergySource
from .steal import StolenTime


class ModelOptions(Protocol):
    """What the user may say of the power model, in watts of the whole node."""

    @property
    def model_idle_watts(self) -> float | None: ...

    @property
    def model_max_watts(self) -> float | None: ...


@dataclass(frozen=True)
class Choice:
    """``sources`` to read, ``spec`` of the power model where it stands in for a meter, ``nvml`` where there are GPUs.

    ``notes``: a line for each decision a user would want to know of.
    """

    sources: tuple[EnergySource, ...]
    notes: tuple[str, ...]
    spec: PowerSpec | None = None
    nvml: NvmlSource | None = None

    @property
    def label(self) -> str:
        """``power_source`` of kepler_node_info: what the packages' energy comes from, and the GPUs'."""
        return "+".join(dict.fromkeys(source.name for source in self.sources))


def _offers(source: EnergySource) -> set[tuple[str, int]]:
    return {(domain.component, domain.index) for domain in source.domains}


def _meter_of_packages(fs: HostFS) -> tuple[EnergySource | None, list[str]]:
    """RAPL through perf where it offers all that powercap does, else powercap, else hwmon."""
    powercap, perf = PowercapSource(fs), PerfRaplSource(fs, perf_event_open)
    sources: list[EnergySource] = [powercap, perf]
    if _offers(perf) and _offers(perf) >= _offers(powercap):
        sources.reverse()
    sources.append(HwmonSource(fs))
    chosen: EnergySource | None = None
    notes = []
    for source in sources:
        if chosen is None and _measures_packages(source):
            chosen = source
            continue
        if source.faults:
            reasons = ", ".join(sorted(source.faults))
            notes.append(f"{source.name} is there but cannot be read ({reasons}): see kepler-ebpf doctor")
        source.close()
    return chosen, notes


def _measures_packages(source: EnergySource) -> bool:
    source.read()
    return any(
        domain.component == "package" and read_ns > 0 for domain, read_ns in zip(source.domains, source.time_ns.tolist())
    )


def choose_sources(
    fs: HostFS,
    topology: Topology,
    busy_seconds: Callable[[], NDArray[np.float64]],
    options: ModelOptions,
) -> Choice:
    """Open the best meter of the packages, or the power model where there is none, and the GPUs."""
    meter, notes = _meter_of_packages(fs)
    sources: list[EnergySource] = []
    spec = None
    if meter is not None:
        sources.append(meter)
    else:
        spec = power_spec(fs, options.model_idle_watts, options.model_max_watts)
        sources.append(ModelSource(topology.cpus_per_package(), busy_seconds, spec, StolenTime(fs)))
        notes.append(f"no energy meter for the CPUs on this machine: their power is a model's ({spec.description})")
    nvml = open_nvml()
    if nvml is not None:
        sources.append(nvml)
    return Choice(tuple(sources), tuple(notes), spec, nvml)


def gpu_use(choice: Choice, domains: Sequence[Domain], domain: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Who used the GPU of this domain: process ids and weights, empty where nobody did or nobody can tell."""
    if choice.nvml is None:
        return np.empty(0, np.int32), np.empty(0)
    return choice.nvml.shares(choice.nvml.domains.index(domains[domain]))
