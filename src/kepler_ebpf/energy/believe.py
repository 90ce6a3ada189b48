"""The one place that decides whether a reading of a meter is believed, and what it then says.

Counters wrap, reset, leap, freeze, are refreshed once a second, or hold nonsense for a moment. A :class:`Believer`
takes every raw reading of one counter and gives the joules that are accepted, with the time that they cover; a
:class:`PowerBeliever` does the same for a sensor of power.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .refresh import SLOWEST_REFRESH_NS, Refreshes

STILL_SECONDS = 5.0
"""A counter that has not changed for so long has not used anything; one of a package does not answer."""
_LEAP_FACTOR, _LEAP_WATTS, _RECENT_DECAY = 10.0, 500.0, 0.9
_BEYOND_A_LIMIT = 5
_FIRST_WATTS = 100.0  # a first change that tells more waits for the next reading: is it a second's, or a sample's?
_WORDS = (1 << 32, 1 << 64)
_LEAP_WAITS_NS = 2 * SLOWEST_REFRESH_NS  # a value that stays for longer is where the counter is


@dataclass(frozen=True)
class Verdict:
    """``joules``: accepted now. ``seconds``: the time that they cover; 0 where nothing was accepted.
    ``still_seconds``: for how long the counter stands still between refreshes, as far as that is known.

    ``fault``: why a reading, or energy that it may have held, is not believed; empty where it is. ``reset`` and
    ``jump``: it went back, or up, by more than can be; ``leap``: it went up and down again; ``gap``: it may have
    wrapped unseen; ``range``: it is outside of what the counter can show; ``negative``.
    """

    joules: float = 0.0
    seconds: float = 0.0
    fault: str = ""
    still_seconds: float = 0.0


NOTHING = Verdict()


def energy_delta(now: int, before: int, span: int) -> int:
    """Units used between two readings of a counter that wraps at ``span``, at most one wrap apart.

    A powercap zone counts from 0 to ``max_energy_range_uj`` inclusive, so its span is that value plus one unit.
    """
    return now - before if now >= before else now - before + span


@dataclass(frozen=True)
class _Point:
    value: int
    time_ns: int


@dataclass(frozen=True)
class _FirstChange:
    """It came between two readings in a row. ``held_joules``: what waits for the next one, as it seems too much.
    ``before``: the value that it changed from."""

    before: _Point
    after_ns: int
    by_ns: int
    held_joules: float


class Believer:
    """One counter.

    ``span``: units at which it wraps, 0 where that is not known: then a word of 32 or 64 bits. ``most_watts``: more
    than it can draw. Either may be set anew at any time; a limit lower than the first, exceeded steadily, is given up.
    """

    def __init__(
        self, span: int, unit_joules: float, most_watts: float, *, stands_still: bool = False, only_two: bool = False
    ) -> None:
        """``stands_still``: whether it may rightly stay the same for long (what is not a package may be off).
        ``only_two``: whether there will be no third reading that confirms a first change."""
        self.span = span
        self._unit = unit_joules
        self.most_watts = self._default_watts = most_watts
        self._beyond = 0  # readings in a row that were beyond the limit, and went on as one of its kind can
        self._stands_still = stands_still
        self._only_two = only_two
        self._last: _Point | None = None  # the latest value believed, and when it was first seen
        self._seen_ns = 0  # when that value was last seen: it changed after this
        self._told_ns = 0  # up to when its joules have been told: when it came to that value
        self._candidate: _Point | None = None  # what is not believed yet
        self._held: tuple[int, int, int] | None = None  # a leap's units and nanoseconds, and when it was seen again
        self._unchanged = False
        self._met: _FirstChange | None = None  # since the latest reading
        self._refreshes = Refreshes()
        self._recent_watts = 0.0

    @property
    def believed(self) -> tuple[int, int] | None:
        """The latest value believed, and when it was first seen (ns): all up to it has been told."""
        last = self._last if self._met is None or not self._met.held_joules else self._met.before
        return None if last is None else (last.value, last.time_ns)

    def restart(self) -> None:
        """Forget the value: what the counter does until the next reading is not ours, and its next change may date from
        a refresh before."""
        self._last = self._candidate = self._held = None
        self._recent_watts = 0.0

    def read(self, value: int, time_ns: int) -> Verdict:
        """Take a raw reading."""
        met, self._met = self._met, None
        if met is None:
            return self._read(value, time_ns)
        slow = self._last is not None and value == self._last.value
        seconds = (met.by_ns - met.after_ns) * 1e-9
        if slow:  # slower than we read: this energy was used before we met it, too
            seconds = max(seconds, SLOWEST_REFRESH_NS * 1e-9)
            self._told_ns = self._refreshes.seen(met.after_ns, met.by_ns)
        if not met.held_joules:
            return self._read(value, time_ns)
        if met.held_joules > self.most_watts * seconds + self._unit:
            self._doubt_limit(met.held_joules / seconds)
            return replace(self._read(value, time_ns), fault="jump")
        self._recent_watts = met.held_joules / seconds
        verdict = self._read(value, time_ns)
        if verdict.fault == "reset":  # it went up and down again: that was nobody's
            self._recent_watts = 0.0
            return verdict
        return Verdict(met.held_joules + verdict.joules, seconds + verdict.seconds, verdict.fault)

    def _read(self, value: int, time_ns: int) -> Verdict:
        if not 0 <= value < (self.span or _WORDS[-1]):
            return Verdict(fault="range")
        last = self._last
        if last is None:
            self._begin(value, time_ns)
            return NOTHING
        if self._held and self._candidate:
            return self._after_leap(self._held, self._candidate, value, time_ns, last)
        if value == last.value:
            return self._still(time_ns, last)
        if self.span > 0 and self._most(time_ns - self._seen_ns) >= self.span:
            self._begin(value, time_ns)
            return Verdict(fault="gap")
        candidate = self._candidate
        if candidate is None or not self._is_final(candidate, last, value, time_ns):
            units = self._units(value, last.value, time_ns - self._before_ns(last))
            if units is not None:
                return self._accept(units, value, time_ns)
        if candidate is not None and value == candidate.value:
            return NOTHING  # told once; it has not moved since
        if candidate is not None:
            self._doubt_limit((value - candidate.value) * self._unit * 1e9 / max(time_ns - candidate.time_ns, 1))
            units = self._units(value, candidate.value, time_ns - candidate.time_ns)
            if units is not None:  # it has gone on from there: that is where it is now
                self._begin(candidate.value, candidate.time_ns)
                return self._accept(units, value, time_ns)
        self._candidate = _Point(value, time_ns)
        return Verdict(fault="reset" if value < last.value else "jump")

    # -- what is possible -------------------------------------------------------------------------------------------

    def _most(self, span_ns: int) -> float:
        return self.most_watts * max(span_ns, 0) * 1e-9 / self._unit + 1

    def _is_final(self, candidate: _Point, last: _Point, value: int, time_ns: int) -> bool:
        """Whether a value that was not believed stays so, though by now there was time to draw what it tells.

        A fall that was no wrap is none later on. A jump may be a refresh that seemed to come too soon: it may take
        twice the time that it, or those before it, seemed to.
        """
        if candidate.value < last.value:
            return candidate.value <= value < last.value
        seemed_ns = max(candidate.time_ns - last.time_ns, self._refreshes.still_seconds * 1e9, SLOWEST_REFRESH_NS / 2)
        return candidate.value <= value and time_ns - last.time_ns > 2 * seemed_ns

    def _before_ns(self, last: _Point) -> int:
        """The earliest moment from which a change may date: when the value was first seen, or a refresh before."""
        return last.time_ns if self._recent_watts else last.time_ns - SLOWEST_REFRESH_NS

    def _units(self, value: int, before: int, elapsed_ns: int) -> int | None:
        """Units from one value to another, or None where no such power can be."""
        most = self._most(elapsed_ns)
        if value >= before:
            return value - before if value - before <= most else None
        spans = (self.span,) if self.span else [word for word in _WORDS if most < word]
        units = min((energy_delta(value, before, span) for span in spans if before < span), default=None)
        return units if units is not None and units <= most else None

    def _doubt_limit(self, watts: float) -> None:
        """Not believed: it went on from a value that was not believed either. Give up a limit that it exceeds
        steadily, by as much as one of its kind can."""
        self._beyond = self._beyond + 1 if self.most_watts < watts <= self._default_watts else 0
        if self._beyond >= _BEYOND_A_LIMIT:
            self.most_watts = self._default_watts

    # -- what follows -----------------------------------------------------------------------------------------------

    def _begin(self, value: int, time_ns: int, since_ns: int | None = None) -> None:
        self._last, self._seen_ns, self._candidate, self._unchanged = _Point(value, time_ns), time_ns, None, False
        self._told_ns = time_ns if since_ns is None else since_ns

    def _still(self, time_ns: int, last: _Point) -> Verdict:
        self._candidate = None
        self._seen_ns, self._unchanged = time_ns, True
        if self._stands_still and time_ns - last.time_ns >= STILL_SECONDS * 1e9:
            seconds = (time_ns - self._told_ns) * 1e-9
            self._begin(last.value, time_ns)
            return Verdict(0.0, seconds)
        return NOTHING

    def _accept(self, units: int, value: int, time_ns: int) -> Verdict:
        assert self._last is not None
        since_ns = time_ns
        self._refreshes.stood_still(self._seen_ns - self._last.time_ns)
        if self._unchanged:
            since_ns = self._refreshes.seen(self._seen_ns, time_ns)
        else:
            self._refreshes.forget()
        covered_ns = max(since_ns - self._told_ns, 1)
        if self._unchanged and not self._recent_watts:
            # The first change of a counter that is slower than we read: it began before we met it.
            covered_ns = max(covered_ns, SLOWEST_REFRESH_NS)
        watts = units * self._unit / (covered_ns * 1e-9)
        if self._recent_watts > 0 and watts > max(_LEAP_FACTOR * self._recent_watts, self._recent_watts + _LEAP_WATTS):
            self._held = (units, covered_ns, 0)
            self._candidate = _Point(value, since_ns)
            return NOTHING
        if not self._recent_watts and not self._unchanged:
            leaps = watts > _FIRST_WATTS and covered_ns < SLOWEST_REFRESH_NS and not self._only_two
            self._met = _FirstChange(self._last, self._seen_ns, time_ns, units * self._unit if leaps else 0.0)
            if leaps:
                self._begin(value, time_ns)
                return NOTHING
        return self._book(units, covered_ns, value, time_ns, since_ns)

    def _after_leap(self, held: tuple[int, int, int], leapt: _Point, value: int, time_ns: int, last: _Point) -> Verdict:
        """The next reading confirms a leap, or the counter is back where it was."""
        units, covered_ns, seen_ns = held
        if value == leapt.value and time_ns - leapt.time_ns < _LEAP_WAITS_NS:
            self._held = (units, covered_ns, time_ns)
            return NOTHING  # not refreshed yet: that is no confirmation
        self._held = self._candidate = None
        more = self._units(value, leapt.value, time_ns - last.time_ns)
        if more is not None:
            since_ns = self._refreshes.seen(seen_ns, time_ns) if more and seen_ns else time_ns
            return self._book(units + more, covered_ns + since_ns - leapt.time_ns, value, time_ns, since_ns)
        back = self._units(value, last.value, time_ns - self._before_ns(last))
        if back is None:
            self._candidate = _Point(value, time_ns)
            return Verdict(fault="reset")
        booked = self._book(back, max(time_ns - self._told_ns, 1), value, time_ns)
        return Verdict(booked.joules, booked.seconds, "leap", booked.still_seconds)

    def _book(self, units: int, covered_ns: int, value: int, time_ns: int, since_ns: int | None = None) -> Verdict:
        joules, seconds = units * self._unit, covered_ns * 1e-9
        self._recent_watts = max(joules / seconds, self._recent_watts * _RECENT_DECAY)
        self._beyond = 0
        self._begin(value, time_ns, since_ns)
        return Verdict(joules, seconds, still_seconds=self._refreshes.still_seconds)


class PowerBeliever:
    """One sensor of power, in watts. Between two readings the power is taken to go straight from one to the other.

    Over a gap so long that two readings in a row of the longest sample interval (a minute) are missing, nobody knows.
    ``may_be_off``: whether it may rightly be at 0 W. One that may not tells nothing until it is above 0 again.
    """

    def __init__(self, most_watts: float, longest_gap_seconds: float = 150.0, *, may_be_off: bool = True) -> None:
        self.most_watts = most_watts
        self._may_be_off = may_be_off
        self._untold = NOTHING
        self._longest_gap_ns = longest_gap_seconds * 1e9
        self._watts = 0.0
        self._time_ns: int | None = None

    def restart(self) -> None:
        """Forget the latest power."""
        self._time_ns, self._untold = None, NOTHING

    def read(self, watts: float, time_ns: int) -> Verdict:
        """Take a raw reading."""
        if not watts >= 0:
            return Verdict(fault="negative")
        if watts > self.most_watts:
            return Verdict(fault="range")
        before, since = self._watts, self._time_ns
        self._watts, self._time_ns = watts, time_ns
        if since is None or time_ns <= since:
            return NOTHING
        untold, self._untold = self._untold, NOTHING
        if time_ns - since > self._longest_gap_ns:
            return Verdict(fault="gap")
        seconds = (time_ns - since) * 1e-9
        told = Verdict(untold.joules + (before + watts) / 2 * seconds, untold.seconds + seconds)
        if watts > 0 or self._may_be_off:
            return told
        self._untold = told
        return NOTHING
