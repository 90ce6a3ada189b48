"""Who a cgroup's processes work for, and what operators call it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..host.hierarchy import Hierarchy
from .cgroupfs import CgroupTree
from .fair_table import FairTable
from .homes import NOBODY_KNOWS, Claim, Homes
from .memory import WorkingSets
from .names.lookup import NameLookup
from .names.provider import NameProvider
from .owners import maker, owner_above
from .paths import CgroupPath, parse
from .text import clip
from .workload import SYSTEM, Kind, Workload

_MAX_HINTS = 16_384
_MAX_KNOWN = 65_536
_RETRY_SECONDS = 0.5
"""How long "not known yet" stands: asking costs system calls, and a sample asks for every cgroup that ran."""
_STEP_SECONDS = 0.1
_MAX_VOUCHING = 256
"""Containers inside others that the kubelet is asked for at once: a container may make such names by the thousand."""
_LONG_PATH = 256


class WorkloadResolver:
    """Workloads by cgroup id. Nothing here waits for anybody: names arrive in threads of their own.

    ``providers`` know containers that root's runtimes made. ``users``: names of containers that users' own engines
    made, by ``<uid>/<container id>``; running already, closed here. ``system_slices``: host processes by systemd unit
    instead of all in ``system``.
    """

    def __init__(
        self,
        hierarchy: Hierarchy | None,
        providers: Sequence[NameProvider] = (),
        users: NameLookup | None = None,
        *,
        system_slices: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slices = system_slices
        self._clock = clock
        self._tree = CgroupTree(hierarchy)
        self._naming = NameLookup(providers, clock)
        self._users = users or NameLookup((), clock)
        self._hints: FairTable[str] = FairTable(_MAX_HINTS)
        self._known: FairTable[Workload] = FairTable(_MAX_KNOWN)
        self._unknown: FairTable[float] = FairTable(_MAX_HINTS)  # until when it is not asked again
        self._homes = Homes()
        self._single: dict[int, tuple[str, Workload]] = {}
        self._vouching: set[str] = set()
        self._memory = WorkingSets(hierarchy)
        self._tree.scan()
        seen = (parse(path) for path in self._tree.known().values() if "kubepods" in path)
        self._has_pods = any(_is_plain_pod(one) and one.home and not self._owner(one) for one in seen)
        self._naming.start()
        self._memory.start()

    @property
    def faults(self) -> Mapping[tuple[str, str], int]:
        """Failed requests for names, by provider and reason."""
        return {**self._naming.faults, **self._users.faults}

    def single_out(self, cgroup_id: int, path: str, workload: Workload) -> None:
        """Count a cgroup and all below it for this workload, whatever their names say, from its first slice on.

        To be called before a slice of it has been looked up.
        """
        self._single[cgroup_id] = (path, workload)

    def containers(self) -> dict[str, Workload]:
        """Containers that were there at the start, by the path of their cgroup, without the names still to come."""
        found = {}
        for cgroup_id, path in list(self._tree.known().items()):
            workload = self.identify(cgroup_id)
            if workload is not None and workload.container_id:
                found[parse(path).home or path] = workload
        return found

    def wait_for_names(self, seconds: float, wait: Callable[[float], None]) -> None:
        """Until every container that was there at the start has its name, or nobody knows it; so many seconds at most.

        ``wait``: for so many seconds.
        """
        found = self.containers().values()
        for _ in range(round(seconds / _STEP_SECONDS)):
            if all(self.current(one) is not None for one in found):
                return
            wait(_STEP_SECONDS)

    def learn_path(self, cgroup_id: int, path: str) -> None:
        """Take the path a ``cgroup_mkdir`` event told: it may be gone before anybody looks.

        An event's path may be cut at its end, so a long one is looked up.
        """
        self._known.pop(cgroup_id)
        self._unknown.pop(cgroup_id)
        if not 0 < len(path) < _LONG_PATH:
            path = self._tree.path(cgroup_id) or path
        if path:
            self._hints.put(cgroup_id, path, self._maker(path))

    def identify(self, cgroup_id: int) -> Workload | None:
        """The workload of a cgroup, without the names that are still to come (:meth:`current` has those).

        None where it is not known yet whose it is: ask again.
        """
        known = self._known.get(cgroup_id)
        if known is not None:
            return known
        if self._tree.root is None or not cgroup_id:
            return SYSTEM
        if cgroup_id in self._single:
            return self._single[cgroup_id][1]
        until = self._unknown.get(cgroup_id)
        if until is not None and self._clock() < until:
            return None
        path = self._hints.get(cgroup_id) or self._tree.path(cgroup_id)
        workload = self._workload(path) if path else None
        if workload is None:
            if path:
                self._hints.put(cgroup_id, path, self._maker(path))
            self._unknown.put(cgroup_id, self._clock() + _RETRY_SECONDS, self._maker(path or ""))
            return None
        self._hints.pop(cgroup_id)
        self._unknown.pop(cgroup_id)
        self._known.put(cgroup_id, workload, self._maker(path or ""))
        return workload

    def meanwhile(self, cgroup_id: int) -> Workload:
        """The workload that pays for a cgroup until its own is known: the container around it, else the host."""
        path = self._hints.get(cgroup_id)
        outer = parse(path).outer if path else None
        claim = self._homes.find(self._owner(outer), clip(outer.container_id), outer.home) if outer else None
        if outer is None or claim is None:
            return SYSTEM
        return Workload("vm" if outer.virtual_machine else "container", claim.label)

    def is_gone(self, cgroup_id: int) -> bool:
        """Whether a cgroup is known to be there no more, whatever the events said."""
        return self._tree.is_gone(cgroup_id)

    def current(self, workload: Workload) -> Workload | None:
        """The workload with its names; None while they may still come, itself where nobody knows it."""
        if not workload.container_id or workload.container:  # the host's, or its names are known
            return workload
        lookup, key = self._whom_to_ask(workload.container_id)
        if lookup is None:
            return workload
        lookup.want(key)  # a provider that did not know it a while ago may know it now
        return None if lookup.pending(key) else self.named(workload)

    def named(self, workload: Workload) -> Workload:
        """``workload`` with the names known by now. The pod's uid stays the cgroup's: the same for a whole pod."""
        lookup, key = self._whom_to_ask(workload.container_id)
        if lookup is None:
            return workload
        name, pod = lookup.name(key), self._naming.pod(workload.pod_uid)
        if name is None:
            return replace(workload, pod=pod[0], namespace=pod[1]) if pod else workload
        # Docker lets any user set the kubelet's labels. They are trusted only if the cgroup's path shows that a kubelet
        # made the container.
        posing = bool(name.namespace) and not workload.pod_uid
        return replace(
            workload,
            container=name.container or workload.container,
            pod="" if posing else name.pod,
            namespace="" if posing else name.namespace,
            pod_uid="" if posing else workload.pod_uid or name.pod_uid,
            cpu_request=name.cpu_request,
        )

    def maker(self, cgroup_id: int) -> str:
        """Who made a cgroup: a user, a container, a part of the tree. Empty where that is not known."""
        return self._known.owner(cgroup_id) or self._hints.owner(cgroup_id) or self._unknown.owner(cgroup_id)

    def working_set(self, workload: Workload) -> int | None:
        """Bytes of memory in use as the kubelet counts them; None where they cannot be read."""
        return self._memory.bytes(workload.container_id)

    def forget_cgroup(self, cgroup_id: int) -> None:
        """Drop what is remembered of a cgroup that is gone."""
        self._hints.pop(cgroup_id)
        self._known.pop(cgroup_id)
        self._unknown.pop(cgroup_id)
        self._tree.forget(cgroup_id)

    def forget(self, workload: Workload) -> None:
        """Drop what is remembered of a container whose series has gone."""
        self._memory.forget(workload.container_id)
        lookup, key = self._whom_to_ask(workload.container_id)
        if lookup is not None:
            lookup.forget(key)
        self._homes.forget(workload.container_id)

    def close(self) -> None:
        """Stop the threads and release descriptors."""
        self._naming.close()
        self._users.close()
        self._memory.close()
        self._tree.close()

    def _workload(self, path: str) -> Workload | None:
        """The workload behind a path, as far as the path can be believed; None where that is not known yet."""
        for above, workload in self._single.values():
            if path.startswith(f"{above}/"):
                return workload
        told = parse(path)
        identity = told.outer or told
        owner = self._owner(identity)
        if told.outer is not None:
            vouched = self._is_vouched(told)
            if vouched is None:
                return None
            if vouched:
                identity, owner = told, ""
        if owner and identity.pod_uid:
            vouched = self._is_vouched(identity)
            if not vouched:
                return None if vouched is None else self._hosts(told)
            owner = ""
        if not identity.container_id:
            return self._hosts(identity)
        self._has_pods = self._has_pods or _is_plain_pod(identity)
        claim = self._homes.claim(owner, clip(identity.container_id), identity.home, helper=identity.helper)
        return self._hosts(identity) if claim is None else self._container(identity, claim)

    def _owner(self, identity: CgroupPath) -> str:
        """The user who may have made this cgroup; empty for root, whose own sessions are below ``user-0.slice``."""
        if identity.owner not in ("", "0"):
            return identity.owner
        owner = owner_above(self._tree.root, identity.home) if identity.home and self._tree.root else ""
        return NOBODY_KNOWS if owner is None else owner

    def _maker(self, path: str) -> str:
        return maker(self._tree.root, path) if self._tree.root else ""

    def _container(self, identity: CgroupPath, claim: Claim) -> Workload:
        if not identity.helper:
            self._memory.follow(claim.label, identity.home)
        kind: Kind = "vm" if identity.virtual_machine else "container"
        if identity.name or not claim.first:
            return Workload(kind, claim.label, clip(identity.name), runtime=identity.runtime)
        lookup, key = self._whom_to_ask(claim.label)
        if lookup is self._naming:
            directly_in = "" if identity.outer_id or identity.helper else identity.pod_uid
            lookup.want(key, directly_in, bool(directly_in) and self._tree.is_oldest(identity.home))
        elif lookup is not None:
            lookup.want(key)
        return Workload(kind, claim.label, pod_uid=identity.pod_uid, runtime=identity.runtime)

    def _hosts(self, identity: CgroupPath) -> Workload:
        unit = clip(identity.unit)
        return Workload("system", container=unit) if self._slices and unit else SYSTEM

    def _is_vouched(self, told: CgroupPath) -> bool | None:
        """Whether a pod's container below a user or inside another container is one; None while that may become known.

        Whoever may make cgroups can name them after any pod. A node that is itself a container (kind's) has such pods,
        and its kubelet knows them. A kubelet's pods are all in one place: where there are any at the root, those inside
        something else are nobody's.
        """
        if not told.container_id or not told.pod_uid or self._has_pods:
            return False
        name = self._naming.name(told.container_id)
        if name is not None:
            return bool(name.namespace) and name.pod_uid == told.pod_uid
        if told.container_id not in self._vouching:
            self._vouching = {one for one in self._vouching if self._naming.pending(one)}
            if len(self._vouching) >= _MAX_VOUCHING:
                return None
            self._vouching.add(told.container_id)
            self._naming.want(told.container_id)
        return None if self._naming.pending(told.container_id) else False

    def _whom_to_ask(self, label: str) -> tuple[NameLookup | None, str]:
        """Who may know the name of the container with this label, and by which key; None where nobody is believed."""
        claim = self._homes.of(label)
        if claim is None:
            return self._naming, label
        if not claim.first or claim.owner == NOBODY_KNOWS:
            return None, ""
        return (self._users, f"{claim.owner}/{claim.id}") if claim.owner else (self._naming, claim.id)


def _is_plain_pod(path: CgroupPath) -> bool:
    return bool(path.pod_uid and not path.owner and path.outer is None)
