"""One GPU's joules: by its energy counter, and by power times time while that tells nothing."""

from __future__ import annotations

from typing import Any

from .believe import NOTHING, Believer, PowerBeliever, Verdict
from .gpu_calls import Calls, GpuHost, is_absent, is_lost, is_unloaded, reason_of
from .plausible import LIMIT_HEADROOM, PLAUSIBLE_WATTS

_PATIENCE_NS = 8_000_000_000
"""For so long a counter may fail or stand still before power stands in: refreshes may be seconds apart."""
_RETRY_NS = 1_000_000_000
"""How often a counter that fails is tried, and for how long one stands still before power is asked for at all."""
_LEAST_WATTS = 1.0
"""A GPU that draws less may well have a counter that stands still."""


class GpuMeter:
    """The meter of one GPU. ``host`` is told under this ``name`` why its counter is not read, and that it is again.

    A counter that is not supported is given up for power at once and for good. One that fails, or does not move though
    the GPU draws power, covers that time itself if it goes on soon; else power does, up to the moment when the counter
    next moves.
    """

    def __init__(self, calls: Calls, handle: Any, host: GpuHost, name: str) -> None:
        self._calls = calls
        self._host, self._name = host, name
        self._counter: Believer | None = None
        self._power: PowerBeliever | None = None
        self._stands_in = False  # whether power counts, though there is a counter
        self._pending = NOTHING  # by power, since the counter last moved: told if power is to count
        self._value: int | None = None  # what the counter last showed
        self._moved_ns: int | None = None
        self._failing: Exception | None = None
        self._retry_ns = 0
        self._most_watts = PLAUSIBLE_WATTS["gpu"]
        self.ask_limit(handle)
        self._counter = self._new_counter()

    def ask_limit(self, handle: Any) -> None:
        """Read the power limit (again: by nvidia-smi -pl or dynamic boost it may be limited to more by now)."""
        limit = self._calls.limit_watts(handle)
        self._most_watts = limit * LIMIT_HEADROOM if limit else PLAUSIBLE_WATTS["gpu"]
        for believer in (self._counter, self._power):
            if believer is not None:
                believer.most_watts = self._most_watts

    @property
    def refreshes(self) -> bool:
        """Whether what it tells comes with the counter's refreshes."""
        return self._counter is not None and not self._stands_in

    @property
    def waits(self) -> bool:
        """Whether there is energy that is told later, by the counter or by power."""
        return self._pending.joules > 0

    @property
    def how(self) -> str:
        """By what it is metered, for people."""
        if self._counter is None:
            return "no energy counter: power times time"
        silent = self._stands_in or self._failing is not None
        return "its energy counter tells nothing: power times time" if silent else "energy counter"

    def read(self, handle: Any, now_ns: int) -> Verdict:
        """What it used since it last told. Raises what NVML raises where neither counter nor power answers."""
        if self._counter is None:
            assert self._power is not None
            return self._power.read(self._calls.watts(handle), now_ns)
        if self._moved_ns is None:
            self._moved_ns = now_ns
        if now_ns >= self._retry_ns:
            try:
                value = self._calls.millijoules(handle)
            except Exception as error:
                if is_absent(error):
                    return self._give_up(handle, now_ns)
                if is_lost(error) or is_unloaded(error):
                    raise
                self._failing, self._value, self._retry_ns = error, None, now_ns + _RETRY_NS
                verdict = self._instead(handle, now_ns)
                self._host.report(self._name, reason_of(error))  # of the counter alone, as power answers
                return verdict
            self._failing = None
            shown = self._shown(self._counter, value, handle, now_ns)
            if shown is not None:
                return shown
        return self._instead(handle, now_ns)

    # -- the counter ------------------------------------------------------------------------------------------------

    def _new_counter(self) -> Believer:
        counter = Believer(0, 1e-3, PLAUSIBLE_WATTS["gpu"])
        counter.most_watts = self._most_watts
        return counter

    def _shown(self, counter: Believer, value: int, handle: Any, now_ns: int) -> Verdict | None:
        """It has answered; None where power is to be looked at."""
        moved = self._value is not None and value != self._value
        self._value = value
        if not self._stands_in:
            met = counter.believed is None  # what it used before is not known
            verdict = counter.read(value, now_ns)
            if verdict.seconds > 0:
                self._host.report(self._name, "")
            if met or moved or verdict.seconds > 0 or verdict.fault:
                self._moved_ns, self._power, self._pending = now_ns, None, NOTHING
            return verdict if self._moved_ns == now_ns else None
        if not moved:
            return None
        last = self._instead(handle, now_ns)  # up to here by power, from here by the counter
        self._counter = self._new_counter()
        self._counter.read(value, now_ns)
        self._stands_in, self._power, self._moved_ns = False, None, now_ns
        return last

    def _give_up(self, handle: Any, now_ns: int) -> Verdict:
        watts = self._calls.watts(handle)
        # Not before it tells its power: where it tells neither for a moment, its counter then covers that.
        self._counter = None
        if self._power is None or not self._stands_in:
            self._power = PowerBeliever(self._most_watts)
        return self._power.read(watts, now_ns)

    # -- power ------------------------------------------------------------------------------------------------------

    def _instead(self, handle: Any, now_ns: int) -> Verdict:
        """By power, if that is to stand in for the counter."""
        assert self._moved_ns is not None
        if self._failing is None and not self._stands_in and now_ns - self._moved_ns < _RETRY_NS:
            return NOTHING
        try:
            watts = self._calls.watts(handle)
        except Exception as error:
            if is_lost(error) or is_unloaded(error):
                raise
            if self._failing is not None:
                raise self._failing from error
            return NOTHING  # a counter that stands still is all there is
        if self._power is None:
            self._power = PowerBeliever(self._most_watts)
            self._power.read(watts, self._moved_ns)
        verdict = self._power.read(watts, now_ns)
        if self._stands_in:
            return verdict
        joules, seconds = self._pending.joules + verdict.joules, self._pending.seconds + verdict.seconds
        self._pending = Verdict(joules, seconds)
        if now_ns - self._moved_ns < _PATIENCE_NS:
            return NOTHING
        if self._failing is None:
            if joules < _LEAST_WATTS * seconds or not seconds:
                self._moved_ns, self._power, self._pending = now_ns, None, NOTHING
                return NOTHING
            self._host.report(self._name, "still")
        self._stands_in, self._pending = True, NOTHING
        return Verdict(joules, seconds)
