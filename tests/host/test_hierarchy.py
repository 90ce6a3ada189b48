"""Which hierarchy tells containers apart, by what is mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.hierarchy import Hierarchy, find_hierarchy, path_in

V1 = "12:pids:/init\n9:cpu,cpuacct:/init\n4:memory:/init\n1:name=systemd:/init\n"


def host(tmp_path: Path, cgroups: str, *files: str) -> HostFS:
    for file in files:
        path = tmp_path / "cgroup" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/cgroup").write_text(cgroups)
    return HostFS(tmp_path / "proc", tmp_path / "sys", tmp_path / "cgroup")


@pytest.mark.parametrize(
    ("cgroups", "files", "root", "number", "controller"),
    [
        ("0::/init.scope\n", ["cgroup.controllers"], "", 0, ""),
        (V1 + "0::/\n", ["memory/cgroup.procs", "unified/cgroup.controllers"], "unified", 0, ""),
        (V1, ["memory/cgroup.procs", "pids/cgroup.procs"], "memory", 4, "memory"),
        (V1, ["cpu,cpuacct/cgroup.procs"], "cpu,cpuacct", 9, "cpuacct"),
        (V1, ["cpuacct/cgroup.procs", "cpu,cpuacct/cgroup.procs"], "cpuacct", 9, "cpuacct"),
        ("12:pids:/\n", ["memory/cgroup.procs", "pids/cgroup.procs"], "pids", 12, "pids"),
    ],
)
def test_the_hierarchy(tmp_path: Path, cgroups: str, files: list[str], root: str, number: int, controller: str) -> None:
    found = find_hierarchy(host(tmp_path, cgroups, *files))
    assert found == Hierarchy(tmp_path / "cgroup" / root, number, controller)


@pytest.mark.parametrize("cgroups", ["", "nonsense\n", ":::\n", V1])
def test_there_may_be_none(tmp_path: Path, cgroups: str) -> None:
    (tmp_path / "cgroup").mkdir()
    assert find_hierarchy(host(tmp_path, cgroups)) is None


def test_a_process_has_a_path_in_each() -> None:
    text = "9:cpu,cpuacct:/a\n4:memory:/docker/x:y\n0::/b\n"
    assert path_in(text, Hierarchy(Path("/"))) == "/b"
    assert path_in(text, Hierarchy(Path("/"), 4, "memory")) == "/docker/x:y"
    assert path_in(text, Hierarchy(Path("/"), 5, "pids")) is None
