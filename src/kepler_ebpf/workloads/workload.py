"""A workload: what operators know by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["container", "system", "kernel", "vm"]


@dataclass(frozen=True)
class Workload:
    """Labels of one workload. Empty where unknown or not applicable.

    ``container``: its name; ``system`` for host processes, ``kernel`` for kernel threads, ``POD`` for a pod's sandbox.
    ``cpu_request``: CPUs it asked Kubernetes for, 0 where it asked for none or nobody knows.
    """

    kind: Kind
    container_id: str = ""
    container: str = ""
    pod: str = ""
    namespace: str = ""
    pod_uid: str = ""
    runtime: str = ""
    cpu_request: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same workload, whatever its names become known to be."""
        return self.kind, self.container_id or self.container


SYSTEM = Workload("system", container="system")
KERNEL = Workload("kernel", container="kernel")
OVERFLOW = Workload("system", container="overflow")
"""Of slices that found no free row in the kernel's table."""
