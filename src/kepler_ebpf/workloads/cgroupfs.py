"""The cgroup file systems: from a cgroup id to its path."""

from __future__ import annotations

import ctypes
import errno
import math
import os
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ..host.hierarchy import Hierarchy

# Since Linux kernel commit 33c5ac9175195 ("kernfs: implement custom exportfs ops and fid type") (in v5.5), a handle
# of this type holds the 64-bit kernfs id, which is what bpf_get_current_cgroup_id() returns.
_FILEID_KERNFS = 0xFE
_HANDLE = struct.Struct("=IiQ")
_MAX_DIRECTORIES = 20_000
_SCAN_SECONDS = 30.0
_SEEK_SECONDS, _SEEK_FACTOR = 0.05, 20.0
"""A walk for an id that none has found yet: not before so long, and so many times its own length, since the latest."""
_MAX_VANISHED = 4 * _MAX_DIRECTORIES
_DEEPEST = 1 << 16
"""Levels below which a cgroup is not followed up to the root: each step of the bisection costs time by its depth."""


class CgroupTree:
    """Paths of cgroups by id, relative to the hierarchy's root.

    By file handle where the process has CAP_DAC_READ_SEARCH: one system call, no walk. Otherwise by a walk; those that
    are gone from the latest :meth:`scan`. Without any hierarchy (``root`` is None) nothing but the host can be told.
    """

    def __init__(self, hierarchy: Hierarchy | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.root: Path | None = hierarchy.root if hierarchy else None
        self._root_fd = -1
        self._scanned: dict[int, str] = {}
        self._scanned_at, self._scan_took, self._swept_at = -math.inf, 0.0, -math.inf
        self._missed: set[int] = set()  # ids that were sought by a walk, and not found
        self._complete = False
        self._vanished: set[int] = set()
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
        """The path of a cgroup that lives, or lived at the latest scan; ``/`` for the root; None where not known.

        One that is longer than PATH_MAX is cut at its end, so that what stands first still tells whose it is.
        """
        if self.root is None or not 0 < cgroup_id < 1 << 64:
            return None
        if self.has_handles:
            return self._by_handle(cgroup_id) or self._scanned.get(cgroup_id)
        if cgroup_id not in self._scanned:
            self._seek(cgroup_id)
        return self._scanned.get(cgroup_id)

    def known(self) -> Mapping[int, str]:
        """Every path that the latest scan found, by id."""
        return self._scanned

    def forget(self, cgroup_id: int) -> None:
        """Drop what a scan found."""
        self._scanned.pop(cgroup_id, None)
        self._vanished.discard(cgroup_id)
        self._missed.discard(cgroup_id)

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
        """Whether there is no such cgroup any more. Without handles by a walk, a new one every half minute.

        What may not be read is not gone: any user may close his own cgroup to others.
        """
        if not self.has_handles:
            # By a walk of its own: what came since the latest one would be taken for gone.
            if self._clock() - self._swept_at > _SCAN_SECONDS:
                self._swept_at = self._clock()
                self.scan()
            if not self._complete or cgroup_id in self._scanned:
                return False
            # One that no walk ever found may be where we may not look.
            return cgroup_id in self._vanished or not self._denied
        with self._lock:
            fd = self._open(cgroup_id)
            error = ctypes.get_errno()
            if fd >= 0:
                os.close(fd)
            return fd < 0 and error == errno.ESTALE

    def _seek(self, cgroup_id: int) -> None:
        """Walk for one whose path no event has told: under lockdown that is any that came after the start.

        Once for each: a cgroup is there before anybody runs in it, so that one which is not found is gone, or hidden.
        """
        since = self._clock() - self._scanned_at
        if cgroup_id in self._missed or since < max(_SEEK_SECONDS, _SEEK_FACTOR * self._scan_took):
            return
        self.scan()
        if cgroup_id not in self._scanned:
            if len(self._missed) >= _MAX_VANISHED:
                self._missed.clear()
            self._missed.add(cgroup_id)

    def scan(self) -> None:
        """Walk the hierarchy (at most 20,000 directories) for :meth:`path`.

        Cgroups made later are reported by events. Those that exist now may vanish before we see their first slice, so
        their paths are recorded. What is in a directory that we may not read is taken to be as it was.
        """
        self._scanned_at = self._clock()
        if self.root is None:
            return
        found: dict[int, str] = {}
        denied: set[str] = set()
        unseen = False
        queue = [""]
        for relative in queue:
            try:
                found[os.stat(f"{self.root}{relative}").st_ino] = relative or "/"
                with os.scandir(f"{self.root}{relative}") as entries:
                    directories = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EPERM):
                    denied.add(relative)
                # Longer than PATH_MAX; else removed while we walked.
                unseen = unseen or error.errno == errno.ENAMETOOLONG
                continue
            found.update((entry.inode(), f"{relative}/{entry.name}") for entry in directories)
            room = _MAX_DIRECTORIES - len(queue)
            queue.extend(f"{relative}/{entry.name}" for entry in directories[: max(0, room)])
        vanished = {cgroup_id: path for cgroup_id, path in self._scanned.items() if cgroup_id not in found}
        if denied:
            hidden = {cgroup_id: path for cgroup_id, path in vanished.items() if _is_below(path, denied)}
            found.update(hidden)
            vanished = {cgroup_id: path for cgroup_id, path in vanished.items() if cgroup_id not in hidden}
        self._scanned, self._denied = found, bool(denied) or unseen
        self._vanished = {*vanished, *self._vanished} - found.keys() if self._denied else set()
        if len(self._vanished) > _MAX_VANISHED:
            self._vanished = set(vanished)
        self._complete = len(queue) < _MAX_DIRECTORIES
        self._scan_took = self._clock() - self._scanned_at

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
                base = _path_of(self._root_fd)
                path = _path_of(fd)
                if path is None:
                    path = _front_of(fd)
            except OSError:
                return None
            finally:
                os.close(fd)
        if path is None or base is None:
            return None
        if path == base:
            return "/"
        if not path.startswith(base.rstrip("/") + "/"):
            return None  # outside of what is mounted here
        return path[len(base.rstrip("/")) :].removesuffix(" (deleted)")

    def _open(self, cgroup_id: int) -> int:
        """A descriptor of the cgroup's directory, or -1 with errno set."""
        handle = ctypes.create_string_buffer(_HANDLE.pack(8, _FILEID_KERNFS, cgroup_id), _HANDLE.size)
        return int(self._open_by_handle_at(self._root_fd, handle, os.O_PATH | os.O_CLOEXEC))


def _is_below(path: str, places: set[str]) -> bool:
    """Whether one of these paths is above this one."""
    while path:
        path = path.rpartition("/")[0]
        if path in places:
            return True
    return False


def _path_of(fd: int) -> str | None:
    """The path of a directory, None where it is longer than PATH_MAX. Raises OSError.

    Our own descriptors are in our own /proc, wherever the host's is mounted.
    """
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise


def _front_of(fd: int) -> str | None:
    """The path of the lowest directory above this one that is not longer than PATH_MAX. Raises OSError.

    A container can nest cgroups until nothing tells their path any more; its upper part still tells whose they are. By
    bisection: a path is the shorter, the more levels one goes up.
    """
    short, front = 1, None
    while short <= _DEEPEST and front is None:
        short *= 2
        front = _above(fd, short)
    low = short // 2
    while front is not None and short - low > 1:
        middle = (low + short) // 2
        path = _above(fd, middle)
        low, short, front = (middle, short, front) if path is None else (low, middle, path)
    return front


def _above(fd: int, levels: int) -> str | None:
    """The path of the directory so many levels up, None where it is longer than PATH_MAX. Raises OSError."""
    at = os.dup(fd)
    try:
        while levels:
            step = min(levels, 1000)
            above = os.open("/".join([".."] * step), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at, levels = above, levels - step
        return _path_of(at)
    finally:
        os.close(at)
