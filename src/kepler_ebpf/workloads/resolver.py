"""Which workload a cgroup belongs to."""

from __future__ import annotations

from cachetools import LRUCache

from ..hostfs import HostFS
from .cgroupfs import CgroupTree, working_set_bytes
from .identity import Workload
from .paths import parse

_REMEMBERED_PATHS = 20_000


class Workloads:
    """Looks up cgroups by id; what it found is remembered, also when the cgroup is gone.

    ``system_slices``: a workload for each systemd service, rather than one for all host processes.
    """

    def __init__(self, fs: HostFS, system_slices: bool = False) -> None:
        self._fs = fs
        self._system_slices = system_slices
        self._cgroups = CgroupTree(fs)
        self._paths: LRUCache[int, str] = LRUCache(_REMEMBERED_PATHS)
        self._path_of_container: LRUCache[str, str] = LRUCache(_REMEMBERED_PATHS)

    def learn_path(self, cgroup_id: int, path: str) -> None:
        """The kernel said that this cgroup was made under this path."""
        self._paths[cgroup_id] = path

    def identify(self, cgroup_id: int) -> Workload:
        """The workload of a cgroup; ``system`` for host processes and for cgroups that nobody knows any more."""
        path: str | None = self._paths.get(cgroup_id)
        if path is None:
            path = self._cgroups.path(cgroup_id)
            if path is not None:
                self._paths[cgroup_id] = path
        found = parse(path or "/")
        if found.container_id:
            assert path is not None
            self._path_of_container.setdefault(found.container_id, path)
            return Workload("container", container_id=found.container_id, pod_uid=found.pod_uid, runtime=found.runtime)
        if self._system_slices and found.unit:
            return Workload("system", container=found.unit)
        return Workload("system", container="system")

    def working_set(self, workload: Workload) -> int | None:
        """Memory of a container in bytes, None where it cannot be read."""
        path = self._path_of_container.get(workload.container_id)
        return working_set_bytes(self._fs, path) if path else None

    def close(self) -> None:
        self._cgroups.close()
