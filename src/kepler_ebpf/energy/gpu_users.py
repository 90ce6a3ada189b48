"""Whom a GPU's driver names as its users: by utilisation where it tells that, else by the list of processes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .gpu_calls import Calls, GpuHost, is_absent, is_refused, known_pid, reason_of
from .gpu_lists import Listed, Lists
from .gpu_samples import SampleStream
from .gpu_use import HOLD_SECONDS, NOBODY, GpuUse

_USERS_NS, _RUNNING_NS = 100_000_000, 500_000_000
"""How often users are asked for (drivers have news of them six times a second at most), and lists of processes."""
_PATIENCE_NS = round(HOLD_SECONDS * 1e9)
"""For so long utilisation may fail, or tell nobody of a busy GPU, before the list stands in for it."""
_LONGEST_STEP_NS = 1_000_000_000
_MOST_MET = 10_000


class UserFinder:
    """Asks for the users of one GPU, and hands them to ``use``.

    Utilisation is asked for each time, and counts as soon as it tells anybody. While it does not, those have the GPU's
    joules who have it open.
    """

    def __init__(self, calls: Calls, use: GpuUse, host: GpuHost, name: str) -> None:
        """``host`` is told under this ``name`` why users are not known, and that they are again."""
        self._calls = calls
        self._use = use
        self._host, self._name = host, name
        self._met: set[int] = set()  # processes that were alive when they were told of
        self._stream = SampleStream()
        self._lists = Lists()
        self._ask_ns = self._asked_ns = 0
        self._without_ns = 0  # for how long utilisation has failed, or told nobody while the GPU was busy
        self._by_list = False

    def restart(self) -> None:
        """The GPU may have begun anew, and its samples and instances."""
        self._stream, self._lists = SampleStream(), Lists()

    def due(self, now_ns: int) -> bool:
        """Whether it is time to ask."""
        return now_ns >= self._ask_ns

    def ask(self, handle: Any, load: float, now_ns: int) -> None:
        """Whatever becomes of this, energy goes on; who is not known is not charged. ``load``: of the device."""
        elapsed_ns = min(now_ns - self._asked_ns, _LONGEST_STEP_NS)
        self._asked_ns, self._ask_ns = now_ns, now_ns + _USERS_NS
        try:
            samples = self._calls.samples(handle, self._stream.since_us(now_ns, _wall_us()))
        except Exception as error:
            self._without_ns += elapsed_ns
            self._without(error, handle, now_ns)
            return
        found = self._stream.take(samples, now_ns, _wall_us())
        reason = "stamp" if self._stream.refused else ""
        if found:
            self._sampled(found, now_ns)
        elif load > 0:
            self._without_ns += elapsed_ns
        if self._without_ns >= _PATIENCE_NS:
            reason = self._ask_list(handle, now_ns) or reason
        else:
            self._notice_ends(now_ns)
        self._host.report(self._name, reason)

    # -- utilisation ------------------------------------------------------------------------------------------------

    def _sampled(self, found: Mapping[int, float], now_ns: int) -> None:
        self._without_ns = 0
        if self._by_list:
            self._by_list = False
            self._use.only(found.keys(), now_ns)  # others had been charged for having it open
        for pid, utilization in found.items():
            self._use.sample(pid, utilization, now_ns, awaited=known_pid(pid) != NOBODY)
            if pid not in self._met and self._host.is_alive(pid):
                self._met.add(pid)

    def _notice_ends(self, now_ns: int) -> None:
        """Do not let joules wait for a process that has ended; one that was never seen alive is in no view of ours."""
        for pid in self._use.silent(now_ns):
            if pid in self._met and not self._host.is_alive(pid):
                self._use.end(pid, now_ns)
                self._met.discard(pid)
        if len(self._met) > _MOST_MET:
            self._met.clear()

    # -- the list ---------------------------------------------------------------------------------------------------

    def _without(self, error: Exception, handle: Any, now_ns: int) -> None:
        """Utilisation is not told: not at all, not to us, or not for now. Only the first is no fault."""
        absent, by_list, reason = is_absent(error), self._by_list, ""
        if absent or is_refused(error) or self._without_ns >= _PATIENCE_NS:
            reason = self._ask_list(handle, now_ns)
        if absent:
            self._host.report(self._name, reason)
        elif reason or not (by_list and self._by_list):
            self._host.report(self._name, reason or reason_of(error))

    def _ask_list(self, handle: Any, now_ns: int) -> str:
        """Returns why a list could not be read, where that is a fault, or an empty word."""
        self._ask_ns = now_ns + _RUNNING_NS
        try:
            lists = self._calls.lists(handle)
        except Exception as error:
            self._by_list = False
            return "" if is_absent(error) else reason_of(error)
        self._by_list = True
        shares = self._lists.shares([self._of_the_living(listed) for listed in lists], now_ns)
        for pid, share in shares.items():
            self._use.sample(pid, share, now_ns)
        self._use.only(shares.keys(), now_ns)
        return next((listed.reason for listed in lists if listed.reason), "")

    def _of_the_living(self, listed: Listed) -> Listed:
        """Without those that have ended, whom drivers may list for ever; see :meth:`_notice_ends`."""
        if listed.pids is None:
            return listed
        alive = {pid for pid in listed.pids if self._host.is_alive(pid)}
        self._met |= alive
        return replace(listed, pids=listed.pids - (self._met - alive))


def _wall_us() -> int:
    return time.time_ns() // 1000
