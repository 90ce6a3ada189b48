"""Who is charged with idle energy whether it ran or not: a policy's weights, pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..columns import Floats, Indexes


@dataclass(frozen=True)
class Everyone:
    """All there are, those that did not run included.

    ``processes``, ``workloads``: intp[n] each, rows of either level. ``requests``: float64[n], the CPUs that each
    workload asked for.
    """

    processes: Indexes
    workloads: Indexes
    requests: Floats


def counts_everyone(policy: str) -> bool:
    """Whether an idle policy charges those too that did not run."""
    return policy in ("equal", "requests")


def idle_weights(policy: str, everyone: Everyone) -> dict[str, tuple[Indexes, Floats]]:
    """By level: everyone who is charged with idle energy, and its fraction of it.

    A level that is not there is charged by use. Processes ask for nothing, so by ``requests`` they are charged by use;
    so are containers where none asked.
    """
    found = {}
    if policy == "equal":
        found["process"] = (everyone.processes, np.ones(len(everyone.processes)))
        found["container"] = (everyone.workloads, np.ones(len(everyone.workloads)))
    elif policy == "requests":
        found["container"] = (everyone.workloads, everyone.requests)
    return {level: (rows, weights / weights.sum()) for level, (rows, weights) in found.items() if weights.sum() > 0}
