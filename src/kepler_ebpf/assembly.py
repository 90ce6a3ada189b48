"""Puts a collector together from its configuration: the only place that knows every part."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from .attribution.idle import IdleFloor
from .attribution.sampler import Sampler
from .attribution.vms import VirtualMachines
from .attribution.workload_rows import WorkloadTable
from .collector import Collector
from .config import Config
from .energy.choose import Choice, choose_sources, gpu_use
from .energy.meter import Meter
from .host.processor import read_processor
from .host.topology import read_topology
from .kernel import privileges
from .kernel.tables import BpfTables
from .snapshot.containers import Names
from .workloads.names.choose import name_providers
from .workloads.resolver import WorkloadResolver


@contextmanager
def assemble(config: Config) -> Iterator[tuple[Collector, tuple[str, ...]]]:
    """A collector ready to start, and what a user should know of it; all it holds is released at the end.

    Raises KeplerError.
    """
    privileges.require()
    fs = config.fs
    with ExitStack() as stack:
        accounting = BpfTables(fs, read_topology(fs), config.rows, config.cgroup_rows)
        stack.callback(accounting.close)
        choice = choose_sources(fs, accounting.topology, accounting.busy_seconds, config)
        meter = Meter(choice.sources)
        stack.callback(meter.close)
        privileges.drop()  # before any thread is started: they inherit what is left
        workloads = WorkloadResolver(fs, name_providers(config), system_slices=config.system_slices == "on")
        stack.callback(workloads.close)
        groups = WorkloadTable(accounting, workloads.identify)
        machines = VirtualMachines(fs, accounting, groups)
        sampler = Sampler(
            accounting,
            meter,
            groups,
            floor_of=lambda domain: _floor(config, meter, choice, domain),
            gpu_use=lambda domain: gpu_use(choice, meter.domains[domain]),
            learn_path=workloads.learn_path,
            machines=machines,
            idle_policy=config.idle_policy,
            hyperthread_ratio=config.hyperthread_ratio,
        )
        names = Names(
            identify=workloads.identify,
            current=workloads.current,
            working_set=workloads.working_set,
            is_gone=workloads.is_gone,
            forget_cgroup=workloads.forget_cgroup,
            forget=workloads.forget,
            faults=lambda: _name_errors(workloads.faults),
        )
        collector = Collector(
            config, accounting, meter, sampler, groups, machines, names, _info(config, accounting, choice)
        )
        yield collector, choice.notes


def _floor(config: Config, meter: Meter, choice: Choice, domain: int) -> IdleFloor:
    """Set by the user, the model's own, or to be learned."""
    of = meter.domains[domain]
    if of.component == "package" and config.idle_watts is not None:
        return IdleFloor(config.idle_watts / sum(d.component == "package" for d in meter.domains))
    if of.component == "gpu" and config.gpu_idle_watts is not None:
        return IdleFloor(config.gpu_idle_watts)
    if of.source == "model" and choice.model is not None:
        return IdleFloor(choice.model.idle_watts(of.index))
    return IdleFloor()


def _name_errors(faults: Counter[str]) -> dict[tuple[str, str], int]:
    """``provider:reason`` → (provider, reason)."""
    return {(key.partition(":")[0], key.partition(":")[2]): count for key, count in faults.items()}


def _info(config: Config, accounting: BpfTables, choice: Choice) -> dict[str, str]:
    processor = read_processor(config.fs)
    info = {
        "cpu_vendor": processor.vendor,
        "cpu_model": processor.name,
        "cpu_architecture": platform.machine(),
        "power_source": choice.label,
        "cycles": "pmu" if accounting.cycles else "none",
    }
    if choice.model is not None:
        error = choice.model.spec.error_ratio
        info["power_model"] = choice.model.spec.description
        info["power_model_error_ratio"] = "unknown" if math.isnan(error) else f"{error:.2f}"
    return info
