"""Who a cgroup's processes work for, and what operators call it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Callable

from ..hostfs import HostFS
from .cgroupfs import CgroupTree, working_set_bytes
from .identity import Workload
from .names import NameProvider, clip
from .naming import Naming
from .paths import CgroupIdentity, parse

SYSTEM = Workload("system", container="system")
KERNEL = Workload("kernel", container="kernel")
_MAX_CGROUPS = 65_536
_SCAN_SECONDS = 5.0


class Workloads:
    """Workloads by cgroup id. Nothing here waits for anybody: names arrive in a thread of their own.

    ``system_slices``: host processes by systemd unit instead of all in ``system``.
    """

    def __init__(
        self,
        fs: HostFS,
        providers: Sequence[NameProvider] = (),
        *,
        system_slices: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fs = fs
        self._slices = system_slices
        self._clock = clock
        self._tree = CgroupTree(fs)
        self._naming = Naming(providers, clock)
        self._hints: dict[int, str] = {}
        self._known: dict[int, Workload] = {}
        self._homes: dict[str, str] = {}
        self._next_scan = clock()
        self._naming.start()

    @property
    def faults(self) -> Counter[str]:
        """Failed requests for names, by ``provider:reason``."""
        return self._naming.faults

    def learn_path(self, cgroup_id: int, path: str) -> None:
        """Take the path a ``cgroup_mkdir`` event told: the cgroup may be gone before anybody looks."""
        _bound(self._hints)
        self._hints[cgroup_id] = path
        self._known.pop(cgroup_id, None)

    def identify(self, cgroup_id: int) -> Workload:
        """The workload of a cgroup, without the names that are still to come (:meth:`current` has those)."""
        known = self._known.get(cgroup_id)
        if known is not None:
            return known
        path = self._hints.pop(cgroup_id, None) or self._path(cgroup_id)
        if path is None:
            return SYSTEM
        workload = self._workload(parse(path))
        _bound(self._known)
        self._known[cgroup_id] = workload
        return workload

    def current(self, workload: Workload) -> Workload | None:
        """The workload with its names; None while they may still come, itself where nobody knows it."""
        if self._naming.pending(workload.container_id):
            return None
        return self.named(workload.container_id, workload)

    def settled(self, workload: Workload) -> bool:
        """Whether no better name is to be waited for."""
        return not self._naming.pending(workload.container_id)

    def named(self, container_id: str, workload: Workload) -> Workload:
        """``workload`` with the names known by now. The pod's uid stays the cgroup's: the same for a whole pod."""
        name = self._naming.name(container_id)
        if name is None:
            return workload
        return replace(
            workload,
            container=name.container or workload.container,
            pod=name.pod,
            namespace=name.namespace,
            pod_uid=workload.pod_uid or name.pod_uid,
            cpu_request=name.cpu_request,
        )

    def working_set(self, workload: Workload) -> int | None:
        """Bytes of memory in use as the kubelet counts them; None where they cannot be read."""
        home = self._homes.get(workload.container_id)
        return working_set_bytes(self._fs, home) if home else None

    def forget(self, cgroup_id: int) -> None:
        """Drop what is remembered of a cgroup whose series has gone."""
        self._hints.pop(cgroup_id, None)
        workload = self._known.pop(cgroup_id, None)
        if workload and workload.container_id:
            self._homes.pop(workload.container_id, None)
            self._naming.drop(workload.container_id)

    def close(self) -> None:
        """Stop the thread and release descriptors."""
        self._naming.close()
        self._tree.close()

    def _path(self, cgroup_id: int) -> str | None:
        path = self._tree.path(cgroup_id)
        if path is None and not self._tree.has_handles and self._clock() >= self._next_scan:
            self._next_scan = self._clock() + _SCAN_SECONDS
            self._tree.scan()
            path = self._tree.path(cgroup_id)
        return path

    def _workload(self, identity: CgroupIdentity) -> Workload:
        container_id = clip(identity.container_id)
        if not container_id:
            unit = clip(identity.unit)
            return Workload("system", container=unit) if self._slices and unit else SYSTEM
        if identity.home and not identity.helper:
            _bound(self._homes)
            self._homes[container_id] = identity.home
        if identity.virtual_machine or identity.runtime in ("lxc", "nspawn", "libvirt"):
            kind = "vm" if identity.virtual_machine else "container"
            return Workload(kind, container_id, container_id, runtime=identity.runtime)  # type: ignore[arg-type]
        self._naming.want(container_id, "" if identity.outer_id else identity.pod_uid)
        return Workload("container", container_id, pod_uid=identity.pod_uid, runtime=identity.runtime)


def _bound(table: dict[int, str] | dict[int, Workload] | dict[str, str]) -> None:
    """Make room in a table by its oldest entry."""
    if len(table) >= _MAX_CGROUPS:
        table.pop(next(iter(table)), None)  # type: ignore[call-overload]
