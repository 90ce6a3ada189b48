"""Pods: sums of their containers that never fall, whichever of these come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..workloads.workload import Workload
from .types import Pod

Key = tuple[str, str, str]  # pod, namespace, uid
# Longer than the kubelet ever waits before it starts a crashed container again (5 minutes).
REMEMBERED_SECONDS = 900.0


@dataclass
class _Past:
    """What a pod's former containers used, float64[2] (joules, seconds), and when it last had any with a series."""

    figures: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    seen: float = 0.0


class Pods:
    """Keeps what a pod's former containers used: a restart is no reset of its counters, however long it takes."""

    def __init__(self) -> None:
        self._pasts: dict[Key, _Past] = {}

    def settle(self, workload: Workload, joules: float, seconds: float) -> None:
        """A container's series has gone, with these final values."""
        key = _key(workload)
        if key in self._pasts:
            self._pasts[key].figures += (joules, seconds)

    def publish(
        self,
        workloads: Sequence[Workload],
        joules: NDArray[np.float64],
        watts: NDArray[np.float64],
        seconds: NDArray[np.float64],
        now: float,
    ) -> tuple[Pod, ...]:
        """The pods of these containers. ``joules``, ``watts``, ``seconds``: float64[n], one for each container."""
        positions: dict[Key, list[int]] = {}
        for position, workload in enumerate(workloads):
            key = _key(workload)
            if any(key):
                positions.setdefault(key, []).append(position)
        for key in positions:
            self._pasts.setdefault(key, _Past()).seen = now
        forgotten = [key for key, past in self._pasts.items() if now - past.seen > REMEMBERED_SECONDS]
        for key in forgotten:
            del self._pasts[key]
        return tuple(
            Pod(
                *key,
                joules=float(joules[members].sum() + self._pasts[key].figures[0]),
                watts=float(watts[members].sum()),
                seconds=float(seconds[members].sum() + self._pasts[key].figures[1]),
            )
            for key, members in positions.items()
        )


def _key(workload: Workload) -> Key:
    return workload.pod, workload.namespace, workload.pod_uid
