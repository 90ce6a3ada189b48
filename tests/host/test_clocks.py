"""By how much the clocks of a time namespace are ahead of the kernel's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kepler_ebpf.host import clocks
from kepler_ebpf.host.fs import HostFS
from tests.needs import require

OFFSETS = "monotonic           7         5\nboottime           -2 500000000\n"


@pytest.mark.parametrize(
    ("told", "monotonic", "boottime"),
    [(OFFSETS, 7_000_000_005, -1_500_000_000), (None, 0, 0), ("", 0, 0), ("monotonic x 1\n", 0, 0), ("a\n", 0, 0)],
)
def test_what_the_kernel_tells(tmp_path: Path, told: str | None, monotonic: int, boottime: int) -> None:
    if told is not None:
        (tmp_path / "self").mkdir()
        (tmp_path / "self/timens_offsets").write_text(told)
    fs = HostFS(proc=tmp_path)
    assert clocks.ahead_ns(fs, clocks.MONOTONIC) == monotonic
    assert clocks.ahead_ns(fs, clocks.BOOTTIME) == boottime


def test_in_a_time_namespace() -> None:
    require(os.geteuid() == 0, "unshare --time needs root")
    code = (
        "from kepler_ebpf.host import clocks\n"
        "from kepler_ebpf.host.fs import HostFS\n"
        "print(*(clocks.ahead_ns(HostFS(), clock) for clock in (clocks.MONOTONIC, clocks.BOOTTIME)))\n"
    )
    apart = ["unshare", "--time", "--monotonic", "1000", "--boottime", "2000"]
    told = subprocess.run([*apart, sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert told.stdout == "1000000000000 2000000000000\n", told.stderr
