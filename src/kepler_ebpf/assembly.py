"""Puts a collector together from its configuration: the only place that knows every part."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np

from .collector import Collector, Names
from .config import Config
from .energy.choose import choose_sources
from .energy.idle import IdleFloor
from .energy.meter import Meter
from .energy.microarchitecture import cpu_identity
from .energy.source import Domain
from .hostfs import HostFS
from .kernel.accounting import Accounting
from .kernel.topology import read_topology
from .rollup import Groups
from .sampler import Floor, Sampler
from .workloads.resolver import Workloads, open_workloads

log = logging.getLogger(__name__)


@contextmanager
def assemble(config: Config) -> Iterator[Collector]:
    """A collector ready to start; everything it holds is released at the end. Raises KeplerError."""
    fs = config.fs
    topology = read_topology(fs)
    with ExitStack() as stack:
        accounting = Accounting(fs, topology, config.rows, config.cgroup_rows)
        stack.callback(accounting.close)
        choice = choose_sources(config, topology, accounting.busy_seconds)
        meter = Meter(choice.sources)
        stack.callback(meter.close)
        for line in choice.notes:
            log.info("%s", line)
        workloads = open_workloads(fs, config)
        stack.callback(workloads.close)
        groups = Groups(accounting, workloads.identify)
        sampler = Sampler(
            accounting,
            meter,
            groups,
            floor_of=lambda domain: _floor(config, meter.domains, domain, choice.idle_watts),
            gpu_use=lambda domain: choice.gpu_use(meter, domain),
            learn_path=workloads.learn_path,
            idle_policy=config.idle_policy,
            hyperthread_ratio=config.hyperthread_ratio,
        )
        info = {
            **cpu_identity(fs),
            "cpu_architecture": platform.machine(),
            "power_source": choice.label,
            "cycles": "pmu" if accounting.cycles else "none",
            "power_model": choice.model,
        }
        yield Collector(config, accounting, meter, sampler, groups, _names(workloads), info)
