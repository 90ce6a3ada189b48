"""Cgroup ids → paths, through the cgroup file system."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from ..hostfs import HostFS
from ..kernel.accounting import cgroup2_root

_KERNFS_HANDLE = 0xFE  # FILEID_KERNFS, Linux kernel commit 33c5ac9175195 (in v5.5)
_WALK_LIMIT = 50_000

_libc = ctypes.CDLL(None, use_errno=True)


class _FileHandle(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("id", ctypes.c_uint64))


class CgroupPaths:
    """Looks ids up in the v2 hierarchy: by file handle where we may (CAP_DAC_READ_SEARCH), else by a walk."""

    def __init__(self, fs: HostFS) -> None:
        self._root = str(cgroup2_root(fs))
        self._mount = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._mount)

    def path_of(self, cgroup_id: int) -> str | None:
        """Path below the root of the hierarchy, beginning with ``/``; None where there is no such cgroup (any more)."""
        handle = _FileHandle(8, _KERNFS_HANDLE, cgroup_id)
        fd = _libc.open_by_handle_at(self._mount, ctypes.byref(handle), os.O_PATH | os.O_CLOEXEC)
        if fd >= 0:
            try:
                return self._below(os.readlink(f"/proc/self/fd/{fd}"))
            finally:
                os.close(fd)
        if ctypes.get_errno() == 116:  # ESTALE: it is gone
            return None
        return self._walk(cgroup_id)

    def _below(self, path: str) -> str | None:
        if path.endswith(" (deleted)"):
            return None
        if path == self._root:
            return "/"
        return path[len(self._root) :] if path.startswith(self._root + "/") else path

    def _walk(self, cgroup_id: int) -> str | None:
        for count, (directory, _, _) in enumerate(os.walk(self._root)):
            if count > _WALK_LIMIT:
                return None
            try:
                if os.stat(directory).st_ino == cgroup_id:
                    return self._below(directory)
            except OSError:
                continue
        return None


def working_set_bytes(fs: HostFS, path: str) -> int | None:
    """Memory of a cgroup less its inactive file pages, as the kubelet counts it; None where it cannot be read.

    v2: ``memory.current`` and ``memory.stat``; v1: ``memory.usage_in_bytes`` (cAdvisor's ``setMemoryStats``).
    """
    for directory, usage_file, inactive_field in (
        (fs.cgroup / path.lstrip("/"), "memory.current", "inactive_file"),
        (fs.cgroup / "memory" / path.lstrip("/"), "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            usage = int(_read(directory / usage_file))
            stat = dict(line.split() for line in _read(directory / "memory.stat").splitlines())
            return max(usage - int(stat[inactive_field]), 0)
        except (OSError, ValueError, KeyError):
            continue
    return None


def _read(path: Path) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 16384).decode("ascii", "replace")
    finally:
        os.close(fd)
