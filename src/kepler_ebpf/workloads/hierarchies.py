"""Which hierarchy of cgroups tells containers apart: decided by looking at processes, not by what is mounted.

Where v1 and v2 are both mounted, a runtime may have put its containers into v1 alone, or into both, or a container into
another one (kind: a node is a container whose pods only v1 tells apart).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from ..host.fs import HostFS, read_text
from ..host.hierarchy import Hierarchy, hierarchies, mounted, path_in
from .paths import parse

log = logging.getLogger(__name__)

_MAX_PROCESSES = 8192


@dataclass(frozen=True)
class HierarchyChoice:
    """``hierarchy``: None where there is none. ``reason``: why this one, as a sentence."""

    hierarchy: Hierarchy | None
    reason: str


def choose(fs: HostFS) -> HierarchyChoice:
    """The hierarchy that names most containers; of equals the first: v2 before v1."""
    candidates = hierarchies(fs)
    if not candidates:
        elsewhere = ", ".join(map(str, mounted(fs)))
        hint = (
            f"the mount table has {elsewhere}: mount it here and point --cgroupfs to it"
            if elsewhere
            else "none is mounted"
        )
        return HierarchyChoice(None, f"no cgroup file system under {fs.cgroup}; {hint}")
    if len(candidates) == 1:
        return HierarchyChoice(candidates[0], "the only one that is mounted")
    return by_processes(candidates, _cgroups_of_all(fs))


def by_processes(candidates: list[Hierarchy], cgroups: Iterable[str]) -> HierarchyChoice:
    """``cgroups``: texts of ``/proc/PID/cgroup``."""
    pods: list[set[str]] = [set() for _ in candidates]
    containers: list[set[str]] = [set() for _ in candidates]
    for text in cgroups:
        for position, hierarchy in enumerate(candidates):
            path = parse(path_in(text, hierarchy) or "/")
            if path.container_id and not path.helper:
                containers[position].add(path.container_id)
                if path.pod_uid:
                    pods[position].add(path.container_id)
    scores = [(len(of_pods), len(all_)) for of_pods, all_ in zip(pods, containers)]
    best = max(scores)
    if best == (0, 0):
        return HierarchyChoice(candidates[0], "no container runs yet: the first that is mounted")
    position = scores.index(best)
    return HierarchyChoice(candidates[position], f"it tells {best[1]} container(s) apart, {best[0]} of them in pods")


def _cgroups_of_all(fs: HostFS) -> Iterable[str]:
    try:
        processes = [entry for entry in fs.proc.iterdir() if entry.name.isdigit()]
    except OSError:
        return
    for entry in processes[:_MAX_PROCESSES]:
        try:
            yield read_text(entry / "cgroup")
        except OSError:
            continue  # it ended while we looked
