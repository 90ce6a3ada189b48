"""Processes that have a GPU open, and what part of it each has: for GPUs that tell no utilisation."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from .gpu_use import HOLD_SECONDS, NOBODY

_NOT_KNOWN = frozenset({NOBODY})
_KEPT_NS = round(HOLD_SECONDS * 1e9)
WHOLE_GPU = -1
"""In place of an instance's number: a GPU that is not divided."""


@dataclass(frozen=True)
class Listed:
    """``instance``: the number of a MIG instance, or ``WHOLE_GPU``. ``multiprocessors``: how many it has, 0 where that
    could not be read. ``pids``: processes that have it open, None where they could not be read, for this ``reason``.
    """

    instance: int
    multiprocessors: int
    pids: Set[int] | None
    reason: str = ""


class Lists:
    """The lists of one GPU's instances. One that cannot be read is what it was, for a while; then it is nobody's."""

    def __init__(self) -> None:
        self._multiprocessors: dict[int, int] = {}
        self._pids: dict[int, tuple[int, Set[int]]] = {}  # and when they were listed

    def shares(self, lists: Sequence[Listed], now_ns: int) -> dict[int, float]:
        """What part each process has, the sum being 1, ``NOBODY`` among them; empty where no process has it open.

        A GPU with MIG is divided by the multiprocessors of those instances that have processes. Processes of one
        instance, or of a GPU without instances, share it evenly: nothing tells which of them was busy.
        """
        parts: dict[int, float] = {}
        for listed in lists:
            if listed.multiprocessors:
                self._multiprocessors[listed.instance] = listed.multiprocessors
            if listed.pids is not None:
                self._pids[listed.instance] = now_ns, listed.pids
            listed_ns, pids = self._pids.get(listed.instance, (now_ns, _NOT_KNOWN))
            if now_ns - listed_ns > _KEPT_NS:
                pids = _NOT_KNOWN
            for pid in pids:
                part = self._multiprocessors.get(listed.instance, 0) / len(pids)
                parts[pid] = parts.get(pid, 0.0) + part
        whole = sum(parts.values())
        return {pid: part / whole for pid, part in parts.items()} if whole > 0 else {}
