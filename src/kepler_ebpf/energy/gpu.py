"""One GPU: what it is asked, how often, and what becomes of the answers."""

from __future__ import annotations

import math
from typing import Any

from .believe import NOTHING, Verdict
from .gpu_calls import Calls, GpuHost, is_absent, is_lost, is_unloaded, reason_of
from .gpu_meter import GpuMeter
from .gpu_use import GpuUse, Release
from .gpu_users import UserFinder
from .source import Domain

_RETRY_NS = 1_000_000_000
_LIMIT_NS = 1_000_000_000
"""No more often is its power limit read."""
_MOST_FAILURES = 3


class Gpu:
    """State of one GPU; the thread that asks NVML owns it.

    ``lost``: it is not asked until :meth:`found`. ``unmetered``: it told neither energy nor power, and is asked once
    more after each :meth:`found`. ``accepted_ns``: when the latest reading of its energy was believed. ``used_ns``:
    when it last had any load, or one that is not known.
    """

    def __init__(self, calls: Calls, handle: Any, domain: Domain, host: GpuHost) -> None:
        self.domain = domain
        self.lost = False
        self.unmetered = False
        self.accepted_ns = self.used_ns = 0
        self.refresh_seconds = math.inf
        self._calls = calls
        self._handle = handle
        self._host = host
        self._meter = self._begin()
        self._use = GpuUse()
        self._users = UserFinder(calls, self._use, host, f"{self.name}'s users")
        self._load = math.nan
        self._failures = 0
        self._retry_ns = 0
        self._limit_ns = 0
        self._reset = False
        self._ask_again = False

    @property
    def name(self) -> str:
        """As log lines name it."""
        return f"GPU {self.domain.index}"

    def _begin(self) -> GpuMeter:
        return GpuMeter(self._calls, self._handle, self._host, f"{self.name} by its energy counter")

    @property
    def well(self) -> bool:
        """Whether its energy is known at present."""
        return not (self.unmetered or self.lost or self._failures)

    def describe(self) -> str:
        """One line for people; it asks the driver."""
        how = "neither energy nor power is told: it is not metered" if self.unmetered else self._meter.how
        line = f"{self.name}: {self.domain.model} ({self.domain.uuid}), {how}"
        if self._calls.mig(self._handle):
            line += ", MIG: energy is the whole GPU's, shared by multiprocessors of the instances that have processes"
        return line

    def found(self, handle: Any) -> None:
        """It is there, under this handle."""
        self._handle = handle
        self._ask_again = True  # what was not supported may be by now: just after the start, say
        if not self.lost:
            return
        if self._reset:
            self._meter = self._begin()  # what it used meanwhile is not known, nor whether it now has a counter
            self._users.restart()
        self.lost = self._reset = False
        self._failures = self._retry_ns = 0

    def lose(self, reset: bool) -> None:
        """Ask it no more until it is found again. ``reset``: its counters may then have begun anew."""
        self.lost = True
        self._reset = self._reset or reset

    def poll(self, now_ns: int) -> Release | None:
        """Ask it, and give the joules whose users are known by now. Raises what NVML raises where that is unloaded."""
        if not self.lost and (self._ask_again or not self.unmetered) and now_ns >= self._retry_ns:
            self._ask_again = False
            try:
                self._read(now_ns)
            except Exception as error:
                self._fail(error, now_ns)
                if is_unloaded(error):
                    raise
        return self._use.release(now_ns)

    # -- energy -----------------------------------------------------------------------------------------------------

    def _read(self, now_ns: int) -> None:
        verdict = self._energy(now_ns)
        self._failures = 0
        if self.unmetered:
            return
        if verdict.fault in ("jump", "range") and now_ns >= self._limit_ns:
            self._limit_ns = now_ns + _LIMIT_NS
            self._meter.ask_limit(self._handle)  # for the next reading
        if verdict.fault:
            self._host.report(self.name, verdict.fault)
        elif verdict.seconds > 0:
            self._host.report(self.name, "")
        if self._users.due(now_ns):
            self._load = self._calls.load(self._handle)
            if self._load != 0:
                self.used_ns = now_ns
            self._users.ask(self._handle, self._load, now_ns)
        if verdict.seconds > 0 or self._meter.waits:
            self.accepted_ns = now_ns
        if verdict.seconds > 0:
            if self._meter.refreshes:
                self.refresh_seconds = min(1.1 * self.refresh_seconds, verdict.seconds)
            self._use.add(verdict.joules, now_ns - round(verdict.seconds * 1e9), now_ns, self._load)

    def _energy(self, now_ns: int) -> Verdict:
        try:
            verdict = self._meter.read(self._handle, now_ns)
        except Exception as error:
            if not is_absent(error):
                raise
            if not self.unmetered:
                self._host.report(self.name, reason_of(error))
            self.unmetered = True
            return NOTHING
        self.unmetered = False
        return verdict

    def _fail(self, error: Exception, now_ns: int) -> None:
        reason = reason_of(error)
        self._host.report(self.name, reason)
        self._failures += 1
        self._retry_ns = now_ns + _RETRY_NS
        if is_lost(error):
            self.lose(reset=True)
        elif self._failures >= _MOST_FAILURES:
            self.lose(reset=False)  # the same handle may never answer again
