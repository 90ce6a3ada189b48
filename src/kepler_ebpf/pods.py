"""Pods: sums of their containers that never fall, whichever of these come and go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .snapshot import Pod
from .workloads.identity import Workload

Key = tuple[str, str, str]  # pod, namespace, uid


class Pods:
    """Keeps what a pod's former containers used while the pod has others: a restart is no reset of its counters."""

    def __init__(self) -> None:
        self._exited: dict[Key, NDArray[np.float64]] = {}

    def expire(self, workload: Workload, joules: float, seconds: float) -> None:
        """A container's series has gone, with these final values."""
        key = _key(workload)
        if any(key):
            self._exited[key] = self._exited.get(key, np.zeros(2)) + np.array([joules, seconds])

    def publish(
        self,
        workloads: Sequence[Workload],
        joules: NDArray[np.float64],
        watts: NDArray[np.float64],
        seconds: NDArray[np.float64],
    ) -> tuple[Pod, ...]:
        """The pods of these containers. ``joules``, ``watts``, ``seconds``: float64[n], one for each."""
        positions: dict[Key, list[int]] = {}
        for position, workload in enumerate(workloads):
            key = _key(workload)
            if any(key):
                positions.setdefault(key, []).append(position)
        self._exited = {key: figures for key, figures in self._exited.items() if key in positions}
        pods = []
        for key, members in positions.items():
            exited = self._exited.get(key, np.zeros(2))
            pods.append(
                Pod(
                    *key,
                    joules=float(joules[members].sum() + exited[0]),
                    watts=float(watts[members].sum()),
                    seconds=float(seconds[members].sum() + exited[1]),
                )
            )
        return tuple(pods)


def _key(workload: Workload) -> Key:
    return workload.pod, workload.namespace, workload.pod_uid
