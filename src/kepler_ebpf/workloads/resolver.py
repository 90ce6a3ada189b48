"""Who a cgroup's processes work for, and what operators call it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Callable

from ..host.fs import HostFS
from ..host.hierarchy import Hierarchy
from .cgroupfs import CgroupTree
from .memory import WorkingSets
from .names.lookup import NameLookup
from .names.provider import NameProvider, clip
from .paths import CgroupPath, host_unit, outermost, parse
from .workload import SYSTEM, Kind, Workload

_MAX_CGROUPS = 65_536


class WorkloadResolver:
    """Workloads by cgroup id. Nothing here waits for anybody: names arrive in a thread of their own.

    ``system_slices``: host processes by systemd unit instead of all in ``system``.
    """

    def __init__(
        self,
        fs: HostFS,
        hierarchy: Hierarchy | None,
        providers: Sequence[NameProvider] = (),
        *,
        system_slices: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fs = fs
        self._slices = system_slices
        self._tree = CgroupTree(hierarchy)
        self._naming = NameLookup(providers, clock)
        self._hints: dict[int, str] = {}
        self._known: dict[int, Workload] = {}
        self._homes: dict[str, str] = {}  # by container id: the cgroup that has it
        self._memory = WorkingSets(fs, hierarchy)
        self._tree.scan()
        self._naming.start()
        self._memory.start()

    @property
    def faults(self) -> Mapping[tuple[str, str], int]:
        """Failed requests for names, by provider and reason."""
        return self._naming.faults

    def learn_path(self, cgroup_id: int, path: str) -> None:
        """Take the path a ``cgroup_mkdir`` event told: it may be gone before anybody looks."""
        self._known.pop(cgroup_id, None)
        path = path or self._tree.path(cgroup_id) or ""
        if path:
            _bound(self._hints)
            self._hints[cgroup_id] = path

    def identify(self, cgroup_id: int) -> Workload | None:
        """The workload of a cgroup, without the names that are still to come (:meth:`current` has those).

        None where it is not known yet whose it is.
        """
        known = self._known.get(cgroup_id)
        if known is not None:
            return known
        if self._tree.root is None or not cgroup_id:
            return SYSTEM
        path = self._hints.get(cgroup_id) or self._tree.path(cgroup_id)
        if path is None:
            return None
        workload = self._workload(path, cgroup_id)
        if workload is not None:
            self._hints.pop(cgroup_id, None)
            _bound(self._known)
            self._known[cgroup_id] = workload
        return workload

    def is_gone(self, cgroup_id: int) -> bool:
        """Whether a cgroup is known to be there no more, whatever the events said."""
        return self._tree.is_gone(cgroup_id)

    def current(self, workload: Workload) -> Workload | None:
        """The workload with its names; None while they may still come, itself where nobody knows it."""
        container_id = workload.container_id
        if not container_id or workload.container:  # the host's, or its names are known
            return workload
        self._naming.want(container_id)  # whoever did not know it a while ago may know it now
        return None if self._naming.pending(container_id) else self.named(workload)

    def named(self, workload: Workload) -> Workload:
        """``workload`` with the names known by now. The pod's uid stays the cgroup's: the same for a whole pod."""
        name, pod = self._naming.name(workload.container_id), self._naming.pod(workload.pod_uid)
        if name is None:
            return replace(workload, pod=pod[0], namespace=pod[1]) if pod else workload
        # Anybody may give a container of docker the kubelet's labels; the kubelet's own are told by their cgroup.
        posing = bool(name.namespace) and not workload.pod_uid
        return replace(
            workload,
            container=name.container or workload.container,
            pod="" if posing else name.pod,
            namespace="" if posing else name.namespace,
            pod_uid="" if posing else workload.pod_uid or name.pod_uid,
            cpu_request=name.cpu_request,
        )

    def working_set(self, workload: Workload) -> int | None:
        """Bytes of memory in use as the kubelet counts them; None where they cannot be read."""
        return self._memory.bytes(workload.container_id)

    def forget_cgroup(self, cgroup_id: int) -> None:
        """Drop what is remembered of a cgroup that is gone."""
        self._hints.pop(cgroup_id, None)
        self._known.pop(cgroup_id, None)
        self._tree.forget(cgroup_id)

    def forget(self, workload: Workload) -> None:
        """Drop what is remembered of a container whose series has gone."""
        self._homes.pop(workload.container_id, None)
        self._memory.forget(workload.container_id)
        self._naming.forget(workload.container_id)

    def close(self) -> None:
        """Stop the thread and release descriptors."""
        self._naming.close()
        self._memory.close()
        self._tree.close()

    def _workload(self, path: str, cgroup_id: int) -> Workload | None:
        identity = self._vouched(path)
        if identity is None:
            return None
        container_id = clip(identity.container_id)
        if not container_id:
            unit = clip(identity.unit)
            return Workload("system", container=unit) if self._slices and unit else SYSTEM
        if identity.home and not identity.helper:
            owner = self._homes.setdefault(container_id, identity.home)
            if owner != identity.home:  # another cgroup goes by this id: it is not taken for the same container
                return Workload("container", clip(f"{container_id}@{cgroup_id}"), runtime=identity.runtime)
            self._memory.follow(container_id, identity.home)
        if identity.name:
            kind: Kind = "vm" if identity.virtual_machine else "container"
            return Workload(kind, container_id, clip(identity.name), runtime=identity.runtime)
        directly_in = "" if identity.outer_id or identity.helper else identity.pod_uid
        self._naming.want(container_id, directly_in, bool(directly_in) and self._tree.is_oldest(identity.home))
        return Workload("container", container_id, pod_uid=identity.pod_uid, runtime=identity.runtime)

    def _vouched(self, path: str) -> CgroupPath | None:
        """The identity behind a path, as far as it can be believed; None while somebody may still vouch for it.

        Whoever may make cgroups (a user with a delegated one, a container) can call them after any pod. So a pod's
        container inside another container (kind's), or below a user, counts only if the kubelet or a runtime knows its
        id. Otherwise the container around it is meant, or the user.
        """
        identity = parse(path)
        around = outermost(path)
        nested = around.container_id != identity.container_id
        if not identity.container_id or identity.name or not (nested or (identity.delegated and identity.pod_uid)):
            return identity
        container_id = clip(identity.container_id)
        if self._naming.name(container_id) is not None:
            return identity
        self._naming.want(container_id)
        if self._naming.pending(container_id):
            return None
        return around if nested else host_unit(identity)


def _bound(table: dict[int, str] | dict[int, Workload]) -> None:
    """Make room in a table by its oldest entry."""
    if len(table) >= _MAX_CGROUPS:
        table.pop(next(iter(table)), None)
