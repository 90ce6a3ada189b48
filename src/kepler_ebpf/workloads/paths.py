"""Cgroup paths read as what runtimes and the kubelet mean by them. Pure functions on text."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

MAX_PATH = 4096
"""Characters of a path that are looked at: PATH_MAX."""
_MAX_NAME = 253

_ID = r"(?P<id>[0-9a-f]{64})"
_SCOPE = re.compile(rf"(?P<prefix>[A-Za-z][\w.-]*?)[-_]{_ID}(?:\.scope|\.service)?\Z")
_BARE = re.compile(rf"{_ID}\Z")
# A UUID, or for static pods a hash of the manifest (applyDefaults in the kubelet's pkg/kubelet/config/common.go). In a
# slice's name systemd reads "-" as a level, so the kubelet writes the uid's dashes as underscores.
_UID = r"(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})"
_POD_SLICE = re.compile(rf"(?:.*-)?kubepods(?:-burstable|-besteffort|-guaranteed)?-pod{_UID}\.slice\Z")
_POD_DIR = re.compile(rf"pod{_UID}\Z")
_POD_CHILD = re.compile(r"[0-9A-Za-z][\w.-]{0,252}\Z")
_MACHINE = re.compile(r"machine-(?P<name>.+)\.scope\Z")
_NSPAWN = re.compile(r"systemd-nspawn@(?P<name>.+)\.service\Z")
_LIBVIRT = re.compile(r"(?P<driver>qemu|lxc)-\d+-(?P<name>.+)\Z")
_LIBVIRT_DIR = re.compile(r"(?:qemu-\d+-)?(?P<name>.+)\.libvirt-qemu\Z")
_LXC = re.compile(r"lxc\.(?P<part>payload|monitor)\.(?P<name>.+)\Z")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_UNIT = re.compile(r".+\.(?:service|scope)\Z")
_USER = re.compile(r"user-\d+\.slice\Z")
_USER_MANAGER = re.compile(r"user@\d+\.service\Z")

_RUNTIMES = {
    "docker": "docker",
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
    "crio-conmon": "cri-o",
    "libpod": "podman",
    "libpod-conmon": "podman",
    "libpod-payload": "podman",
    "kata": "kata",
}


@dataclass(frozen=True)
class CgroupPath:
    """What a path says: whose processes are in it.

    ``container_id`` is empty on the host. LXC, nspawn and virtual machines have a ``name`` instead; their id is made
    of it, of what manages them, and of the container they are in: ``lxc/web``. ``home`` is the container's own cgroup,
    of which the path may be a descendant. ``helper`` marks a cgroup beside the container that works for it (conmon,
    the LXC monitor). ``outer_id`` is the container around this one inside the same pod or host. ``unit`` is the
    systemd unit of a host process. ``delegated``: a user may make cgroups there under any name.
    """

    runtime: str = ""
    container_id: str = ""
    name: str = ""
    pod_uid: str = ""
    unit: str = ""
    home: str = ""
    helper: bool = False
    outer_id: str = ""
    virtual_machine: bool = False
    delegated: bool = False


@dataclass(frozen=True)
class _Match:
    runtime: str
    id: str = ""
    name: str = ""
    helper: bool = False
    virtual_machine: bool = False


def parse(path: str) -> CgroupPath:
    """The identity behind a cgroup path of any hierarchy; the deepest container and pod in it win."""
    parts = [part for part in path[:MAX_PATH].split("/") if part]
    container: _Match | None = None
    home = pod_uid = outer_id = unit = before = pod_above = ""
    in_kubepods = False
    for depth, part in enumerate(parts, 1):
        in_kubepods = in_kubepods or "kubepods" in part
        uid = _pod_uid(part, in_kubepods)
        # A kubelet on the cgroupfs driver above a runtime on the systemd driver makes one directory of
        # "kubepods-…-pod<uid>.slice:cri-containerd:<id>".
        slice_, _, rest = part.partition(":")
        if rest and not uid:
            uid = _pod_uid(slice_, True)
            part = rest.replace(":", "-", 1)
        if uid:
            pod_uid, outer_id, container = uid, "", None
        found = _container(part, before, pod_above) if (not uid or rest) else None
        if found:
            # Inside a container, "pod…" counts as a pod only below another "kubepods" (a kubelet run in a container, as
            # kind does).
            in_kubepods = False
            if found.name:
                around = container.id if container else pod_uid
                found = replace(found, id="/".join(filter(None, (around, found.runtime, found.name)))[:_MAX_NAME])
            outer_id = container.id if container and container.id != found.id else outer_id
            if not container or container.id != found.id:
                home = "/" + "/".join(parts[:depth])
            container = found
        elif not container:
            unit = _unit(part, unit)
        pod_above = uid if not rest else ""
        before = part
    delegated = any(_USER.match(part) or _USER_MANAGER.match(part) for part in parts)
    if not container:
        return CgroupPath(pod_uid=pod_uid, unit=unit, delegated=delegated)
    return CgroupPath(
        runtime=container.runtime,
        container_id=container.id,
        name=container.name,
        pod_uid=pod_uid,
        home=home,
        helper=container.helper,
        outer_id=outer_id,
        virtual_machine=container.virtual_machine,
        delegated=delegated,
    )


def outermost(path: str) -> CgroupPath:
    """The identity of the first container in a path: what whoever is in it cannot choose by making cgroups."""
    parts = [part for part in path[:MAX_PATH].split("/") if part]
    for depth in range(1, len(parts) + 1):
        found = parse("/" + "/".join(parts[:depth]))
        if found.container_id:
            return found
    return parse(path)


def host_unit(path: CgroupPath) -> CgroupPath:
    """The same place, taken for the host's."""
    return CgroupPath(unit=path.unit, delegated=path.delegated)


def _pod_uid(part: str, in_kubepods: bool) -> str:
    if match := _POD_SLICE.match(part):
        return match["uid"].replace("_", "-")
    if in_kubepods and (match := _POD_DIR.match(part)):
        return match["uid"]
    return ""


def _container(part: str, before: str, pod_above: str) -> _Match | None:
    if match := _SCOPE.match(part):
        prefix = match["prefix"]
        return _Match(_RUNTIMES.get(prefix, prefix[:32]), match["id"], helper=prefix.endswith("conmon"))
    if match := _BARE.match(part):
        # Directly below libpod_parent it is podman's pod, whose containers lie one level deeper.
        return None if before == "libpod_parent" else _Match("docker" if before == "docker" else "", match["id"])
    if pod_above and _POD_CHILD.match(part) and not part.endswith((".slice", ".mount")):
        return _Match("", f"{pod_above}/{part}"[:_MAX_NAME])  # kata_overhead is the same in every pod
    return _machine(part, before)


def _machine(part: str, before: str) -> _Match | None:
    """LXC containers, systemd's machines and virtual machines, which have names."""
    if match := _LXC.match(part):
        return _Match("lxc", name=match["name"][:_MAX_NAME], helper=match["part"] == "monitor")
    if before in ("lxc", "lxc.payload", "lxc.monitor"):
        return _Match("lxc", name=part[:_MAX_NAME], helper=before == "lxc.monitor")
    if before == "buildkit" and _POD_CHILD.match(part):
        return _Match("buildkit", part)
    if match := _MACHINE.match(part):
        name = _unescape(match["name"])
        if libvirt := _LIBVIRT.match(name):
            virtual = libvirt["driver"] == "qemu"
            runtime = "libvirt" if virtual else "libvirt-lxc"
            return _Match(runtime, name=libvirt["name"][:_MAX_NAME], virtual_machine=virtual)
        return _Match("nspawn", name=name[:_MAX_NAME])
    if match := _NSPAWN.match(part):
        return _Match("nspawn", name=_unescape(match["name"])[:_MAX_NAME])
    if match := _LIBVIRT_DIR.match(part):
        return _Match("libvirt", name=match["name"][:_MAX_NAME], virtual_machine=True)
    return None


def _unescape(name: str) -> str:
    r"""Undo systemd's escaping (``\x2d`` for ``-``), systemd.unit(5)."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), name)


def _unit(part: str, unit: str) -> str:
    """The outermost service or scope; for a user's processes the user's slice, as session scopes never recur."""
    if unit.endswith((".service", ".scope")) or _USER.match(unit):
        return unit
    return part[:_MAX_NAME] if _USER.match(part) or _UNIT.match(part) else unit
