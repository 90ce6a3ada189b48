"""What the rest of the collector knows of workloads and their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from .workload import Workload


class Workloads(Protocol):
    """Who is who, by cgroup id. No method waits for anybody: names arrive in a thread of their own."""

    @property
    def faults(self) -> Mapping[tuple[str, str], int]:
        """Requests for names that failed, by provider and reason."""

    def learn_path(self, cgroup_id: int, path: str) -> None:
        """Take the path of a cgroup that was made; empty where the event had none."""

    def identify(self, cgroup_id: int) -> Workload | None:
        """The workload of a cgroup, without the names that are still to come; None where it is not known yet."""

    def meanwhile(self, cgroup_id: int) -> Workload:
        """Who pays for a cgroup that is not known yet."""

    def current(self, workload: Workload) -> Workload | None:
        """The workload with its names; None while they may still come, itself where nobody knows it."""

    def maker(self, cgroup_id: int) -> str:
        """Who made a cgroup, as far as that matters for how many one may have: a user, a container, a part of the
        tree."""

    def working_set(self, workload: Workload) -> int | None:
        """Bytes of memory in use as the kubelet counts them; None where they cannot be read."""

    def is_gone(self, cgroup_id: int) -> bool:
        """Whether a cgroup is known to be there no more."""

    def forget_cgroup(self, cgroup_id: int) -> None:
        """Drop what is remembered of a cgroup that is gone."""

    def forget(self, workload: Workload) -> None:
        """Drop what is remembered of a workload whose series has gone."""
