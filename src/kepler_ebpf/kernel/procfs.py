"""What ``/proc`` tells of processes that the BPF programs have not seen."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..host import clocks, pids
from ..host.fs import HostFS, read_text
from ..host.hierarchy import Hierarchy, path_in


@dataclass(frozen=True)
class Told:
    """A process by ``/proc``. ``start_ns``: since the boot, as far as ticks tell. ``parent``: whose child it is.
    ``cgroup_id``: 0 in no hierarchy."""

    comm: bytes
    start_ns: int
    parent: int
    cgroup_id: int


class ProcessFiles:
    """Asks ``/proc``, unless that is of another PID namespace: then nothing is known of anybody."""

    def __init__(self, fs: HostFS) -> None:
        self._fs, self._proc = fs, fs.proc
        self._known = pids.are_the_kernels(fs)
        self._ahead_ns = clocks.ahead_ns(fs, clocks.BOOTTIME)  # /proc counts as our time namespace does

    def is_gone(self, tgid: int) -> bool:
        """Whether no process has this number. Who is hidden from us is not gone."""
        return self._known and not (self._proc / str(tgid)).exists() and not pids.are_hidden(self._fs)

    def look(self, tgid: int, hierarchy: Hierarchy | None) -> Told | None:
        """A process, or None where that is not known."""
        if not self._known:
            return None
        place = self._proc / str(tgid)
        try:
            fields = read_text(place / "stat").rpartition(")")[2].split()
            # proc_pid_stat(5), fields 22 and 4.
            start_ns = int(fields[19]) * (10**9 // os.sysconf("SC_CLK_TCK")) - self._ahead_ns
            parent = int(fields[1])
            path = path_in(read_text(place / "cgroup"), hierarchy) if hierarchy else None
            if hierarchy and path is None:
                return None
            # The id of a cgroup is the inode number of its directory.
            cgroup_id = os.stat(hierarchy.root / path.lstrip("/")).st_ino if hierarchy and path is not None else 0
            return Told(read_text(place / "comm").encode()[:15], start_ns, parent, cgroup_id)
        except (OSError, ValueError, IndexError):
            return None
