"""Which containers have series, under which labels, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..attribution.sampler import Sampler
from ..attribution.workload_rows import WorkloadTable
from ..columns import NODE
from ..workloads.workload import Workload
from .pods import Pods
from .types import Containers

_MAX_DEAD = 1000


@dataclass(frozen=True)
class Names:
    """How the collector asks who is who; none of these blocks.

    ``identify``: cgroup id → workload. ``current``: a workload with the names known by now, or None while they are
    being looked up and its series should wait. ``working_set``: its memory in bytes, or None. ``is_gone``: whether a
    cgroup is no more. ``forget_cgroup``, ``forget``: it is gone, and so is its series. ``faults``: counted errors by
    (provider, reason).
    """

    identify: Callable[[int], Workload]
    current: Callable[[Workload], Workload | None]
    working_set: Callable[[Workload], int | None]
    is_gone: Callable[[int], bool]
    forget_cgroup: Callable[[int], None]
    forget: Callable[[Workload], None]
    faults: Callable[[], dict[tuple[str, str], int]]


class ContainerSeries:
    """The container level from publication to publication.

    A series keeps its labels for life. It begins with its workload's first joule, once the names are known or nobody is
    likely to tell them; ends ``hold_seconds`` after its workload has died; and when so many have died that memory would
    grow (over a thousand), the oldest of those that have been published end sooner. Where a name comes too late, the
    nameless series ends like that of the dead, and another one begins at nought.
    """

    def __init__(self, sampler: Sampler, groups: WorkloadTable, names: Names, hold_seconds: float) -> None:
        self._sampler = sampler
        self._level = sampler.ledger.levels["container"]
        self._groups = groups
        self._names = names
        self._hold_seconds = hold_seconds
        self._before = self._joules()
        self.pods = Pods()

    def publish(self, seconds: float, now: float) -> Containers:
        """The series of this publication. ``seconds``: since the one before."""
        self._expire(now)
        self._rename(now)
        sampler, level = self._sampler, self._level
        shown: list[int] = []
        workloads: list[Workload] = []
        working_sets: list[int | None] = []
        pending = 0.0
        for number, group in self._groups.living():
            if not self._has_figures(number):
                continue
            if group.published is None:
                workload = self._names.current(group.workload)
                if workload is None:
                    pending += float(level.joules[: len(NODE), number].sum())
                    continue  # its joules are kept; its series begins when its name is known
                group.workload, group.published = workload, now
            shown.append(number)
            workloads.append(group.workload)
            working_sets.append(self._names.working_set(group.workload) if group.died is None else None)
        index = np.array(shown, np.intp)
        joules = self._joules()
        used = joules[index]
        used[index < len(self._before)] -= self._before[index[index < len(self._before)]]
        self._before = joules
        return Containers(
            workloads=tuple(workloads),
            joules=level.joules[:, index],
            watts=used / seconds if seconds > 0 else np.zeros(len(index)),
            max_watts=sampler.peak_watts[index],
            seconds=sampler.seconds[index],
            cycles=sampler.cycles[index],
            working_set_bytes=tuple(working_sets),
            pending_joules=pending,
            exited_joules=float(level.exited[: len(NODE)].sum()),
        )

    def _joules(self) -> NDArray[np.float64]:
        joules: NDArray[np.float64] = self._level.joules[: len(NODE)].sum(axis=0)
        return joules

    def _has_figures(self, number: int) -> bool:
        return bool(self._sampler.seconds[number] > 0 or self._level.joules[:, number].any())

    def _rename(self, now: float) -> None:
        """Begin a new life for those that were published without any name and have one by now."""
        for number, group in self._groups.living():
            before = group.workload
            if group.published is None or group.died is not None or before.container or before.pod:
                continue
            workload = self._names.current(before)
            if workload is not None and (workload.container or workload.pod):
                self._groups.begin_anew(number, workload, now)
        self._sampler.make_room()

    def _expire(self, now: float) -> None:
        """Drop groups whose series have been there long enough after their death, and the oldest of too many."""
        dead = [(group.died, number) for number, group in self._groups.living() if group.died is not None]
        dead.sort()
        surplus = len(dead) - _MAX_DEAD
        due = []
        for rank, (died, number) in enumerate(dead):
            group = self._groups.groups[number]
            assert group is not None
            if group.published is not None:
                over = rank < surplus or now - max(died, group.published) >= self._hold_seconds
            else:
                over = not self._has_figures(number) and now - died >= self._hold_seconds
            if over:
                due.append((number, group))
        numbers = np.array([number for number, _ in due], np.intp)
        joules = self._level.settle(numbers)[: len(NODE)].sum(axis=0)
        seconds = self._sampler.seconds[numbers]
        self._sampler.seconds[numbers] = self._sampler.cycles[numbers] = 0.0
        self._before[numbers[numbers < len(self._before)]] = 0.0
        for (number, group), energy, time_used in zip(due, joules.tolist(), seconds.tolist()):
            self.pods.expire(group.workload, energy, time_used)
            if self._groups.remove(number):
                self._names.forget(group.workload)
