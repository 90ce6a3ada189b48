"""A simulated powercap machine: its package draws 100 W and its DRAM 10 W, whatever runs.

A program that is started in it sees this meter in place of the machine's own, through mounts in a namespace of its own:
nothing outside changes, and nothing is left behind.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WATTS = {"intel-rapl:0": ("package-0", 100), "intel-rapl:0/intel-rapl:0:0": ("dram", 10)}
_RANGE_UJ = 262143328850
# Counts every millisecond, as RAPL does. Numbers of one width: a reader never sees the rest of a longer one.
_METER = """
import os, sys, time
parent, began = os.getppid(), time.monotonic()
files = [(os.open(path, os.O_WRONLY), int(watts)) for path, watts in zip(sys.argv[1::2], sys.argv[2::2])]
while os.getppid() == parent:
    seconds = time.monotonic() - began
    for file, watts in files:
        os.pwrite(file, b"%011d\\n" % (seconds * watts * 1e6), 0)
    time.sleep(1e-3)
"""
# The overlays give /sys a place for powercap where there is none; the bind mounts hide a real one. A process whose
# executable even root may not read (as in some sandboxes) looks like the harness: Kepler would give up every sample.
_ENTER = """
set -e
mount -t overlay overlay -o "ro,lowerdir=$1/virtual:/sys/devices/virtual" /sys/devices/virtual
mount -t overlay overlay -o "ro,lowerdir=$1/class:/sys/class" /sys/class
mount --bind "$1/virtual/powercap" /sys/devices/virtual/powercap
mount --bind "$1/class/powercap" /sys/class/powercap
[ ! -e /sys/bus/event_source/devices/power ] || mount --bind "$1/empty" /sys/bus/event_source/devices/power
[ ! -e /proc/modules ] || mount --bind "$1/modules" /proc/modules
for pid in $2; do mount --bind /proc/$PPID /proc/$pid; done
shift 2
exec "$@"
"""


@contextmanager
def powercap(directory: Path) -> Iterator[Path]:
    """Make the meter in an empty folder and let it count; yields the tree for :func:`inside`."""
    zones = directory / "virtual/powercap/intel-rapl"
    counters = []
    for zone, (name, watts) in _WATTS.items():
        (zones / zone).mkdir(parents=True)
        for file, value in (
            ("name", name),
            ("energy_uj", "0" * 11),
            ("max_energy_range_uj", _RANGE_UJ),
            ("enabled", 1),
        ):
            (zones / zone / file).write_text(f"{value}\n")
        counters += [str(zones / zone / "energy_uj"), str(watts)]
    links = directory / "class/powercap"
    links.mkdir(parents=True)
    for zone in ("", *_WATTS):
        target = "../../devices/virtual/powercap/intel-rapl" + (f"/{zone}" if zone else "")
        (links / Path(target).name).symlink_to(target)
    (directory / "empty").mkdir()
    (directory / "modules").write_text("intel_rapl_common 1 0 - Live 0x0\nintel_rapl_msr 1 0 - Live 0x0\n")
    with subprocess.Popen([sys.executable, "-S", "-c", _METER, *counters]) as meter:
        try:
            yield directory
        finally:
            meter.terminate()


def inside(tree: Path, command: list[str]) -> list[str]:
    """The command that runs another one in the simulated machine, under the same process id."""
    hidden = " ".join(map(str, _unreadable()))
    shell = ["sh", "-c", _ENTER, "sh", str(tree), hidden, *command]
    return ["unshare", "--mount", "--propagation", "private", *shell]


def _unreadable() -> list[int]:
    """Processes whose executable may not be asked for."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                os.readlink(f"/proc/{name}/exe")
            except PermissionError:
                found.append(int(name))
            except OSError:
                continue  # a kernel thread, or gone by now
    return found
