from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.topology import read_topology
from kepler_ebpf.kernel.tables import BpfTables
from tests.cgroups import cgroup_root, find_hierarchy
from tests.needs import require

FS = HostFS()


@pytest.fixture
def accounting() -> Iterator[Callable[..., BpfTables]]:
    """Opens the kernel side with the options a test asks for, and closes it after."""
    require(os.geteuid() == 0, "loading BPF programs needs root")
    opened: list[BpfTables] = []

    def start(rows: int = 32768, cgroup_rows: int = 1024, **options: object) -> BpfTables:
        opened.append(BpfTables(FS, read_topology(FS), find_hierarchy(FS), rows, cgroup_rows, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def cgroup() -> Iterator[Callable[[str], str]]:
    """Makes cgroups in the v2 hierarchy and removes them after."""
    require(os.geteuid() == 0, "making cgroups needs root")
    root = cgroup_root()
    made: list[str] = []

    def make(name: str) -> str:
        path = str(root / f"kepler-test-{os.getpid()}-{name}")
        os.mkdir(path)
        made.append(path)
        return path

    yield make
    for path in reversed(made):
        os.rmdir(path)
