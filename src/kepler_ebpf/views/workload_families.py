"""Families of containers, pods and processes."""

from __future__ import annotations

from collections.abc import Callable

from ..columns import DRAM, GPU, NODE, PACKAGE, SHOWN, WORKLOAD, Component, Floats
from ..snapshot.types import Containers, Pod, Processes, Snapshot
from .family import NONE, Family, Kind, Samples, alone, in_pairs, where

CONTAINER_LABELS = ("container_id", "container", "pod", "namespace")
POD_LABELS = ("pod", "namespace", "pod_uid")
PROCESS_LABELS = ("pid", "comm", "container_id")


def _is_metered(component: Component) -> Callable[[Snapshot], bool]:
    return lambda snapshot: any(zone.domain.component == component for zone in snapshot.zones)


def _counts_cycles(snapshot: Snapshot) -> bool:
    return snapshot.counts_cycles


def _whole(joules: Floats) -> list[float]:
    """Package, DRAM and GPU: of the families that tell when a series began."""
    whole: list[float] = joules[: len(NODE)].sum(axis=0).tolist()
    return whole


# -- containers and pods ----------------------------------------------------------------------------------------------


def _containers(column: Callable[[Containers], Floats]) -> Callable[[Snapshot], Samples]:
    return lambda snapshot: Samples(snapshot.containers.names, column(snapshot.containers).tolist())


def _container_part(component: Component) -> Callable[[Snapshot], Samples]:
    position = WORKLOAD.index(component)
    return where(_is_metered(component), _containers(lambda containers: containers.joules[position]))


def _working_sets(snapshot: Snapshot) -> Samples:
    sizes = zip(snapshot.containers.names, snapshot.containers.working_set_bytes)
    return in_pairs((labels, size) for labels, size in sizes if size is not None)


def _shared(component: Component) -> str:
    """How a GPU's energy is shared differs from what people expect, so the help text says it."""
    if component != "gpu":
        return ""
    return ": by utilisation, or by multiprocessors of the MIG instances that have processes where none is told"


def _container(name: str, kind: Kind, text: str, samples: Callable[[Snapshot], Samples], more: str = "") -> Family:
    return Family(f"kepler_container_{name}", kind, "container", CONTAINER_LABELS, text, samples, more)


CONTAINERS = (
    _container(
        "joules",
        "counter",
        "Energy of the container: package, DRAM and GPU.",
        lambda snapshot: Samples(
            snapshot.containers.names, _whole(snapshot.containers.joules), snapshot.containers.began
        ),
    ),
    *(
        _container(
            f"{component}_joules",
            "counter",
            f"Energy of the container, {component} part{_shared(component)}.",
            _container_part(component),
            "where metered",
        )
        for component in SHOWN
        if component in WORKLOAD
    ),
    _container(
        "power_watts",
        "gauge",
        "Power of the container, mean over the interval.",
        _containers(lambda containers: containers.watts),
    ),
    _container(
        "power_max_watts",
        "gauge",
        "Highest power of the container in any one sample of the interval.",
        _containers(lambda containers: containers.max_watts),
    ),
    _container(
        "cpu_time_seconds",
        "counter",
        "CPU time of the container.",
        _containers(lambda containers: containers.seconds),
    ),
    _container(
        "cpu_cycles",
        "counter",
        "CPU cycles of the container.",
        where(_counts_cycles, _containers(lambda containers: containers.cycles)),
        "absent without a PMU",
    ),
    _container(
        "memory_working_set_bytes",
        "gauge",
        "Memory of the container less its inactive file pages, as the kubelet counts it.",
        _working_sets,
    ),
    Family(
        "kepler_containers_pending_joules",
        "gauge",
        "container",
        (),
        "Energy of new containers whose series wait some seconds for a name: it will be in them.",
        alone(lambda s: s.containers.pending_joules),
    ),
    Family(
        "kepler_containers_exited_joules",
        "counter",
        "container",
        (),
        "Energy of containers whose series have gone: with it the container level sums to the node.",
        alone(lambda s: s.containers.exited_joules),
    ),
)


def _pods(value: Callable[[Pod], float]) -> Callable[[Snapshot], Samples]:
    return lambda snapshot: in_pairs(((p.pod, p.namespace, p.pod_uid), value(p)) for p in snapshot.pods)


def _pod_joules(snapshot: Snapshot) -> Samples:
    return _pods(lambda p: p.joules)(snapshot)._replace(began=[p.began for p in snapshot.pods])


def _pod(name: str, kind: Kind, text: str, samples: Callable[[Snapshot], Samples]) -> Family:
    return Family(f"kepler_pod_{name}", kind, "pod", POD_LABELS, text, samples)


PODS = (
    _pod("joules", "counter", "Energy of the pod: all its containers, the sandbox included.", _pod_joules),
    _pod("power_watts", "gauge", "Power of the pod, mean over the publication interval.", _pods(lambda p: p.watts)),
    _pod("cpu_time_seconds", "counter", "CPU time of the pod.", _pods(lambda p: p.seconds)),
)

# -- processes --------------------------------------------------------------------------------------------------------


def _processes(column: Callable[[Processes], Floats]) -> Callable[[Snapshot], Samples]:
    def samples(snapshot: Snapshot) -> Samples:
        processes = snapshot.processes
        if processes is None:
            return NONE
        return Samples(processes.names, column(processes).tolist())

    return samples


def _process_joules(snapshot: Snapshot) -> Samples:
    processes = snapshot.processes
    return NONE if processes is None else Samples(processes.names, _whole(processes.joules), processes.began)


def _process_part(component: int) -> Callable[[Snapshot], Samples]:
    return where(_is_metered(NODE[component]), _processes(lambda processes: processes.joules[component]))


def _ended(value: Callable[[Floats], float]) -> Callable[[Snapshot], Samples]:
    return lambda snapshot: NONE if snapshot.processes is None else Samples(((),), (value(snapshot.processes.exited),))


def _process(name: str, kind: Kind, text: str, samples: Callable[[Snapshot], Samples], more: str = "") -> Family:
    return Family(f"kepler_process_{name}", kind, "process", PROCESS_LABELS, text, samples, more)


PROCESSES = (
    _process(
        "power_watts",
        "gauge",
        "Power of the process, mean over the interval.",
        _processes(lambda processes: processes.watts),
    ),
    _process(
        "joules",
        "counter",
        "Energy of the process: package, DRAM and GPU.",
        _process_joules,
    ),
    *(
        _process(
            f"{NODE[component]}_joules",
            "counter",
            f"Energy of the process, {NODE[component]} part{_shared(NODE[component])}.",
            _process_part(component),
            "where metered",
        )
        for component in (PACKAGE, DRAM, GPU)
    ),
    _process(
        "cpu_time_seconds", "counter", "CPU time of the process.", _processes(lambda processes: processes.seconds)
    ),
    _process(
        "cpu_cycles",
        "counter",
        "CPU cycles of the process.",
        where(_counts_cycles, _processes(lambda processes: processes.cycles)),
        "absent without a PMU",
    ),
    Family(
        "kepler_processes_exited_joules",
        "counter",
        "process",
        (),
        "Energy of process series that have ended: with it the process level sums to the node.",
        _ended(lambda exited: float(exited[: len(NODE)].sum())),
    ),
    Family(
        "kepler_processes_exited_cpu_time_seconds",
        "counter",
        "process",
        (),
        "CPU time of process series that have ended.",
        _ended(lambda exited: float(exited[-2])),
    ),
)
