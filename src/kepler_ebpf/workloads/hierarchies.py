"""Which hierarchy of cgroups tells containers apart: decided by looking at processes, not by what is mounted.

Where v1 and v2 are both mounted, a runtime may have put its containers into v1 alone, or into both, or a container into
another one (kind: a node is a container whose pods only v1 tells apart).

The kernel's programs read the ids of one hierarchy, which is fixed when they are loaded. So the choice stands until the
collector is restarted; :class:`HierarchyWatch` says when containers came later that another hierarchy tells apart.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..host.fs import HostFS, read_text
from ..host.hierarchy import Hierarchy, folders, folders_to_name, hierarchies, mounted, path_in
from .owners import owner_above
from .paths import parse

log = logging.getLogger(__name__)

WATCH_SECONDS = 60.0
_MAX_PROCESSES = 8192
_BATCH = 100
_PAUSE_SECONDS = 0.02
_NOBODY = "no container is there yet: the first that is mounted"


@dataclass(frozen=True, order=True)
class Evidence:
    """How many containers a hierarchy tells apart; the more, the better, in this order.

    ``containers``: those that are inside no other; ``pods``: containers in pods; ``inner``: those inside others, which
    can call them what they like; ``weak``: those of users, who can do so too, and pods without a container.
    """

    containers: int = 0
    pods: int = 0
    inner: int = 0
    weak: int = 0

    def __str__(self) -> str:
        return f"{self.containers + self.inner + self.weak} container(s), {self.pods} of them in pods"


@dataclass(frozen=True)
class HierarchyChoice:
    """``hierarchy``: None where there is none. ``reason``: why this one, as a sentence.

    ``is_known``: whether that follows from what is there, and not only from what came first.
    """

    hierarchy: Hierarchy | None
    reason: str
    is_known: bool = True


def choose(fs: HostFS) -> HierarchyChoice:
    """The hierarchy that names most containers; of equals the first: v2 before v1."""
    candidates = hierarchies(fs)
    if not candidates:
        places = " or ".join(map(str, folders_to_name(fs)))
        hint = (
            f"process 1 has them at {places}: point --cgroupfs there (for a container, mount that into it)"
            if places
            else "none is mounted"
        )
        return HierarchyChoice(None, f"no cgroup file system under {fs.cgroup}; {hint}")
    if len(candidates) == 1:
        return HierarchyChoice(candidates[0], "the only one that is mounted")
    choice = by_processes(candidates, cgroups_of_all(fs))
    return choice if choice.is_known else by_folders(candidates)


def by_processes(candidates: list[Hierarchy], cgroups: Iterable[str]) -> HierarchyChoice:
    """By texts of ``/proc/PID/cgroup``; the first candidate where nobody is in a container."""
    found = evidence(candidates, cgroups)
    best = max(found)
    if best == Evidence():
        return HierarchyChoice(candidates[0], _NOBODY, is_known=False)
    position = found.index(best)
    others = [f"{one} tells {seen}" for one, seen in zip(candidates, found) if seen < best]
    return HierarchyChoice(candidates[position], "; ".join([f"now {best}", *others]))


def evidence(candidates: list[Hierarchy], cgroups: Iterable[str]) -> list[Evidence]:
    """What each hierarchy tells of these processes."""
    paths: list[set[str]] = [set() for _ in candidates]
    for text in cgroups:
        for seen, hierarchy in zip(paths, candidates):
            seen.add(path_in(text, hierarchy) or "/")
    return [_told(hierarchy, seen) for hierarchy, seen in zip(candidates, paths)]


def contradiction(fs: HostFS, chosen: Hierarchy) -> str:
    """What speaks against the hierarchy that was chosen at the start, as a sentence; empty for nothing."""
    candidates = hierarchies(fs)
    if chosen not in candidates:
        return ""
    found = dict(zip(candidates, evidence(candidates, cgroups_of_all(fs, _PAUSE_SECONDS))))
    best = max(candidates, key=found.__getitem__)
    if found[best] <= found[chosen]:
        return ""
    return (
        f"{best} tells {found[best]} apart; {chosen}, chosen before they ran, tells {found[chosen]}. "
        "What that does not tell apart counts as system: restart the collector"
    )


class HierarchyWatch:
    """Says once, in the log, when another hierarchy than the chosen one tells more containers apart.

    On machines with one hierarchy there is nothing to watch.
    """

    def __init__(self, fs: HostFS, chosen: Hierarchy | None, seconds: float = WATCH_SECONDS) -> None:
        self._fs = fs
        self._chosen = chosen if len(mounted(fs)) > 1 else None
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch in a thread until :meth:`close`."""
        if self._chosen is not None:
            self._thread = threading.Thread(target=self._run, args=(self._chosen,), name="hierarchy", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self, chosen: Hierarchy) -> None:
        while not self._stopped.wait(self._seconds):
            said = contradiction(self._fs, chosen)
            if said:
                log.warning("%s", said)
                return


def cgroups_of_all(fs: HostFS, pause_seconds: float = 0.0) -> Iterator[str]:
    """Texts of ``/proc/PID/cgroup``, of at most 8,192 processes, resting between batches."""
    try:
        processes = [entry for entry in os.listdir(fs.proc) if entry.isdecimal()]
    except OSError:
        return
    for number, process in enumerate(processes[:_MAX_PROCESSES], 1):
        try:
            yield read_text(fs.proc / process / "cgroup")
        except OSError:
            continue  # it ended while we looked
        if pause_seconds and number % _BATCH == 0:
            time.sleep(pause_seconds)


def by_folders(candidates: list[Hierarchy]) -> HierarchyChoice:
    """By cgroups in which nothing runs yet: a kubelet makes a pod's before its first container, docker keeps them."""
    found = [_told(one, set(folders(one.root))) for one in candidates]
    best = max(found)
    if best == Evidence():
        return HierarchyChoice(candidates[0], _NOBODY, is_known=False)
    reason = f"no container runs yet; it has cgroups of {best}"
    return HierarchyChoice(candidates[found.index(best)], reason)


def _told(hierarchy: Hierarchy, paths: set[str]) -> Evidence:
    containers: set[str] = set()
    pods: set[str] = set()
    inner: set[str] = set()
    weak: set[str] = set()
    for path in paths:
        told = parse(path)
        outer = told.outer or told
        if outer.owner or not outer.container_id or owner_above(hierarchy.root, outer.home):
            weak.add(outer.container_id or outer.pod_uid)
        elif not outer.helper:
            containers.add(outer.container_id)
            inner.add(told.container_id if told.outer else "")
            pods.add(told.container_id if told.pod_uid else "")
    return Evidence(*(len(found - {""}) for found in (containers, pods, inner, weak)))
