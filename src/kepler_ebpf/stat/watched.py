"""What runs already and is to be watched: processes, a cgroup, a container."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..assembly import Session
from ..errors import KeplerError
from ..host.fs import HostFS
from ..workloads.workload import Workload
from .child import is_alive, process_of
from .target import Lineage, Target, WorkloadTarget

_NAMES_SECONDS = 10.0
_MOST_LISTED = 10
_SHORTEST_ID = 3


@dataclass(frozen=True)
class Watched:
    """``title``: what it is called. ``target``: its part of a frame. ``is_gone``: whether it is there no more."""

    title: str
    target: Target
    is_gone: Callable[[], bool]


def processes(session: Session, fs: HostFS, pids: Sequence[int]) -> Watched:
    """Processes and their descendants, until all of them have ended. Raises KeplerError."""
    for pid in pids:
        if not is_alive(fs, pid):
            raise KeplerError(f"-p: no process has the number {pid}")
        if (process := process_of(fs, pid)) != pid:  # /proc has a folder of each thread, too
            raise KeplerError(f"-p: {pid} is a thread: expected a process, such as {process}, which it is of")
    target = Lineage(session.tables.processes, pids)
    title = f"process {', '.join(map(str, pids))}" if len(pids) == 1 else f"processes {', '.join(map(str, pids))}"
    return Watched(title, target, lambda: not any(is_alive(fs, pid) for pid in pids))


def cgroup(session: Session, path: str) -> Watched:
    """A cgroup and all below it, by its folder or by its path in the hierarchy. Raises KeplerError."""
    hierarchy = session.hierarchy
    if hierarchy is None:
        raise KeplerError("--cgroup: no cgroup file system is mounted")
    inside = _path_inside(hierarchy.root, path)
    folder = Path(f"{hierarchy.root}{inside}")
    if inside is None or not os.path.exists(folder / "cgroup.procs"):
        raise KeplerError(f"--cgroup: {path!r} is no cgroup of {hierarchy}")
    workload = Workload("container", f"stat/{folder.stat().st_ino}")
    session.workloads.single_out(folder.stat().st_ino, inside, workload)
    return Watched(
        f"cgroup {inside or '/'}", WorkloadTarget(session.sampler.table, workload), lambda: not folder.exists()
    )


def _path_inside(root: Path, path: str) -> str | None:
    """What the hierarchy calls a cgroup, empty for its root: as the resolver matches paths letter by letter, without
    ``.``, ``..`` and links. None where that cannot be a cgroup of it."""
    if os.path.isdir(path):
        found = os.path.relpath(os.path.realpath(path), os.path.realpath(root))
        if found == ".":
            return ""
        if found.split("/")[0] != "..":
            return f"/{found}"
    parts = path.split("/")
    if not path or parts[0] in (".", ".."):  # of the directory that we are in, which is nowhere in the hierarchy
        return None
    names: list[str] = []
    for part in parts:
        if part == "..":
            if not names:
                return None
            names.pop()
        elif part not in ("", "."):
            names.append(part)
    return "".join(f"/{name}" for name in names)


def container(session: Session, name: str, wait: Callable[[float], None]) -> Watched:
    """A container by its name, the front of its id, ``pod/container`` or ``namespace/pod/container``.

    ``wait``: for so many seconds. Raises KeplerError where there is none, or more than one.
    """
    if session.hierarchy is None:
        raise KeplerError("--container: no cgroup file system is mounted")
    session.workloads.wait_for_names(_NAMES_SECONDS, wait)
    named = {home: session.workloads.named(one) for home, one in session.workloads.containers().items()}
    found = {home: one for home, one in named.items() if _is_called(one, name)}
    if not found and len(name) >= _SHORTEST_ID:
        found = {home: one for home, one in named.items() if one.container_id.startswith(name)}
        # A user's has its owner before the id; one that a user calls after root's must not make that ambiguous.
        found = found or {home: one for home, one in named.items() if _id(one).startswith(name)}
    if len(found) != 1:
        those = found or named
        listed = ", ".join(sorted(map(_title, those.values()))[:_MOST_LISTED]) or "none"
        what = f"{len(found)} containers are called {name!r}" if found else f"no container is called {name!r}"
        raise KeplerError(f"--container: {what}; there are: {listed}")
    ((home, workload),) = found.items()
    folder = Path(f"{session.hierarchy.root}{home}")
    target = WorkloadTarget(session.sampler.table, workload)
    return Watched(f"container {_title(workload)}", target, lambda: not folder.exists())


def _is_called(workload: Workload, name: str) -> bool:
    names = (workload.container, f"{workload.pod}/{workload.container}", _full_name(workload)) if name else ()
    return name in names


def _id(workload: Workload) -> str:
    """The id that its engine shows: a user's container is labelled ``<uid>/<id>``."""
    return workload.container_id.rpartition("/")[2]


def _full_name(workload: Workload) -> str:
    return f"{workload.namespace}/{workload.pod}/{workload.container}"


def _title(workload: Workload) -> str:
    if workload.pod:
        return _full_name(workload)
    return workload.container or workload.container_id[:12]
