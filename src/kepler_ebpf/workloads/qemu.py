"""Virtual machines by the command line of their QEMU process."""

from __future__ import annotations

import re

from .text import MAX_NAME
from .workload import Workload

MAX_PER_USER = 256
"""Virtual machines of one user but root that have series; what is beyond counts as the host's."""
_UID = re.compile(r"^Uid:\s+([0-9]{1,10})", re.MULTILINE)
_QEMU = re.compile(rb"(?:.*/)?(?:qemu-system-[\w-]+|qemu-kvm|kvm)\Z")


def vm_name(cmdline: bytes) -> str | None:
    """The guest's name from ``/proc/PID/cmdline``, empty where it was given none; None where it is no QEMU.

    QEMU takes ``-name web``, ``-name guest=web,debug-threads=on`` and writes a comma in a value as two.
    """
    arguments = cmdline.split(b"\0")
    if not _QEMU.match(arguments[0]):
        return None
    for option, value in zip(arguments[1:], arguments[2:]):
        if option in (b"-name", b"--name"):
            fields = value.replace(b",,", b"\0").split(b",")
            guest = next((f[6:] for f in fields if f.startswith(b"guest=")), fields[0])
            return guest.replace(b"\0", b",").decode("utf-8", "replace")[:MAX_NAME]
    return ""


def workload_of(cmdline: bytes, tgid: int) -> Workload | None:
    """The workload of a QEMU process; None where it is none. A guest without a name goes by its process id.

    The id is made of the process id, not of ``-name``: any user can start a "qemu" under any name, and must not share
    another guest's series.
    """
    name = vm_name(cmdline)
    if name is None:
        return None
    return Workload("vm", f"qemu/{tgid}", name or f"qemu-{tgid}", runtime="qemu")


def user_of(status: str) -> int:
    """The user who runs a process, by ``/proc/PID/status``; -1 where it does not tell.

    Not by the owner of files in /proc: a process that forbids core dumps has root there (proc(5)).
    """
    match = _UID.search(status)
    return int(match[1]) if match else -1
