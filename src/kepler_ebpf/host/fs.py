"""The host's pseudo file systems, wherever they are mounted.

Every reader takes a :class:`HostFS` and never names ``/proc`` or ``/sys`` itself: in a container they are the host's,
mounted elsewhere; in a test they are a folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HostFS:
    """Roots of the host's ``/proc``, ``/sys`` and ``/sys/fs/cgroup``.

    ``anywhere``: whether cgroups are looked for wherever they are mounted where ``cgroup`` has none: not where the user
    has said which to take.
    """

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    cgroup: Path = Path("/sys/fs/cgroup")
    anywhere: bool = True


def read_text(path: Path | str, limit: int = 65536) -> str:
    """At most ``limit`` bytes of a pseudo file, stripped; undecodable bytes are replaced.

    Raises OSError as ``open`` and ``read`` do.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, limit).decode("utf-8", "replace").strip()
    finally:
        os.close(fd)


_PIECE_BYTES = 1 << 14


def read_lines(path: Path | str, limit: int) -> list[str]:
    """Lines of a pseudo file of many records: at most ``limit`` bytes, the last line whole or not.

    Of such a file the kernel gives what fits into a page, whatever it is asked for (seq_read_iter in fs/seq_file.c).
    Raises OSError as ``open`` and ``read`` do.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = bytearray()  # by the piece: room for all of the limit would be asked for, and the heap keep it
        while len(content) < limit and (more := os.read(fd, min(limit - len(content), _PIECE_BYTES))):
            content += more
    finally:
        os.close(fd)
    # Not splitlines(): names of mounts may hold form feeds and the like.
    return content.decode("utf-8", "replace").split("\n")


def same_file(fd: int, path: Path) -> bool:
    """Whether a descriptor is of what is at this path now: a driver that was bound anew has files of its own."""
    try:
        return os.fstat(fd).st_ino == os.stat(path).st_ino
    except OSError:
        return False
