"""The clocks that the kernel stamps with: a time namespace shows others (time_namespaces(7))."""

from __future__ import annotations

from .fs import HostFS, read_text

MONOTONIC, BOOTTIME = "monotonic", "boottime"


def ahead_ns(fs: HostFS, clock: str) -> int:
    """By how many nanoseconds this clock, as we read it, is ahead of the one that BPF programs read.

    0 outside of a time namespace, and where the kernel has none (before Linux 5.6).
    """
    try:
        for line in read_text(fs.proc / "self/timens_offsets").splitlines():
            name, seconds, nanoseconds = line.split()
            if name == clock:
                return int(seconds) * 10**9 + int(nanoseconds)
    except (OSError, ValueError):
        pass
    return 0
