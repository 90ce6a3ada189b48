"""Which hierarchy tells containers apart, by the cgroups of processes as real machines have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.hierarchy import Hierarchy, path_in
from kepler_ebpf.workloads.hierarchies import by_processes, choose
from kepler_ebpf.workloads.paths import parse

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
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/mountinfo").write_text("31 24 0:27 / /cgroup/uni\\040fied rw - cgroup2 none rw\n")
    (tmp_path / "cgroup").mkdir()
    choice = choose(HostFS(tmp_path / "proc", tmp_path, tmp_path / "cgroup"))
    assert choice.hierarchy is None
    assert "/cgroup/uni fied" in choice.reason
    assert "--cgroupfs" in choice.reason
