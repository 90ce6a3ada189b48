"""CPUs and packages as sysfs tells them, and as they come and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from kepler_ebpf.errors import KeplerError
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.topology import parse_cpu_list, read_topology


def machine(root: Path, online: dict[int, tuple[int, str]], possible: str) -> HostFS:
    """``online``: by CPU, the kernel's id of its package and the threads of its core."""
    folder = root / "devices/system/cpu"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "possible").write_text(possible + "\n")
    (folder / "online").write_text(",".join(map(str, online)) + "\n")
    for cpu, (package, threads) in online.items():
        (folder / f"cpu{cpu}/topology").mkdir(parents=True, exist_ok=True)
        (folder / f"cpu{cpu}/topology/physical_package_id").write_text(f"{package}\n")
        (folder / f"cpu{cpu}/topology/thread_siblings_list").write_text(f"{threads}\n")
    return HostFS(sys=root)


def test_packages_are_ranks(tmp_path: Path) -> None:
    """Ids with gaps, as on VMware, Kunpeng, POWER9."""
    topology = read_topology(machine(tmp_path, {0: (36, "0"), 1: (36, "1"), 2: (8, "2"), 3: (8, "3")}, "0-3"))
    assert topology.package == (1, 1, 0, 0)
    assert (topology.rank_of(8), topology.rank_of(36), topology.rank_of(0)) == (0, 1, None)
    assert topology.cpus_per_package() == [2, 2]


def test_a_socket_that_goes_and_comes_back_keeps_its_rank(tmp_path: Path) -> None:
    both = {0: (1, "0"), 1: (1, "1"), 2: (2, "2"), 3: (2, "3")}
    start = read_topology(machine(tmp_path, both, "0-3"))
    alone = read_topology(machine(tmp_path, {cpu: both[cpu] for cpu in (2, 3)}, "0-3"), start)
    assert alone.package == start.package
    assert alone.cpus_per_package() == [0, 2]
    assert read_topology(machine(tmp_path, both, "0-3"), alone) == start


def test_what_comes_later_is_appended(tmp_path: Path) -> None:
    """A socket with a lower id than those known, and the second threads of the cores."""
    start = read_topology(machine(tmp_path, {0: (5, "0"), 1: (5, "1")}, "0-7"))
    assert start.sibling[:2] == (0, 1)
    assert start.most_packages == 4
    later = {0: (5, "0,4"), 1: (5, "1,5"), 2: (3, "2"), 4: (5, "0,4"), 5: (5, "1,5")}
    topology = read_topology(machine(tmp_path, later, "0-7"), start)
    assert topology.physical_ids == (5, 3)
    assert topology.package[:6] == (0, 0, 1, 0, 0, 0)
    assert topology.sibling[:6] == (4, 5, 2, 3, 0, 1)


def test_no_cpu_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(KeplerError, match="lists no CPU"):
        read_topology(machine(tmp_path, {}, ""))


@pytest.mark.parametrize("text", ["0-99999999999", "5-3", "-1", "0-65535,0-65535", "1-2-3", "x", "0-65536"])
def test_what_is_no_list_of_cpus_costs_no_memory(text: str) -> None:
    with pytest.raises(ValueError):
        parse_cpu_list(text)
