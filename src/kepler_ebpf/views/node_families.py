"""Families of the node, its domains, and the machine."""

from __future__ import annotations

from collections.abc import Callable

from ..columns import NODE, SHOWN, Floats
from ..snapshot.types import Node, Snapshot
from .family import Family, Samples, alone, in_pairs, keyed, where

POWER_NAMES = ("cpu", "dram", "gpu")
"""What families of power call the components of ``columns.NODE``, in this order."""


def _power(component: int) -> Callable[[Snapshot], Samples]:
    return where(lambda s: s.node.has_component[component], alone(lambda s: float(s.node.component_watts[component])))


def _books(column: Callable[[Node], Floats]) -> Callable[[Snapshot], Samples]:
    def samples(snapshot: Snapshot) -> Samples:
        node = snapshot.node
        values = zip(NODE, column(node).tolist(), node.has_component)
        return in_pairs(((component,), value) for component, value, there in values if there)

    return samples


def _zones(component: str) -> Callable[[Snapshot], Samples]:
    def samples(snapshot: Snapshot) -> Samples:
        return in_pairs(
            ((zone.domain.label, zone.domain.source), zone.joules)
            for zone in snapshot.zones
            if zone.domain.component == component
        )

    return samples


def _gpus(snapshot: Snapshot) -> Samples:
    return in_pairs(
        ((str(zone.domain.index), zone.domain.uuid, zone.domain.model, zone.domain.source), zone.joules)
        for zone in snapshot.zones
        if zone.domain.component == "gpu"
    )


INFO_LABELS = (
    *("cpu_vendor", "cpu_model", "cpu_architecture", "power_source", "cycles"),
    *("power_model", "power_model_error_ratio"),
)


def _info(snapshot: Snapshot) -> Samples:
    return Samples((tuple(snapshot.info.get(name, "") for name in INFO_LABELS),), (1.0,))


FAMILIES = (
    Family(
        "kepler_node_power_watts",
        "gauge",
        "node",
        (),
        "Power of the node (packages, DRAM and GPUs), mean over the publication interval.",
        alone(lambda s: float(s.node.component_watts.sum())),
    ),
    Family(
        "kepler_node_power_max_watts",
        "gauge",
        "node",
        (),
        "Highest power of any one sample in the publication interval.",
        alone(lambda s: s.node.max_watts),
    ),
    Family(
        "kepler_node_energy_joules",
        "counter",
        "node",
        (),
        "Energy of the node since the collector started, or longer (--state-directory): packages, DRAM and GPUs.",
        alone(lambda s: float(s.node.joules.sum())),
    ),
    *(
        Family(
            f"kepler_node_{name}_power_watts",
            "gauge",
            "node",
            (),
            f"Power of the {text}, mean over the publication interval.",
            _power(component),
            "where metered",
        )
        for component, (name, text) in enumerate(zip(POWER_NAMES, ("packages", "DRAM", "GPUs")))
    ),
    Family(
        "kepler_node_cpu_utilization",
        "gauge",
        "node",
        (),
        "Part of the CPU time that was not idle, 0 to 1, over the publication interval.",
        alone(lambda s: s.node.utilization),
    ),
    Family(
        "kepler_node_idle_joules",
        "counter",
        "node",
        ("component",),
        "Energy that the node would have used idle, not charged to any workload.",
        _books(lambda node: node.idle_joules),
    ),
    Family(
        "kepler_node_unattributed_joules",
        "counter",
        "node",
        ("component",),
        "Energy beyond idle that no workload can be charged with.",
        _books(lambda node: node.unattributed_joules),
    ),
    Family(
        "kepler_node_idle_power_watts",
        "gauge",
        "node",
        ("package",),
        "Idle floor of the package: learned, set, or the power model's.",
        keyed(lambda s: s.node.idle_watts),
    ),
    Family(
        "kepler_node_gpu_idle_power_watts",
        "gauge",
        "node",
        ("gpu",),
        "Idle floor of the GPU: learned, or set.",
        keyed(lambda s: s.node.gpu_idle_watts),
    ),
    Family(
        "kepler_node_info",
        "gauge",
        "node",
        INFO_LABELS,
        "The machine and what its energy figures come from.",
        _info,
        "the last two are empty where a meter is read",
    ),
    *(
        Family(
            f"kepler_node_{component}_joules",
            "counter",
            "node",
            ("package", "source"),
            f"Energy of each {component} zone. Zones overlap (core and uncore are in package): never add them up.",
            _zones(component),
            "where metered",
        )
        for component in SHOWN
        if component != "gpu"
    ),
    Family(
        "kepler_node_gpu_joules",
        "counter",
        "node",
        ("gpu", "gpu_uuid", "gpu_name", "source"),
        "Energy of each GPU.",
        _gpus,
        "where metered",
    ),
)
