"""Which hierarchy tells containers apart, by what is mounted."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.hierarchy import Hierarchy, folders_to_name, hierarchies, path_in
from tests.cgroups import find_hierarchy

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


# From real machines (open-mpi/hwloc, BSD-3-Clause): mount points, types and options of cgroup file systems.
ELSEWHERE = [
    (
        [("cgroup/unified", "cgroup2", "rw"), ("cgroup/memory", "cgroup", "rw,memory")],
        ["cgroup/unified", "cgroup/memory"],
    ),
    ([("dev/cgroup", "cgroup2", "rw"), ("dev/cpuset", "cgroup", "rw,cpuset")], ["dev/cgroup", "dev/cpuset"]),
    ([("cgroup/memory", "cgroup", "rw,memory")], ["cgroup/memory"]),
    ([("mnt/all of v1", "cgroup", "rw,cpu,cpuacct,memory")], ["mnt/all of v1"]),
]


@pytest.mark.parametrize(("mounts", "roots"), ELSEWHERE)
def test_cgroups_mounted_elsewhere_are_found(
    tmp_path: Path, mounts: list[tuple[str, str, str]], roots: list[str]
) -> None:
    numbers = {"memory": 4, "cpuset": 6}
    together = "4:cpu,cpuacct,memory:/\n" if "all" in mounts[0][0] else "4:memory:/\n6:cpuset:/\n"
    fs = host(tmp_path, together + "0::/\n")
    fs.cgroup.mkdir(exist_ok=True)
    lines = ["22 1 0:20 / /proc rw,nosuid - proc proc rw"]
    for place, kind, options in mounts:
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / ("cgroup.controllers" if kind == "cgroup2" else "cgroup.procs")).touch()
        point = str(tmp_path / place).replace(" ", "\\040")
        lines.append(f"31 24 0:27 / {point} rw,relatime shared:9 - {kind} {kind} {options}")
    (fs.proc / "1/mountinfo").write_text("\n".join(lines) + "\n")
    found = hierarchies(fs)
    assert [str(one.root.relative_to(tmp_path)) for one in found] == roots
    assert [one.number for one in found] == [
        0 if kind == "cgroup2" else numbers.get(options.split(",")[-1], 4) for _, kind, options in mounts
    ]
    memory = {one.memory for one in found}
    assert memory == {next((tmp_path / place for place, _, options in mounts if "memory" in options), None)}
    # Not where another folder was named: only what is below it.
    assert all(fs.cgroup in one.root.parents for one in hierarchies(replace(fs, anywhere=False)))
    # The folder that is said to users is one that works.
    assert hierarchies(replace(fs, cgroup=folders_to_name(fs)[0]))[0] == found[0]


@pytest.mark.parametrize(("kind", "number", "options"), [("cgroup2", 0, "rw"), ("cgroup", 4, "rw,memory")])
@pytest.mark.parametrize(
    ("mounted", "taken"),
    [
        (["/kubepods.slice/x", "/"], 1),
        (["/", "/kubepods.slice/x"], 0),
        (["/kubepods.slice/x", "/kubepods.slice/y", "/", "/"], 2),
        (["/../../system.slice/x", "/../.."], 1),
        # In a cgroup namespace of its own: both may be whole, so the first is.
        (["/../..", "/"], 0),
        (["/", "/../.."], 0),
        # In a container without one all are parts.
        (["/docker/abc", "/docker/abc/x"], 0),
        (["/..x"], 0),
    ],
)
def test_a_part_that_is_mounted_is_not_taken_for_the_hierarchy(
    tmp_path: Path, kind: str, number: int, options: str, mounted: list[str], taken: int
) -> None:
    fs = host(tmp_path, "4:memory:/\n0::/\n")
    lines = []
    for position, root in enumerate(mounted):
        place = tmp_path / f"mnt/{position}"
        place.mkdir(parents=True)
        (place / ("cgroup.controllers" if kind == "cgroup2" else "cgroup.procs")).touch()
        lines.append(f"31 24 0:27 {root} {place} rw,relatime shared:9 - {kind} {kind} {options}")
    (fs.proc / "1/mountinfo").write_text("\n".join(lines) + "\n")
    assert [(one.root, one.number) for one in hierarchies(fs)] == [(tmp_path / f"mnt/{taken}", number)]
    # What users are told to name is the same.
    assert folders_to_name(fs)[0] == tmp_path / f"mnt/{taken}"


@pytest.mark.parametrize(
    ("ours", "place", "above"),
    [
        ("/", "/pods/x/ours", "/pods/x/ours"),
        ("/below", "/pods/x/ours/below", "/pods/x/ours"),
        ("/pods/x", "/pods/x", ""),  # no namespace of our own
        ("/", "/", ""),  # what is mounted is our part
        ("/below", "/elsewhere", ""),
        ("/../moved", "/moved", ""),
    ],
)
def test_paths_count_from_our_cgroup_namespace(tmp_path: Path, ours: str, place: str, above: str) -> None:
    """A collector in a container of its own namespace, with the host's whole hierarchy mounted into it."""
    fs = host(tmp_path, "0::/../../..\n", "cgroup.controllers", "docker/y/cgroup.procs")
    (fs.proc / "self").mkdir(exist_ok=True)
    (fs.proc / "self/cgroup").write_text(f"0::{ours}\n")
    (fs.cgroup / place[1:]).mkdir(parents=True, exist_ok=True)
    (fs.cgroup / place[1:] / "cgroup.procs").write_text(f"7\n{os.getpid()}\n")
    (hierarchy,) = hierarchies(fs)
    assert hierarchy.above == above
    if above:
        assert path_in("0::/../../../docker/y\n", hierarchy) == "/docker/y"
        assert path_in("0::/\n", hierarchy) == above
        assert path_in("0::/../z\n", hierarchy) == "/pods/x/z"
    else:
        assert path_in("0::/../../docker/y\n", hierarchy) == "/../../docker/y"


def test_a_mount_far_down_the_table_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel gives a page of it at a time."""
    fs = host(tmp_path, "0::/\n")
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "cgroup.controllers").touch()
    lines = [f"{30 + pod} 24 0:{pod} / /var/lib/kubelet/pods/{pod:036}/volumes rw - tmpfs x rw" for pod in range(500)]
    lines.append(f"31 24 0:27 / {place} rw - cgroup2 x rw")
    (fs.proc / "1/mountinfo").write_text("\n".join(lines) + "\n")
    read = os.read
    monkeypatch.setattr(os, "read", lambda fd, most: read(fd, min(most, 4096)))
    assert [one.root for one in hierarchies(fs)] == [place]


@pytest.mark.parametrize(
    "text", ["", "garbage", " - ", "1 2 3 - cgroup", "1 2 3 4 5 6 - cgroup2", "1 2 0:1 / /x\\999 rw - cgroup2"]
)
def test_any_mount_table_is_survived(tmp_path: Path, text: str) -> None:
    fs = host(tmp_path, V1)
    (fs.proc / "1/mountinfo").write_text(text)
    assert hierarchies(fs) == []


def test_a_process_has_a_path_in_each() -> None:
    text = "9:cpu,cpuacct:/a\n4:memory:/docker/x:y\n0::/b\n"
    assert path_in(text, Hierarchy(Path("/"))) == "/b"
    assert path_in(text, Hierarchy(Path("/"), 4, "memory")) == "/docker/x:y"
    assert path_in(text, Hierarchy(Path("/"), 5, "pids")) is None
    # A name may hold what looks like the end of a line.
    odd = "/user.slice/x\x0c0::/kubepods/y\x85z"
    assert path_in(f"1:cpu:/\n0::{odd}\n", Hierarchy(Path("/"))) == odd
    assert path_in(f"1:cpu:{odd}\n0::/b\n", Hierarchy(Path("/"))) == "/b"
