"""A snapshot for tests of what is made of one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kepler_ebpf.energy.source import Domain
from kepler_ebpf.snapshot.types import Containers, Health, Loop, Node, Pod, Processes, Snapshot, Zone
from kepler_ebpf.workloads.workload import Workload


@dataclass
class Published:
    """Whose latest snapshot it is."""

    snapshot: Snapshot | None


def everything() -> Snapshot:
    """Every family has a sample."""
    app = Workload("container", "c" * 12, "app", "web-0", "shop", "uid-1")
    system = Workload("system", container="system")
    return Snapshot(
        number=3,
        node=Node(
            joules=np.array([100.0, 20.0, 50.0]),
            idle_joules=np.array([40.0, 5.0, 10.0]),
            unattributed_joules=np.array([0.0, 0.5, 1.0]),
            component_watts=np.array([50.0, 10.0, 25.0]),
            has_component=(True, True, True),
            max_watts=120.5,
            utilization=0.25,
            idle_watts={"0": 20.0},
            gpu_idle_watts={"0": 5.0},
        ),
        zones=(
            *(
                Zone(Domain(component, 0, "rapl-powercap"), 10.0)
                for component in ("package", "core", "uncore", "dram", "platform")
            ),
            Zone(Domain("gpu", 0, "nvml", uuid="GPU-0", model='A "100"'), 50.0),
        ),
        containers=Containers(
            workloads=(app, system),
            joules=np.arange(10.0).reshape(5, 2),
            watts=np.array([1.5, 2.5]),
            max_watts=np.array([3.0, 4.0]),
            seconds=np.array([0.25, 1.0]),
            cycles=np.array([1e9, 2e9]),
            working_set_bytes=(1 << 20, None),
            pending_joules=0.125,
            exited_joules=7.0,
            began=(1.75e9, 1.75e9 + 0.25),
        ),
        pods=(Pod("web-0", "shop", "uid-1", 12.0, 1.5, 0.25, 1.75e9),),
        processes=Processes(
            pid=("7", "other"),
            comm=("back\\slash\n", ""),
            container_id=("c" * 12, ""),
            joules=np.array([[1.0, 2.0], [0.5, 0.0], [0.25, 0.0]]),
            watts=np.array([0.5, 0.125]),
            seconds=np.array([0.5, 0.25]),
            cycles=np.array([5e8, 1e8]),
            exited=np.array([3.0, 0.0, 0.0, 1.5, 1e9]),
            began=(1.75e9 + 0.5, 1.75e9),
        ),
        health=Health(
            loop=Loop(10, 1, 2, 0.1, 0.1, (("0.001", 9.0), ("+Inf", 10.0)), 0.005),
            rows_used={"process": 5, "cgroup": 3},
            rows_capacity={"process": 100, "cgroup": 50},
            overflow_slices={"process": 0, "cgroup": 0},
            source_errors={("nvml", "reset"): 1},
            name_errors={("kubelet", "403"): 2},
            gap_ratio={"process": 1e-16},
            gap_exceeded={"process": 0},
            program_seconds={"on_switch": 0.5},
            program_runs={"on_switch": 1000},
            loader_seconds=0.5,
            loader_peak_bytes=1 << 27,
        ),
        info={"cpu_vendor": "AMD", "cpu_model": "EPYC", "cpu_architecture": "x86_64", "power_source": "rapl-powercap"},
        counts_cycles=True,
    )
