"""What ``/proc`` tells of processes whom the programs have not met."""

from __future__ import annotations

import os

from ..host.fs import HostFS, read_text
from ..host.hierarchy import Hierarchy, path_in


def is_gone(fs: HostFS, tgid: int) -> bool:
    """Whether no process has this number."""
    return not (fs.proc / str(tgid)).exists()


def start_of(fs: HostFS, tgid: int) -> tuple[int, int]:
    """When a process started, in ns since the boot as far as ticks tell, and whose child it is (proc_pid_stat(5)).

    Raises OSError, ValueError and IndexError.
    """
    fields = read_text(fs.proc / str(tgid) / "stat").rpartition(")")[2].split()
    return int(fields[19]) * (10**9 // os.sysconf("SC_CLK_TCK")), int(fields[1])


def cgroup_id_of(fs: HostFS, hierarchy: Hierarchy, tgid: int) -> int:
    """The id of a process's cgroup: the inode number of its directory. Raises OSError, and ValueError outside of it."""
    path = path_in(read_text(fs.proc / str(tgid) / "cgroup"), hierarchy)
    if path is None:
        raise ValueError(f"process {tgid} is in no cgroup below {hierarchy.root}")
    return os.stat(hierarchy.root / path.lstrip("/")).st_ino
