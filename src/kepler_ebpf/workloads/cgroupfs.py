"""The cgroup file systems: from a cgroup id to its path."""

from __future__ import annotations

import ctypes
import errno
import logging
import math
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..host.hierarchy import Hierarchy

log = logging.getLogger(__name__)

# Since Linux kernel commit 33c5ac9175195 ("kernfs: implement custom exportfs ops and fid type") (in v5.5), a handle
# of this type holds the 64-bit kernfs id, which is what bpf_get_current_cgroup_id() returns.
_FILEID_KERNFS = 0xFE
_HANDLE = struct.Struct("=IiQ")
_MAX_DIRECTORIES = 20_000
_SCAN_SECONDS = 30.0


class CgroupTree:
    """Paths of cgroups by id, relative to the hierarchy's root.

    By file handle where the process has CAP_DAC_READ_SEARCH: one system call, no walk. Otherwise, and for those that
    are gone, from the latest :meth:`scan`. Without any hierarchy (``root`` is None) nothing but the host can be told.
    """

    def __init__(self, hierarchy: Hierarchy | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.root: Path | None = hierarchy.root if hierarchy else None
        self._root_fd = -1
        self._scanned: dict[int, str] = {}
        self._scanned_at = -math.inf
        self._complete = False
        self._denied = False
        self._clock = clock
        self._lock = threading.Lock()
        self.has_handles = False
        if self.root is None:
            return
        self._root_fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open_by_handle_at = ctypes.CDLL(None, use_errno=True).open_by_handle_at
        self.has_handles = self._by_handle(self.root.stat().st_ino) == "/"

    def path(self, cgroup_id: int) -> str | None:
        """The path of a cgroup that lives, or lived at the latest scan; ``/`` for the root; None where not known."""
        if self.root is None or not 0 < cgroup_id < 1 << 64:
            return None
        found = self._by_handle(cgroup_id) if self.has_handles else None
        return found or self._scanned.get(cgroup_id)

    def forget(self, cgroup_id: int) -> None:
        """Drop what a scan found."""
        self._scanned.pop(cgroup_id, None)

    def is_oldest(self, path: str) -> bool:
        """Whether this cgroup was made before all others beside it; False where it is gone.

        By number: those of one hierarchy are given out in ascending order (idr_alloc_cyclic in fs/kernfs/dir.c).
        """
        parent, _, name = f"{self.root}{path}".rpartition("/")
        try:
            with os.scandir(parent) as entries:
                numbers = {entry.name: entry.inode() for entry in entries if entry.is_dir(follow_symlinks=False)}
        except OSError:
            return False
        return name in numbers and numbers[name] == min(numbers.values())

    def is_gone(self, cgroup_id: int) -> bool:
        """Whether there is no such cgroup any more. Without handles by a walk, a new one every half minute."""
        if not self.has_handles:
            if self._clock() - self._scanned_at > _SCAN_SECONDS:
                self.scan()
            # One that was never seen may be where we may not look.
            return self._complete and not self._denied and cgroup_id not in self._scanned
        with self._lock:
            fd = self._open(cgroup_id)
            error = ctypes.get_errno()
            if fd >= 0:
                os.close(fd)
            return fd < 0 and error == errno.ESTALE

    def scan(self) -> None:
        """Walk the hierarchy (at most 20,000 directories) for :meth:`path`.

        Cgroups made later are reported by events. Those that exist now may vanish before we see their first slice, so
        their paths are recorded. What is in a directory that we may not read is taken to be as it was.
        """
        self._scanned_at = self._clock()
        if self.root is None:
            return
        found: dict[int, str] = {}
        denied: list[str] = []
        queue = [""]
        for relative in queue:
            try:
                found[os.stat(f"{self.root}{relative}").st_ino] = relative or "/"
                with os.scandir(f"{self.root}{relative}") as entries:
                    directories = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
            except PermissionError:
                denied.append(relative)
                continue
            except OSError:
                continue  # removed while we walked
            room = _MAX_DIRECTORIES - len(queue)
            queue.extend(f"{relative}/{entry.name}" for entry in directories[: max(0, room)])
        for cgroup_id, path in self._scanned.items():
            if any(path.startswith(f"{place}/") for place in denied):
                found.setdefault(cgroup_id, path)
        self._scanned, self._denied = found, bool(denied)
        self._complete = len(queue) < _MAX_DIRECTORIES

    def close(self) -> None:
        """Release the root's descriptor; every path is None from then on."""
        with self._lock:
            self.root = None
            if self._root_fd >= 0:
                os.close(self._root_fd)
                self._root_fd = -1

    def _by_handle(self, cgroup_id: int) -> str | None:
        with self._lock:
            fd = self._open(cgroup_id)
            if fd < 0:
                return None
            try:
                # Our own descriptors are in our own /proc, wherever the host's is mounted.
                base, path = (os.readlink(f"/proc/self/fd/{n}") for n in (self._root_fd, fd))
            except OSError:
                return None
            finally:
                os.close(fd)
        if path == base:
            return "/"
        if not path.startswith(base.rstrip("/") + "/"):
            return None  # outside of what is mounted here
        return path[len(base.rstrip("/")) :].removesuffix(" (deleted)")

    def _open(self, cgroup_id: int) -> int:
        """A descriptor of the cgroup's directory, or -1 with errno set."""
        handle = ctypes.create_string_buffer(_HANDLE.pack(8, _FILEID_KERNFS, cgroup_id), _HANDLE.size)
        return int(self._open_by_handle_at(self._root_fd, handle, os.O_PATH | os.O_CLOEXEC))
