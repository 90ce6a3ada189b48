"""Cgroup paths read as what runtimes and the kubelet mean by them. Pure functions on text.

A path is read from its root. What stands first was made by whoever manages the machine; what stands below a container
or a user's slice may have been made by that container or user, under any name (:attr:`CgroupPath.outer`,
:attr:`CgroupPath.owner`). Whether it is believed is decided in ``resolver.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from .text import MAX_NAME

MAX_PATH = 4096
"""Characters of a path that are looked at: PATH_MAX."""
_MAX_DEPTH = 40
"""Levels that are looked at. Nested runtimes stay below twenty; who nests deeper costs the sampler no more time."""

_ID = r"(?P<id>[0-9a-f]{64})"
_SCOPE = re.compile(rf"(?P<prefix>[A-Za-z][\w.-]*?)[-_]{_ID}(?:\.scope|\.service)?\Z")
# Also a scope where whoever asked systemd for it gave no prefix (getUnitName in runc's libcontainer/cgroups/systemd).
_BARE = re.compile(rf"{_ID}(?:\.scope)?\Z")
# A UUID, or for static pods a hash of the manifest (applyDefaults in the kubelet's pkg/kubelet/config/common.go). In a
# slice's name systemd reads "-" as a level, so the kubelet writes the uid's dashes as underscores.
_UID = r"(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})"
_POD_SLICE = re.compile(rf"(?:.*-)?kubepods(?:-burstable|-besteffort|-guaranteed)?-pod{_UID}\.slice\Z")
_POD_DIR = re.compile(rf"pod{_UID}\Z")
_POD_CHILD = re.compile(r"[0-9A-Za-z][\w.-]{0,252}\Z")
# Beside the sandbox: its runtime and what runs the machine, with the cgroupfs driver and with systemd's
# (gen_overhead_path in Kata's src/runtime-rs).
_OVERHEADS = ("kata_overhead", "kata-overhead.slice")
_OVERHEAD_SCOPE = re.compile(r"runtime-rs-(?P<id>[0-9A-Za-z][\w.-]*)\.scope\Z")
_KATA = re.compile(r"kata_(?!overhead\Z|sandboxed_pod\Z)(?P<id>[0-9A-Za-z][\w.-]*)\Z")
# Fargate since platform version 1.4: the task's id and a number for the container.
_FARGATE = re.compile(r"[0-9a-f]{32}-[0-9]{1,20}\Z")
# A step of a build. With the systemd driver it is a scope called like docker's containers; BuildKit's ids are 25 digits
# of base 36 (NewID in its identity/randomid.go).
_STEP = re.compile(r"(?:docker|buildkit)-(?P<id>[0-9a-z]{25})\.scope\Z")
# A step of `podman build` or `buildah`: named by buildah, in a scope of the runtime that it calls, or in none. An older
# crun adds a process id.
_BUILDAH = re.compile(r"(?:[a-z]+-)?buildah-(?P<id>buildah[0-9]{1,20}(?:-[0-9]{1,10})?)(?:\.scope)?\Z")
# A task of Nomad: the allocation's id and the task's name, with cgroup v1 no scope (its client/lib/cgroupslib).
_NOMAD = re.compile(r"(?P<allocation>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?P<name>.+?)(?P<scope>\.scope)?\Z")
# Cloud Foundry's Garden; what has more behind the id is a process beside the container, such as its health check.
_GARDEN = re.compile(r"(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){4})(?P<beside>-[\w.-]+)?\Z")
# Ids of Garden's containers in Concourse, and of containers in pods by runtimes that are neither containerd nor CRI-O.
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_MACHINE = re.compile(r"machine-(?P<name>.+)\.scope\Z")
_NSPAWN = re.compile(r"systemd-nspawn@(?P<name>.+)\.service\Z")
_LIBVIRT = re.compile(r"(?P<driver>qemu|lxc)-[0-9]{1,10}-(?P<name>.+)\Z")
_LIBVIRT_DIR = re.compile(r"(?:(?:qemu|lxc)-[0-9]{1,10}-)?(?P<name>.+)\.libvirt-(?P<driver>qemu|lxc)\Z")
_PROXMOX = re.compile(r"(?P<name>[0-9]{1,10})\.scope\Z")
_LXC = re.compile(r"lxc\.(?P<part>payload|monitor)\.(?P<name>.+)\Z")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_UNIT = re.compile(r".+\.(?:service|scope)\Z")
# logind makes these folders. Who has a folder of his own can make one of that name in it, so that it counts at this
# place from the root alone.
_USER = re.compile(r"/user\.slice/(?P<unit>user-(?P<uid>[0-9]{1,10})\.slice)(?:/|\Z)")

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

    ``container_id`` is empty on the host. LXC, nspawn and virtual machines have a ``name``, and an id that is made of
    it, of what manages them, and of the container they are in: ``lxc/web``. ``home`` is the container's own cgroup, of
    which the path may be a descendant. ``helper`` marks a cgroup beside the container that works for it (conmon, the
    LXC monitor, Kata's overhead). ``outer_id`` is the container around this one inside the same pod or host. ``unit``
    is the systemd unit of a host process, or the one that the container is in.

    ``outer``: the first container of the path, where this is another one below it. ``owner``: the number of the user
    below whose slice the path is, empty where it is below nobody's; whose other folders are, the path does not tell.
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
    owner: str = ""
    outer: CgroupPath | None = field(default=None, repr=False)


@dataclass(frozen=True)
class _Match:
    runtime: str
    id: str = ""
    name: str = ""
    helper: bool = False
    virtual_machine: bool = False


def parse(path: str) -> CgroupPath:
    """The identity behind a cgroup path of any hierarchy: the deepest container and pod, and what it is inside of.

    A path that is too long is read as far as its last whole part within ``MAX_PATH``, and ``_MAX_DEPTH`` levels of it.
    """
    parts = [part for part in whole_front(path, MAX_PATH).split("/", _MAX_DEPTH + 1)[: _MAX_DEPTH + 1] if part]
    container: _Match | None = None
    first: CgroupPath | None = None
    home = pod_uid = outer_id = before = pod_above = ""
    owner, unit = (user["uid"], user["unit"]) if (user := _USER.match(path)) else ("", "")
    in_kubepods = in_overhead = False
    for depth, part in enumerate(parts, 1):
        in_kubepods = in_kubepods or "kubepods" in part
        in_overhead = in_overhead or part in _OVERHEADS
        uid = _pod_uid(part, in_kubepods)
        # A kubelet on the cgroupfs driver above a runtime on the systemd driver makes one directory of
        # "kubepods-…-pod<uid>.slice:cri-containerd:<id>", or the same without ".slice".
        slice_, _, rest = part.partition(":")
        if rest and not uid:
            uid = _pod_uid(slice_ if slice_.endswith(".slice") else f"{slice_}.slice", True)
            part = rest.replace(":", "-", 1)
        if uid:
            pod_uid, outer_id, container = uid, "", None
        found = _container(part, before, pod_above, in_overhead) if (not uid or rest) else None
        if found:
            # Inside a container, "pod…" counts as a pod only below another "kubepods" (a kubelet run in a container, as
            # kind does).
            in_kubepods = False
            if not found.id:
                around = container.id if container else pod_uid
                found = replace(found, id="/".join(filter(None, (around, found.runtime, found.name)))[:MAX_NAME])
            outer_id = container.id if container and container.id != found.id else outer_id
            if not container or container.id != found.id:
                home = "/" + "/".join(parts[:depth])
            container = found
            first = first or _told(found, pod_uid, unit, home, outer_id, owner)
        elif not container:
            unit = _unit(part, unit)
        pod_above = uid if not rest else ""
        before = part
    if not container or not first:
        return CgroupPath(pod_uid=pod_uid, unit=unit, owner=owner, outer=first)
    told = _told(container, pod_uid, unit, home, outer_id, owner)
    return replace(told, outer=first) if first.home != told.home else told


def whole_front(path: str, most: int) -> str:
    """The path as far as its last whole part within this many characters: what is cut could be part of any name."""
    return path if len(path) <= most else path[: most + 1].rpartition("/")[0]


def _told(container: _Match, pod_uid: str, unit: str, home: str, outer_id: str, owner: str) -> CgroupPath:
    return CgroupPath(
        runtime=container.runtime,
        container_id=container.id,
        name=container.name,
        pod_uid=pod_uid,
        unit=unit,
        home=home,
        helper=container.helper,
        outer_id=outer_id,
        virtual_machine=container.virtual_machine,
        owner=owner,
    )


def _pod_uid(part: str, in_kubepods: bool) -> str:
    if match := _POD_SLICE.match(part):
        return match["uid"].replace("_", "-")
    if in_kubepods and (match := _POD_DIR.match(part)):
        return match["uid"]
    return ""


def _container(part: str, before: str, pod_above: str, in_overhead: bool) -> _Match | None:
    if before in _OVERHEADS and (match := _OVERHEAD_SCOPE.match(part)):
        return _Match("kata", match["id"][:MAX_NAME], helper=True)
    if match := _SCOPE.match(part):
        prefix = match["prefix"]
        helper = in_overhead or prefix.endswith("conmon")
        return _Match(_RUNTIMES.get(prefix, prefix[:32]), match["id"], helper=helper)
    if match := _BARE.match(part):
        # Directly below libpod_parent it is podman's pod, whose containers lie one level deeper.
        if before == "libpod_parent":
            return None
        runtime = "kata" if in_overhead else "docker" if before == "docker" else ""
        return _Match(runtime, match["id"], helper=in_overhead)
    if match := _KATA.match(part):
        return _Match("kata", match["id"][:MAX_NAME], helper=in_overhead)
    if pod_above and _UUID.match(part):
        return _Match("", part)
    if pod_above and _POD_CHILD.match(part) and not part.endswith((".slice", ".mount")):
        return _Match("", f"{pod_above}/{part}"[:MAX_NAME])  # kata_overhead is the same in every pod
    if before == "kata_overhead" and _POD_CHILD.match(part) and part != "kubepods":
        return _Match("kata", part, helper=True)
    if _FARGATE.match(part):
        return _Match("ecs", part)
    return _machine(part, before)


def _machine(part: str, before: str) -> _Match | None:
    """What has a name, or an id of its own kind: builds, Nomad, Garden, LXC, machines of systemd and libvirt."""
    if match := _STEP.match(part):
        return _Match("buildkit", match["id"], "buildkit")
    if before == "buildkit" and _POD_CHILD.match(part):
        return _Match("buildkit", part, "buildkit")
    if match := _BUILDAH.match(part):
        return _Match("buildah", match["id"], "buildah")
    if (match := _NOMAD.match(part)) and (match["scope"] or before == "nomad"):
        return _Match("nomad", f"{match['allocation']}/{match['name']}"[:MAX_NAME], match["name"][:MAX_NAME])
    if match := _GARDEN.match(part):
        return _Match("garden", match["id"], helper=bool(match["beside"]))
    if before == "garden" and _UUID.match(part):
        return _Match("garden", part)
    if match := _LXC.match(part):
        return _Match("lxc", name=match["name"][:MAX_NAME], helper=match["part"] == "monitor")
    if before in ("lxc", "lxc.payload", "lxc.monitor"):
        return _Match("lxc", name=part[:MAX_NAME], helper=before == "lxc.monitor")
    if match := _MACHINE.match(part):
        name = _unescape(match["name"])
        if libvirt := _LIBVIRT.match(name):
            return _libvirt(libvirt)
        return _Match("nspawn", name=name[:MAX_NAME])
    if match := _NSPAWN.match(part):
        return _Match("nspawn", name=_unescape(match["name"])[:MAX_NAME])
    if match := _LIBVIRT_DIR.match(part):
        return _libvirt(match)
    if before == "qemu.slice" and (match := _PROXMOX.match(part)):
        return _Match("proxmox", name=match["name"][:MAX_NAME], virtual_machine=True)
    return None


def _libvirt(match: re.Match[str]) -> _Match:
    virtual = match["driver"] == "qemu"
    return _Match("libvirt" if virtual else "libvirt-lxc", name=match["name"][:MAX_NAME], virtual_machine=virtual)


def _unescape(name: str) -> str:
    r"""Undo systemd's escaping (``\x2d`` for ``-``), systemd.unit(5)."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), name)


def _unit(part: str, unit: str) -> str:
    """The outermost service or scope; a user's slice stands for those in it, as session scopes never recur."""
    return unit or (part[:MAX_NAME] if _UNIT.match(part) else "")
