"""Pods: sums of their containers that never fall, whichever of these come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..columns import Floats, Indexes
from ..workloads.workload import Workload
from .types import Pod

Key = tuple[str, str, str]  # pod, namespace, uid
_NOBODY = ("", "", "")
# Longer than the kubelet ever waits before it starts a crashed container again (5 minutes).
REMEMBERED_SECONDS = 900.0


@dataclass
class _Past:
    """When a pod began, what its former containers used, when it last had any with a series, and what it was last said
    to have used.

    The same figures added up in another order can be less by a rounding; to Prometheus that is a reset.
    """

    began: float
    joules: float = 0.0
    seconds: float = 0.0
    seen: float = 0.0
    told: tuple[float, float] = (0.0, 0.0)

    def tell(self, joules: float, seconds: float) -> tuple[float, float]:
        """Both sums in all. ``joules``, ``seconds``: of the containers with a series."""
        before = self.told
        self.told = max(self.joules + joules, before[0]), max(self.seconds + seconds, before[1])
        return self.told


class Pods:
    """Keeps what a pod's former containers used: a restart is no reset of its counters, however long it takes."""

    def __init__(self) -> None:
        self._pasts: dict[Key, _Past] = {}

    def settle(self, workload: Workload, joules: float, seconds: float) -> None:
        """A container's series has gone, with these final values."""
        past = self._pasts.get(_key(workload))
        if past is not None:
            past.joules += joules
            past.seconds += seconds

    def publish(
        self,
        workloads: Sequence[Workload],
        joules: Floats,
        watts: Floats,
        seconds: Floats,
        began: Sequence[float],
        now: float,
    ) -> tuple[Pod, ...]:
        """The pods of these containers. ``joules``, ``watts``, ``seconds``: float64[n], one for each container, as
        ``began`` is: when it had used nothing, seconds since the epoch."""
        places = {_NOBODY: 0}  # containers without a pod are added up as well, and left out in the end
        place = np.array([places.setdefault(_key(workload), len(places)) for workload in workloads], np.intp)
        sums = [np.bincount(place, column, len(places)).tolist() for column in (joules, watts, seconds)]
        del places[_NOBODY]
        for key, first in zip(places, self._first(place, began, len(places) + 1)):
            self._pasts.setdefault(key, _Past(first)).seen = now
        forgotten = [key for key, past in self._pasts.items() if now - past.seen > REMEMBERED_SECONDS]
        for key in forgotten:
            del self._pasts[key]
        pods = []
        for (pod, namespace, uid), used, power, time_used in zip(places, *(column[1:] for column in sums)):
            past = self._pasts[pod, namespace, uid]
            all_joules, all_seconds = past.tell(used, time_used)
            pods.append(Pod(pod, namespace, uid, all_joules, power, all_seconds, past.began))
        return tuple(pods)

    @staticmethod
    def _first(place: Indexes, began: Sequence[float], places: int) -> list[float]:
        """When the first container of each pod began, without those of nobody's, which are at place 0."""
        first = np.full(places, np.inf)
        np.minimum.at(first, place, began)
        of_pods: list[float] = first[1:].tolist()
        return of_pods


def _key(workload: Workload) -> Key:
    return workload.pod, workload.namespace, workload.pod_uid
