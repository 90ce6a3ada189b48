"""Which container is meant by a name or the front of an id."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kepler_ebpf.assembly import Session
from kepler_ebpf.errors import KeplerError
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.hierarchy import Hierarchy
from kepler_ebpf.stat.watched import cgroup, container, processes
from kepler_ebpf.workloads.resolver import WorkloadResolver

A, B = "a1" * 32, "b2" * 32
USERS = "user.slice/user-1000.slice/user@1000.service/user.slice"


def title(tmp_path: Path, name: str) -> str:
    hierarchy = Hierarchy(tmp_path)
    workloads = WorkloadResolver(hierarchy)
    try:
        session: Any = SimpleNamespace(hierarchy=hierarchy, workloads=workloads, sampler=SimpleNamespace(table=None))
        return container(cast(Session, session), name, lambda seconds: None).title
    finally:
        workloads.close()


def test_the_front_of_an_id_is_enough_for_a_users_container(tmp_path: Path) -> None:
    """His engine shows the id without its owner. Root's container of the same id is not made ambiguous by his."""
    for place in (f"docker/{A}", f"{USERS}/docker-{A}.scope", f"{USERS}/docker-{B}.scope"):
        (tmp_path / place).mkdir(parents=True)
    assert title(tmp_path, A[:12]) == f"container {A[:12]}"
    assert title(tmp_path, B[:12]) == title(tmp_path, f"1000/{B}") == f"container 1000/{B[:7]}"
    with pytest.raises(KeplerError, match="no container is called"):
        title(tmp_path, "c3c3")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A hierarchy with ``/a/b``, a link to that, and a folder beside it all."""
    for place in ("cgroup", "cgroup/a", "cgroup/a/b"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "cgroup.procs").touch()
    (tmp_path / "link").symlink_to("cgroup/a/b")
    (tmp_path / "outside").mkdir()
    return tmp_path


def singled_out(root: Path, path: str) -> tuple[str, ...]:
    """What the cgroup is called, and the path that the resolver is to look for."""
    asked: list[str] = []
    workloads = SimpleNamespace(single_out=lambda number, inside, workload: asked.append(inside))
    session: Any = SimpleNamespace(hierarchy=Hierarchy(root), workloads=workloads, sampler=SimpleNamespace(table=None))
    return cgroup(cast(Session, session), path).title, *asked


@pytest.mark.parametrize(
    ("where", "path", "inside"),
    [
        *[("cgroup/a", path, "/a") for path in (".", "./", "b/..", "../a", "{}/cgroup/a", "{}/cgroup/./a//")],
        *[("outside", path, "/a") for path in ("/a", "/./a", "/a/.", "//a/", "a", "/b/../a", "../cgroup/a")],
        *[("cgroup/a", path, "/a/b") for path in ("b", "./b", "b/", "/a/b", "/a/./b", "{}/link", "../../link")],
        *[("outside", path, "") for path in ("/", "/.", "//", "/a/..", "../cgroup", "{}/cgroup", "{}/cgroup/")],
    ],
)
def test_a_cgroup_is_the_same_however_its_path_is_written(
    where: str, path: str, inside: str, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree / where)
    assert singled_out(tree / "cgroup", path.format(tree)) == (f"cgroup {inside or '/'}", inside)


@pytest.mark.parametrize(
    "path", ["", ".", "./a", "..", "/..", "/a/../..", "/../a", "/c", "{}/outside", "/" + "x" * 5000]
)
def test_what_is_no_cgroup_is_refused_in_one_line(path: str, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "outside")
    with pytest.raises(KeplerError, match=r"^--cgroup: .* is no cgroup of v2 at ") as refused:
        singled_out(tree / "cgroup", path.format(tree))
    assert "\n" not in str(refused.value)


def test_through_a_link_to_the_mount_it_is_the_same(tree: Path) -> None:
    (tree / "mount").symlink_to("cgroup")
    assert singled_out(tree / "mount", str(tree / "cgroup/a")) == ("cgroup /a", "/a")


def test_a_thread_is_no_process_and_its_process_is_said() -> None:
    """It would be watched as a process that never runs: 0 J, without a word."""
    session: Any = SimpleNamespace()
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        with pytest.raises(KeplerError, match=f"-p: {thread.native_id} is a thread: .* such as {os.getpid()},"):
            processes(cast(Session, session), HostFS(), [os.getpid(), thread.native_id or 0])
    finally:
        over.set()
        thread.join()
