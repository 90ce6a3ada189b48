"""Whose numbers of processes a /proc has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.pids import are_the_kernels
from tests.needs import require

KTHREADD = "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 14 0 0\n"
SLEEP = "2 (a) b) c) S 1 1 1 34816 2 4194304 95 0 0 0 0 0 0 0 20 0 1 0 99 0 0\n"


@pytest.mark.parametrize(
    ("stat", "expected"), [(KTHREADD, True), (SLEEP, False), ("", True), ("nonsense\n", True), ("2 (x) S 0\n", True)]
)
def test_process_two_is_a_kernel_thread_in_the_initial_namespace_alone(
    tmp_path: Path, stat: str, expected: bool
) -> None:
    (tmp_path / "2").mkdir()
    (tmp_path / "2/stat").write_text(stat)
    assert are_the_kernels(HostFS(proc=tmp_path)) is expected


def test_a_folder_that_stands_in_for_proc_is_believed(tmp_path: Path) -> None:
    assert are_the_kernels(HostFS(proc=tmp_path))
    (tmp_path / "1").mkdir()
    assert are_the_kernels(HostFS(proc=tmp_path))


@pytest.mark.parametrize("children", [0, 3])
def test_a_namespace_of_its_own(children: int) -> None:
    require(os.geteuid() == 0, "unshare --pid needs root")
    code = (
        "import subprocess\n"
        f"children = [subprocess.Popen(['sleep', '60']) for _ in range({children})]\n"
        "from kepler_ebpf.host.fs import HostFS\n"
        "from kepler_ebpf.host.pids import are_the_kernels\n"
        "print(are_the_kernels(HostFS()))\n"
    )
    private = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    answer = subprocess.run([*private, sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert answer.stdout == "False\n", answer.stderr


@pytest.mark.parametrize("hidden", [True, False])
def test_who_is_hidden_from_us_is_not_gone(hidden: bool) -> None:
    """Root that has given up CAP_SYS_PTRACE sees no others where /proc is mounted so."""
    require(os.geteuid() == 0, "mount needs root")
    code = (
        "import os, subprocess\n"
        "from kepler_ebpf.host import pids\n"
        "from kepler_ebpf.host.fs import HostFS\n"
        "from kepler_ebpf.kernel import privileges, procfs\n"
        "over = subprocess.Popen('true')\n"
        "over.wait()\n"
        "files = procfs.ProcessFiles(HostFS())\n"
        "privileges.drop()\n"
        f"print(pids.are_hidden(HostFS()), files.is_gone({os.getpid()}), files.is_gone(over.pid))\n"
    )
    shell = f'mount -t proc -o hidepid={4 if hidden else 0} proc /proc && exec "$@"'
    answer = subprocess.run(
        ["unshare", "--mount", "sh", "-c", shell, "sh", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.stdout == ("True False False\n" if hidden else "False False True\n"), answer.stderr
