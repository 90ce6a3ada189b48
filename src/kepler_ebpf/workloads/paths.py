"""Cgroup paths → container ids, for every runtime that leaves its id there.

The deepest part of the path that names a container wins: a container inside a container (kind, podman in Kubernetes)
is the inner one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ID = r"[0-9a-f]{64}"
_POD = re.compile(r"pod([0-9a-f]{8}[-_](?:[0-9a-f]{4}[-_]){3}[0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$")
# A path component that names a container, and its runtime. cgroupfs driver: the bare id; systemd: prefix-id.scope.
_COMPONENTS = (
    ("docker", re.compile(rf"docker-({_ID})\.scope$")),
    ("containerd", re.compile(rf"cri-containerd-({_ID})\.scope$")),
    ("crio", re.compile(rf"crio-({_ID})(?:\.scope)?$")),
    ("podman", re.compile(rf"libpod-(?:payload-)?({_ID})(?:\.scope)?$")),
    ("containerd", re.compile(rf"({_ID})$")),
)
_CRI_FLAT = re.compile(rf"^.*:cri-containerd:({_ID})$")
_PLAIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")


@dataclass(frozen=True)
class CgroupIdentity:
    """What a path tells. All empty for host processes; ``unit`` is then the systemd service, where there is one."""

    container_id: str = ""
    runtime: str = ""
    pod_uid: str = ""
    unit: str = ""


def parse(path: str) -> CgroupIdentity:
    """The innermost container of a cgroup path (v1 or v2), and the pod it is in."""
    container_id = runtime = pod_uid = unit = ""
    for part in path.split("/"):
        pod = _POD.search(part)
        if pod:
            pod_uid = pod.group(1).replace("_", "-")
            container_id = runtime = ""
            continue
        if part.endswith(".service"):
            unit = part
        for name, pattern in _COMPONENTS:
            match = pattern.match(part)
            if match:
                container_id, runtime = match.group(1), name
                break
        flat = _CRI_FLAT.match(part)
        if flat:
            container_id, runtime = flat.group(1), "containerd"
    if runtime == "containerd" and not pod_uid and re.search(rf"(^|/)docker/{_ID}", path):
        runtime = "docker"
    if not container_id and pod_uid:
        # A test's or another tool's container below a pod, under a name that is no hash (runc).
        tail = path.rstrip("/").rsplit("/", 1)
        if len(tail) == 2 and not _POD.search(tail[1]) and _PLAIN.match(tail[1]):
            container_id, runtime = tail[1], "runc"
    return CgroupIdentity(container_id, runtime, pod_uid, "" if container_id else unit)
