"""Which sources this machine has, and which of them are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..config import Config
from ..errors import UsageError
from ..host.fs import HostFS
from ..host.processor import is_virtual
from ..host.syscalls import perf_event_open
from ..host.topology import Topology
from ..waiting import waiting_for
from .hwmon import HwmonSource
from .model import CpuUse, ModelSource, power_spec
from .nvml import NvmlSource
from .packages import PackageMeter
from .perf_rapl import OpenEvent, PerfRaplSource
from .places import FollowsTopology, Places
from .powercap import PowercapSource
from .sensor_rules import RULES, Rule
from .source import EnergySource, PackageSource


class Cpus(CpuUse, FollowsTopology, Protocol):
    """What meters ask about the CPUs."""


@dataclass(frozen=True)
class ChosenSources:
    """``packages``: the meter of the CPUs; ``nvml``: that of GPUs, if there are any; ``notes`` for the log.

    ``places``: which package the meters' numbers mean. It, and the model, know nothing of the CPUs before :meth:`ask`.
    """

    packages: PackageMeter
    nvml: NvmlSource
    places: Places
    notes: tuple[str, ...]

    @property
    def sources(self) -> tuple[EnergySource, ...]:
        return (self.packages, self.nvml)

    def ask(self, cpus: Cpus) -> None:
        """From now on CPUs, their packages and their utilisation are what this tells."""
        self.places.ask(cpus)
        self.packages.model.ask(cpus)

    @property
    def by_package(self) -> bool:
        """Whether any meter tells packages apart, or may come to: only then need the kernel's rows."""
        domains = (*self.packages.domains, *self.packages.expected)
        return len({domain.index for domain in domains if domain.index >= 0}) > 1


def open_packages(
    fs: HostFS,
    topology: Topology,
    config: Config,
    open_event: OpenEvent = perf_event_open,
    places: Places | None = None,
) -> PackageMeter:
    """Open all meters of the packages; RAPL through perf is preferred where it offers all that powercap does."""
    places = places or Places(topology)
    virtual = is_virtual(fs)
    with waiting_for(PerfRaplSource.name):
        perf = PerfRaplSource(fs, open_event, places, virtual=virtual)
    with waiting_for(PowercapSource.name):
        powercap = PowercapSource(fs, places, virtual=virtual)
    rules = (*(Rule(*rule) for rule in config.hwmon), *RULES)
    candidates: list[PackageSource] = [perf, powercap] if _offers(perf) >= _offers(powercap) else [powercap, perf]
    with waiting_for(HwmonSource.name):
        candidates.append(HwmonSource(fs, rules, places))
    spec = power_spec(fs, len(topology.online), config.model_idle_watts, config.model_max_watts)
    model = ModelSource(spec, len(topology.online))
    return PackageMeter(candidates, model)


def choose_sources(
    fs: HostFS, topology: Topology, config: Config, open_event: OpenEvent = perf_event_open
) -> ChosenSources:
    """Open all meters. Raises UsageError where they would have to be read more often than the user wants."""
    places = Places(topology)
    packages = open_packages(fs, topology, config, open_event, places)
    if config.sample_interval > packages.longest_seconds:
        packages.close()
        raise UsageError(
            f"KEPLER_SAMPLE_INTERVAL is {config.sample_interval:g}s, but a counter of {packages.name} may wrap unseen "
            f"after {packages.longest_seconds:.1f}s on this machine: set less"
        )
    model, unread = packages.model, [source for source in packages.sources if source.faults]
    notes = [
        f"{source.name} is there but cannot be read ({', '.join(sorted(source.faults))}): see kepler-ebpf doctor"
        for source in unread
    ]
    if packages.name == model.name:
        why = "no energy meter for the CPUs answers yet" if unread else "no energy meter for the CPUs on this machine"
        notes.append(f"{why}: their power is a model's ({model.spec.description})")
    return ChosenSources(packages, NvmlSource(fs), places, tuple(notes))


def _offers(source: PackageSource) -> set[tuple[str, int]]:
    return {(domain.component, domain.index) for domain in (*source.domains, *source.expected)}
