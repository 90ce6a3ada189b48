"""Which sources this machine has, and which of them are used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..columns import Component
from ..host.fs import HostFS
from ..host.steal import StolenTime
from ..host.syscalls import perf_event_open
from ..host.topology import Topology
from .hwmon import RULES, HwmonSource, Rule
from .model import ModelSource, power_spec
from .nvml import NvmlSource, open_nvml
from .perf_rapl import OpenEvent, PerfRaplSource
from .powercap import PowercapSource
from .source import EnergySource


class MeterOptions(Protocol):
    """What the user may say: watts of the whole node for the power model, and board sensors to take."""

    @property
    def hwmon(self) -> tuple[tuple[str, str, Component], ...]: ...

    @property
    def model_idle_watts(self) -> float | None: ...

    @property
    def model_max_watts(self) -> float | None: ...


@dataclass(frozen=True)
class Choice:
    """``sources`` to read; ``model``, where it stands in for a meter of the CPUs; ``nvml``, where there are GPUs;
    ``notes`` for the log."""

    sources: tuple[EnergySource, ...]
    notes: tuple[str, ...]
    model: ModelSource | None = None
    nvml: NvmlSource | None = None

    @property
    def label(self) -> str:
        """``power_source`` of kepler_node_info."""
        return "+".join(dict.fromkeys(source.name for source in self.sources))


def _measures_packages(source: EnergySource) -> bool:
    source.read()
    return any(d.component == "package" and read_ns > 0 for d, read_ns in zip(source.domains, source.time_ns.tolist()))


def _offers(source: EnergySource) -> set[tuple[str, int]]:
    return {(domain.component, domain.index) for domain in source.domains}


def _meter_of_packages(
    fs: HostFS, open_event: OpenEvent, rules: tuple[tuple[str, str, Component], ...]
) -> tuple[EnergySource | None, list[str]]:
    """RAPL through perf where it offers all that powercap does, else powercap, else hwmon; and why not the others."""
    perf, powercap = PerfRaplSource(fs, open_event), PowercapSource(fs)
    sources: list[EnergySource] = [perf, powercap] if _offers(perf) >= _offers(powercap) else [powercap, perf]
    sources.append(HwmonSource(fs, (*(Rule(*rule) for rule in rules), *RULES)))
    chosen: EnergySource | None = None
    notes = []
    for source in sources:
        if chosen is None and _measures_packages(source):
            chosen = source
            continue
        if chosen is None and source.faults:
            reasons = ", ".join(sorted(source.faults))
            notes.append(f"{source.name} is there but cannot be read ({reasons}): see kepler-ebpf doctor")
        source.close()
    return chosen, notes


def choose_sources(
    fs: HostFS,
    topology: Topology,
    busy_seconds: Callable[[], NDArray[np.float64]],
    options: MeterOptions,
    open_event: OpenEvent = perf_event_open,
) -> Choice:
    """Open the meter of the packages, or the power model where there is none that can be read."""
    meter, notes = _meter_of_packages(fs, open_event, options.hwmon)
    model = None
    if meter is None:
        spec = power_spec(fs, len(topology.online), options.model_idle_watts, options.model_max_watts)
        meter = model = ModelSource(topology.cpus_per_package(), busy_seconds, spec, StolenTime(fs))
        notes.append(f"no energy meter for the CPUs on this machine: their power is a model's ({spec.description})")
    nvml = open_nvml()
    sources = (meter,) if nvml is None else (meter, nvml)
    return Choice(sources, tuple(notes), model, nvml)
