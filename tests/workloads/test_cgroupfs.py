"""Cgroup ids to paths on the live kernel, and working sets from both versions' files."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.hierarchy import Hierarchy, hierarchies
from kepler_ebpf.workloads.cgroupfs import CgroupTree
from kepler_ebpf.workloads.memory import working_set_bytes
from tests.cgroups import find_hierarchy
from tests.needs import require


@pytest.fixture
def tree() -> Iterator[CgroupTree]:
    tree = CgroupTree(find_hierarchy(HostFS()), clock=itertools.count(step=60).__next__)
    require(tree.root is not None and os.access(tree.root, os.W_OK), "needs root and a cgroup2 file system")
    yield tree
    tree.close()


@pytest.mark.parametrize("by_handle", [True, False])
def test_path_of_a_live_cgroup(tree: CgroupTree, by_handle: bool) -> None:
    assert tree.root is not None
    require(not by_handle or tree.has_handles, "needs CAP_DAC_READ_SEARCH")
    tree.has_handles = by_handle
    directory = tree.root / f"kepler-test-{os.getpid()}"
    inner = directory / "inner"
    inner.mkdir(parents=True)
    try:
        cgroup_id = inner.stat().st_ino
        tree.scan()
        assert tree.path(cgroup_id) == f"/{directory.name}/inner"
        assert tree.path(tree.root.stat().st_ino) == "/"
        assert not tree.is_gone(cgroup_id)
        inner.rmdir()
        tree.scan()
        assert tree.path(cgroup_id) is None
        assert tree.is_gone(cgroup_id)
    finally:
        for left in (inner, directory):
            if left.exists():
                left.rmdir()


def test_a_path_of_any_length_still_tells_whose_it_is(tree: CgroupTree) -> None:
    """A container nests cgroups until nothing tells their path any more."""
    require(tree.has_handles, "needs CAP_DAC_READ_SEARCH")
    assert tree.root is not None
    first = f"kepler-test-{os.getpid()}-{'c' * 64}"
    with contextlib.ExitStack() as stack:
        above = os.open(tree.root, os.O_RDONLY)
        stack.callback(os.close, above)
        for name in [first, *["d" * 250] * 30]:
            os.mkdir(name, dir_fd=above)
            stack.callback(os.rmdir, name, dir_fd=above)
            above = os.open(name, os.O_RDONLY, dir_fd=above)
            stack.callback(os.close, above)
        path = tree.path(os.fstat(above).st_ino)
    assert path is not None
    assert path.startswith(f"/{first}/ddd")
    assert 3800 < len(path) < 4096


def test_what_may_not_be_read_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user closes his cgroup to others: what is below it may live."""
    for name in ("mine/c", "other/c"):
        (tmp_path / name).mkdir(parents=True)
    tree = CgroupTree(Hierarchy(tmp_path), clock=itertools.count(step=60).__next__)
    tree.has_handles = False
    ids = {str(path.relative_to(tmp_path)): path.stat().st_ino for path in tmp_path.rglob("*")}
    tree.scan()
    scandir = os.scandir

    def closed(path: str) -> object:
        if path == str(tmp_path / "mine"):
            raise PermissionError(errno.EACCES, "closed")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    (tmp_path / "other/c").rmdir()
    assert not any(tree.is_gone(ids[name]) for name in ("mine", "mine/c", "other"))
    assert tree.path(ids["mine/c"]) == "/mine/c"
    assert tree.is_gone(ids["other/c"]), "beside it everything is seen as ever"
    assert not tree.is_gone(1 << 40), "one that came later may be behind the closed door"
    monkeypatch.undo()
    assert tree.is_gone(1 << 40)
    tree.close()


def test_without_events_and_handles_a_new_cgroup_is_found_by_a_walk(tmp_path: Path) -> None:
    """Under lockdown no event tells a path, and our unit has no CAP_DAC_READ_SEARCH. Each is sought once."""
    now = 0.0
    tree = CgroupTree(Hierarchy(tmp_path), clock=lambda: now)
    tree.has_handles = False
    tree.scan()
    (tmp_path / "new").mkdir()
    new = (tmp_path / "new").stat().st_ino
    assert tree.path(new) is None, "the latest walk was only just now"
    now = 1.0
    assert tree.path(new) == "/new"
    (tmp_path / "later").mkdir()
    later = (tmp_path / "later").stat().st_ino
    now = 2.0
    assert tree.path(1 << 40) is None
    now = 3.0
    assert tree.path(1 << 40) is None
    assert later in tree.known()
    (tmp_path / "last").mkdir()
    now = 4.0
    tree.path(1 << 40)
    assert (tmp_path / "last").stat().st_ino not in tree.known(), "no third walk for one that is not there"
    assert not tree.is_gone((tmp_path / "last").stat().st_ino), "one that came after the latest walk"
    tree.close()


def test_no_cgroups_means_no_paths(tmp_path: Path) -> None:
    tree = CgroupTree(find_hierarchy(HostFS(cgroup=tmp_path)))
    assert (tree.root, tree.path(1)) == (None, None)


V1 = ("memory.usage_in_bytes", "inactive_file 9\ntotal_inactive_file 300\n")
V2 = ("memory.current", "anon 1\ninactive_file 300\n")


@pytest.mark.parametrize(
    ("root", "folder", "files"),
    [
        ("", "", V2),
        ("memory", "memory", V1),
        ("unified", "memory", V1),
        ("cpuacct", "memory", V1),
        ("unified", "unified", V2),
    ],
    ids=["v2", "v1", "hybrid, v2", "hybrid, v1 of another controller", "hybrid, all controllers on v2"],
)
def test_working_set(tmp_path: Path, root: str, folder: str, files: tuple[str, str]) -> None:
    """Which is chosen by processes, and where its memory is, are two things."""
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/cgroup").write_text("9:memory:/\n8:cpuacct:/\n0::/\n")
    marks = {"": "cgroup.controllers", "unified": "cgroup.controllers"}
    for place in {root, folder}:
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / marks.get(place, "cgroup.procs")).touch()
    home = tmp_path / folder / "pod/c"
    home.mkdir(parents=True)
    (home / files[0]).write_text("1000\n")
    (home / "memory.stat").write_text(files[1])
    found = hierarchies(HostFS(tmp_path / "proc", tmp_path, tmp_path))
    chosen = next(one for one in found if one.root == tmp_path / root)
    assert working_set_bytes(chosen, "/pod/c") == 700
    (home / files[0]).write_text("200\n")
    assert working_set_bytes(chosen, "/pod/c") == 0
    (home / "memory.stat").unlink()
    assert working_set_bytes(chosen, "/pod/c") is None
    assert working_set_bytes(None, "/pod/c") is None
