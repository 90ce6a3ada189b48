"""What is published: one immutable picture of the node, from which every view is made.

Columns are parallel tuples or read-only arrays; a view never computes more than its own text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from ..columns import Floats
from ..energy.source import Domain
from ..workloads.workload import Workload


@dataclass(frozen=True)
class Node:
    """``joules``, ``idle_joules``, ``unattributed_joules``: cumulative by component of ``columns.NODE``, float64[3].

    ``component_watts``: means over the interval, float64[3]. ``has_component``: which of the three are metered at all.
    ``max_watts``: highest sample. ``utilization``: 0…1. ``idle_watts``, ``gpu_idle_watts``: idle floor by
    physical package, and by GPU.
    """

    joules: Floats
    idle_joules: Floats
    unattributed_joules: Floats
    component_watts: Floats
    has_component: tuple[bool, bool, bool]
    max_watts: float
    utilization: float
    idle_watts: dict[str, float]
    gpu_idle_watts: dict[str, float]


@dataclass(frozen=True)
class Zone:
    """One metered domain and its cumulative joules."""

    domain: Domain
    joules: float


@dataclass(frozen=True)
class Containers:
    """Columns over workloads. ``joules``: float64[5, n] in the order of ``columns.WORKLOAD``.

    ``pending_joules``: of workloads whose series wait for a name. ``exited_joules``: of those whose series have gone.
    ``began``: when the counters of each were 0, seconds since the epoch.
    """

    workloads: tuple[Workload, ...]
    joules: Floats
    watts: Floats
    max_watts: Floats
    seconds: Floats
    cycles: Floats
    working_set_bytes: tuple[int | None, ...]
    pending_joules: float
    exited_joules: float
    began: tuple[float, ...]

    @cached_property
    def names(self) -> list[tuple[str, ...]]:
        """Id, container, pod and namespace of each."""
        return [(w.container_id, w.container, w.pod, w.namespace) for w in self.workloads]


@dataclass(frozen=True)
class Pod:
    """Sums over a pod's containers, its sandbox and those that were before included. ``began``: as of containers."""

    pod: str
    namespace: str
    pod_uid: str
    joules: float
    watts: float
    seconds: float
    began: float


@dataclass(frozen=True)
class Processes:
    """Columns over the series of the process level; the last is ``pid="other"``: all that have none of their own.

    ``joules``: float64[3, n] in the order of ``columns.NODE``. ``exited``: float64[5], what series that have ended had
    come to: joules by component, CPU seconds, cycles. ``began``: as of containers.
    """

    pid: tuple[str, ...]
    comm: tuple[str, ...]
    container_id: tuple[str, ...]
    joules: Floats
    watts: Floats
    seconds: Floats
    cycles: Floats
    exited: Floats
    began: tuple[float, ...]

    @cached_property
    def names(self) -> list[tuple[str, ...]]:
        """Process id, name and container id of each."""
        return list(zip(self.pid, self.comm, self.container_id))


@dataclass(frozen=True)
class Loop:
    """How the loop that samples is doing.

    ``samples``: taken. ``late_samples``: left out, as the one before took too long. ``failed_samples``: by a fault of
    ours. ``interval_seconds``: the effective one. ``duration_buckets``: upper bound and cumulative count.
    """

    samples: int = 0
    late_samples: int = 0
    failed_samples: int = 0
    interval_seconds: float = 0.0
    configured_interval_seconds: float = 0.0
    duration_buckets: tuple[tuple[str, float], ...] = ()
    duration_sum_seconds: float = 0.0


@dataclass(frozen=True)
class Health:
    """What the collector says of itself.

    By table: ``rows_used``, ``rows_capacity``, ``overflow_slices``. ``source_errors``: by source and reason.
    ``name_errors``: by provider and reason. By level: ``gap_ratio``, ``gap_exceeded``. By BPF program, while the kernel
    counts them: ``program_seconds``, ``program_runs``.
    """

    loop: Loop = Loop()
    rows_used: dict[str, int] = field(default_factory=dict)
    rows_capacity: dict[str, int] = field(default_factory=dict)
    overflow_slices: dict[str, int] = field(default_factory=dict)
    source_errors: dict[tuple[str, str], int] = field(default_factory=dict)
    name_errors: dict[tuple[str, str], int] = field(default_factory=dict)
    gap_ratio: dict[str, float] = field(default_factory=dict)
    gap_exceeded: dict[str, int] = field(default_factory=dict)
    program_seconds: dict[str, float] = field(default_factory=dict)
    program_runs: dict[str, int] = field(default_factory=dict)
    loader_seconds: float = 0.0
    loader_peak_bytes: int = 0


@dataclass(frozen=True)
class Snapshot:
    """``number`` counts publications from 1. ``info``: labels of ``kepler_node_info``."""

    number: int
    node: Node
    zones: tuple[Zone, ...]
    containers: Containers
    pods: tuple[Pod, ...]
    processes: Processes | None
    health: Health
    info: dict[str, str]
    counts_cycles: bool
