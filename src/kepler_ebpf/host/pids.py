"""Whether numbers of processes in ``/proc`` are those that the kernel's rows have."""

from __future__ import annotations

import os

from .fs import HostFS, read_text

_PF_KTHREAD = 0x00200000  # include/linux/sched.h
_INITIAL = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h
OTHERWISE = (
    "the label pid has the kernel's numbers, which mean nothing there, and virtual machines are not told apart: start "
    "it in the host's PID namespace (hostPID: true, --pid=host), or point --procfs at the host's /proc"
)
"""What follows where they are not, and what to do."""
HIDDEN = (
    "hides processes (hidepid=, ProtectProc=): virtual machines are not told apart, and what uses a GPU alone has no "
    "row: mount it with hidepid=0 (ProtectProc=default)"
)
"""What follows where /proc hides them."""


def are_the_kernels(fs: HostFS) -> bool:
    """Rows have the numbers of the initial PID namespace; a /proc has those of the one that it was mounted in.

    Process 2 of the initial one is kthreadd, and no other has kernel threads. Where it cannot be looked at (hidepid, a
    folder that stands in for /proc) there is no reason for doubt.
    """
    try:
        flags = int(read_text(fs.proc / "2/stat").rpartition(")")[2].split()[6])  # proc_pid_stat(5), field 9
        return bool(flags & _PF_KTHREAD)
    except (FileNotFoundError, ProcessLookupError):
        return not (_is_there(fs, "1") and _our_namespace(fs) not in (None, _INITIAL))
    except (OSError, ValueError, IndexError):
        return True


def are_hidden(fs: HostFS) -> bool:
    """Whether /proc hides processes of others from us (``hidepid=``, systemd's ``ProtectProc=``; proc(5)).

    Process 1 has all capabilities: whoever may not look at all sees no process 1.
    """
    return not _is_there(fs, "1")


def _is_there(fs: HostFS, process: str) -> bool:
    try:
        return (fs.proc / process).exists()
    except OSError:
        return False


def _our_namespace(fs: HostFS) -> int | None:
    try:
        return os.stat(fs.proc / "self/ns/pid").st_ino
    except OSError:
        return None
