"""Programs whose use of the CPU is known from elsewhere: the kernel's own clocks of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

BURN = """
import os, sys, time, threading
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
threads = [threading.Thread(target=burn, args=(float(sys.argv[1]),)) for _ in range(int(sys.argv[2]))]
"""


def in_cgroup(path: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a command inside a cgroup from its first instruction on."""

    def enter() -> None:
        with open(f"{path}/cgroup.procs", "w") as procs:
            procs.write(str(os.getpid()))

    return subprocess.Popen(list(command), preexec_fn=enter)


def spinner(seconds: float) -> list[str]:
    """A command that uses the CPU for so many seconds, without a pause."""
    code = f"import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass"
    return [sys.executable, "-S", "-c", code]


def usage_seconds(path: str) -> float:
    """CPU seconds of a cgroup of v2 as the kernel accounts them."""
    with open(f"{path}/cpu.stat") as stat:
        fields = dict(line.split() for line in stat)
    return int(fields["usage_usec"]) * 1e-6


def scheduled_seconds(pid: int) -> float:
    """CPU seconds of all threads of a process by the scheduler's own clock (/proc/PID/task/TID/schedstat)."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as stat:
            total += int(stat.read().split()[0])
    return total * 1e-9


def cpu_clock_seconds(pid: int) -> float:
    """CPU seconds of a process on its own clock (clock_getcpuclockid(3))."""
    return time.clock_gettime_ns((~pid << 3) | 2) * 1e-9
