"""Which sources this machine has, and which of them are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..columns import Component
from ..host.fs import HostFS
from ..host.processor import is_virtual
from ..host.syscalls import perf_event_open
from ..host.topology import Topology
from .chips import RULES, Rule
from .hwmon import HwmonSource
from .model import ModelSource, power_spec
from .nvml import NvmlSource
from .packages import PackageMeter
from .perf_rapl import OpenEvent, PerfRaplSource
from .places import Places
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
    """``packages``: the meter of the CPUs; ``nvml``: that of GPUs, if there are any; ``notes`` for the log."""

    packages: PackageMeter
    nvml: NvmlSource
    notes: tuple[str, ...]

    @property
    def sources(self) -> tuple[EnergySource, ...]:
        return (self.packages, self.nvml)

    @property
    def model(self) -> ModelSource:
        """The power model; it has to be told whom to ask for utilisation."""
        return self.packages.model

    @property
    def by_package(self) -> bool:
        """Whether any meter tells packages apart: only then need the kernel's rows."""
        return len({domain.index for domain in self.packages.domains if domain.index >= 0}) > 1


def choose_sources(
    fs: HostFS, topology: Topology, options: MeterOptions, open_event: OpenEvent = perf_event_open
) -> Choice:
    """Open all meters of the packages; RAPL through perf is preferred where it offers all that powercap does."""
    places = Places(topology)
    perf = PerfRaplSource(fs, open_event, places)
    powercap = PowercapSource(fs, places, virtual=is_virtual(fs))
    rules = (*(Rule(*rule) for rule in options.hwmon), *RULES)
    candidates: list[EnergySource] = [perf, powercap] if _offers(perf) >= _offers(powercap) else [powercap, perf]
    candidates.append(HwmonSource(fs, rules, places))
    spec = power_spec(fs, len(topology.online), options.model_idle_watts, options.model_max_watts)
    model = ModelSource(spec, len(topology.online))
    packages = PackageMeter(candidates, model)
    notes = [
        f"{source.name} is there but cannot be read ({', '.join(sorted(source.faults))}): see kepler-ebpf doctor"
        for source in candidates
        if source.faults
    ]
    if packages.name == model.name:
        notes.append(f"no energy meter for the CPUs on this machine: their power is a model's ({spec.description})")
    return Choice(packages, NvmlSource(fs.proc), tuple(notes))


def _offers(source: EnergySource) -> set[tuple[str, int]]:
    return {(domain.component, domain.index) for domain in source.domains}
