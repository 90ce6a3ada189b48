"""What our own programs cost, as the kernel counts it."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from ..host.syscalls import object_info

# Offsets in struct bpf_prog_info (include/uapi/linux/bpf.h): fixed since Linux kernel commit 492ecee892c2 (in v5.1).
_RUN_TIME_NS = 192
_RUN_COUNT = 200


def program_stats(programs: Mapping[str, int]) -> tuple[dict[str, float], dict[str, int]]:
    """Seconds and runs of each program since it was loaded.

    The kernel counts only while ``kernel.bpf_stats_enabled`` is 1; programs it has not counted are left out.
    """
    seconds: dict[str, float] = {}
    runs: dict[str, int] = {}
    for name, fd in programs.items():
        try:
            run_time_ns, run_count = struct.unpack_from("=QQ", object_info(fd), _RUN_TIME_NS)
        except (OSError, struct.error):
            continue
        if run_count:
            seconds[name] = run_time_ns * 1e-9
            runs[name] = run_count
    return seconds, runs
