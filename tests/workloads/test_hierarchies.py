"""Which hierarchy tells containers apart, by the cgroups of processes as real machines have them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.hierarchy import Hierarchy, path_in
from kepler_ebpf.workloads.hierarchies import HierarchyWatch, by_folders, by_processes, choose, contradiction
from kepler_ebpf.workloads.paths import parse
from tests.needs import require

NODE, INNER = "01ab" * 16, "02ab" * 16
POD = "00000000-0000-4000-8000-000000000001"
V2, MEMORY = Hierarchy(Path("/u")), Hierarchy(Path("/m"), 5, "memory")

# kind on a hybrid host, and CRI-O on another: v2 has the node, or the runtime's service.
KIND = f"""\
13:name=systemd:/docker/{NODE}/kubepods/besteffort/pod{POD}/{INNER}
5:memory:/docker/{NODE}/kubepods/besteffort/pod{POD}/{INNER}
0::/docker/{NODE}/system.slice/containerd.service"""
CRIO_SLICE = "kubepods-besteffort-pod00000000_0000_4000_8000_000000000001.slice"
CRIO = f"""\
5:memory:/kubepods.slice/kubepods-besteffort.slice/{CRIO_SLICE}/crio-{INNER}.scope
3:rdma:/
0::/system.slice/crio.service"""
BOTH = f"""\
5:memory:/docker/{NODE}
0::/docker/{NODE}"""
HOST = """\
5:memory:/user.slice
0::/user.slice/user-0.slice"""


@pytest.mark.parametrize(
    ("processes", "chosen", "container"),
    [
        ([HOST, KIND], MEMORY, INNER),
        ([HOST, CRIO], MEMORY, INNER),
        ([HOST, BOTH], V2, NODE),
        ([BOTH, BOTH.replace(NODE, INNER), HOST], V2, INNER),
        ([HOST], V2, ""),
        ([], V2, ""),
    ],
    ids=["kind", "cri-o", "both", "several", "no container yet", "nobody"],
)
def test_the_one_that_names_most_containers(processes: list[str], chosen: Hierarchy, container: str) -> None:
    choice = by_processes([V2, MEMORY], processes)
    assert choice.hierarchy == chosen
    assert choice.reason
    if container:
        found = {parse(path_in(text, chosen) or "/").container_id for text in processes}
        assert container in found


def test_cgroups_that_are_mounted_elsewhere_are_said_with_their_place(tmp_path: Path) -> None:
    """In a container: what process 1 has there is another file system, or nothing."""
    (tmp_path / "proc/1/ns").mkdir(parents=True)
    (tmp_path / "proc/1/ns/mnt").symlink_to("mnt:[1]")
    (tmp_path / "proc/1/mountinfo").write_text("31 24 0:27 / /cgroup\\040s/unified rw - cgroup2 none rw\n")
    (tmp_path / "cgroup").mkdir()
    choice = choose(HostFS(tmp_path / "proc", tmp_path, tmp_path / "cgroup"))
    assert choice.hierarchy is None
    assert "point --cgroupfs there" in choice.reason
    assert "at /cgroup s:" in choice.reason
    assert "\n" not in choice.reason


def test_what_users_and_containers_call_their_cgroups_does_not_outweigh_a_container() -> None:
    """Somebody makes a hundred cgroups in v2, called like containers; the runtime has one container, in v1."""
    user = "/user.slice/user-1000.slice/user@1000.service/docker"
    processes = [f"5:memory:/user.slice\n0::{user}/{number:064x}" for number in range(100)]
    real = f"5:memory:/docker/{INNER}\n0::/system.slice/docker.service"
    assert by_processes([V2, MEMORY], [*processes, real]).hierarchy == MEMORY
    assert by_processes([V2, MEMORY], processes).hierarchy == V2, "where they are all there is"
    inside = [f"5:memory:/docker/{NODE}\n0::/docker/{NODE}/docker/{number:064x}" for number in range(100)]
    assert by_processes([V2, MEMORY], [*inside, real]).hierarchy == MEMORY


def test_a_folder_that_a_user_owns_does_not_outweigh_a_container_either(tmp_path: Path) -> None:
    """A service with User= and Delegate= may make cgroups as well, by the hundred, running or not."""
    require(os.geteuid() == 0, "giving a folder away needs root")
    v2, memory = Hierarchy(tmp_path / "u"), Hierarchy(tmp_path / "m", 5, "memory")
    service = "/system.slice/batch.service"
    names = [f"{service}/docker/{number:064x}" for number in range(100)]
    for path in names:
        (v2.root / path[1:]).mkdir(parents=True)
    for place in (v2.root / service[1:], *(v2.root / service[1:]).rglob("*")):
        os.chown(place, 1000, 1000)
    (memory.root / f"docker/{INNER}").mkdir(parents=True)
    processes = [f"5:memory:/user.slice\n0::{name}" for name in names]
    real = f"5:memory:/docker/{INNER}\n0::/system.slice/docker.service"
    assert by_processes([v2, memory], [*processes, real]).hierarchy == memory
    assert by_processes([v2, memory], processes).hierarchy == v2, "where they are all there is"
    assert by_folders([v2, memory]).hierarchy == memory


def machine(tmp_path: Path) -> HostFS:
    """Hybrid: v2 and v1's memory."""
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/cgroup").write_text("5:memory:/\n0::/\n")
    for file in ("unified/cgroup.controllers", "memory/cgroup.procs"):
        (tmp_path / "cgroup" / file).parent.mkdir(parents=True)
        (tmp_path / "cgroup" / file).touch()
    return HostFS(tmp_path / "proc", tmp_path, tmp_path / "cgroup")


def test_pods_that_have_no_process_yet_tell(tmp_path: Path) -> None:
    fs = machine(tmp_path)
    assert choose(fs).hierarchy == Hierarchy(fs.cgroup / "unified")
    (fs.cgroup / f"memory/kubepods/burstable/pod{POD}").mkdir(parents=True)
    choice = choose(fs)
    assert choice.hierarchy == Hierarchy(fs.cgroup / "memory", 5, "memory")
    assert "no container runs yet" in choice.reason
    (fs.cgroup / f"unified/kubepods/burstable/pod{POD}").mkdir(parents=True)
    assert choose(fs).hierarchy == Hierarchy(fs.cgroup / "unified"), "of equals the first"


def test_containers_that_come_later_and_elsewhere_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fs = machine(tmp_path)
    chosen = choose(fs).hierarchy
    assert chosen is not None
    watch = HierarchyWatch(fs, chosen, seconds=0.01)
    watch.start()
    time.sleep(0.1)
    assert not caplog.records
    (tmp_path / "proc/2").mkdir()
    (tmp_path / "proc/2/cgroup").write_text(f"5:memory:/docker/{INNER}\n0::/system.slice/docker.service\n")
    deadline = time.monotonic() + 10
    while not caplog.records and time.monotonic() < deadline:
        time.sleep(0.01)
    watch.close()
    said = caplog.messages[0]
    assert f"v1 at {fs.cgroup}/memory tells 1 container(s)" in said
    assert "restart the collector" in said
    later = choose(fs).hierarchy
    assert later is not None
    assert contradiction(fs, later) == "", "which a restart mends"
    assert HierarchyWatch(HostFS(cgroup=tmp_path / "none"), None)._chosen is None
