"""Which counters of a virtual machine are one: packages or dies that all show the counter of the host.

A hypervisor may give every package of its guest the one counter that it has. Two counters of their own are hardly ever
equal to the tick; one that is shown twice is, but for a refresh that falls between the two readings. Where it goes on
without pause, dies of one package that show it are apart by what is drawn between the two readings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from ..host.fs import HostFS
from .believe import NOTHING, Believer, Verdict
from .discovery import Discovering
from .places import Places
from .source import ALL_PACKAGES, Domain

_SAMPLES = 3
"""A counter that was equal to another in so many samples in which it moved is its mirror; one that was unlike all
others in so many running is not."""
_NEAR_SAMPLES, _NEAR = 10, 0.01
"""Dies of one package are one counter, too, when in so many samples they were as far apart, or as close by, but for so
small a part of what they had grown by since the sample before."""
_PATIENCE_NS = 5_000_000_000
"""A counter that stands still for so long holds up no decision about the others."""


@dataclass(eq=False)
class Shown:
    """A counter as a source shows it. ``domain``: what it counts, were it its own. ``what``: its name in the log.

    ``position``: of its domain, None while it is not known whether the counter is its own; what it says meanwhile is
    ``held``. ``mirror``: it is another one's. ``least``: growth, in units, that tells it from others.
    """

    domain: Domain
    what: str
    believer: Believer
    position: int | None = field(default=None, init=False)
    held: Verdict = field(default=NOTHING, init=False)
    mirror: bool = field(default=False, init=False)
    least: int = field(default=0, init=False)


@dataclass
class _Suspect:
    """A counter that may be another's mirror. ``compared``: its value when it was compared last. ``alike``: in how many
    samples it was so far apart from each of the others."""

    raw: int
    moved_ns: int
    compared: int
    alike: Counter[tuple[Shown, int]] = field(default_factory=Counter)
    unlike: int = 0


@dataclass(frozen=True)
class Outcome:
    """``twin``: whose mirror a counter is, None where it is one of its own. ``mirrors``: who mirrors it."""

    counter: Shown
    twin: Shown | None
    mirrors: tuple[Shown, ...] = ()


class Mirrors:
    """Tells counters that are one from those that are not, by their readings; compares those of one component."""

    def __init__(self, *, by_growth: bool) -> None:
        """``by_growth``: counters begin when they are opened, one after the other. Those that are one stay as far apart
        as they were then; all others are equal."""
        self._by_growth = by_growth
        self._suspects: dict[Shown, _Suspect] = {}  # in the order they were met: an earlier one is never a mirror
        self._twin: dict[Shown, Shown | None] = {}
        self._told: set[Shown] = set()

    def trust(self, counter: Shown) -> None:
        """Take a counter for one of its own: there is no other of its component."""
        self._twin[counter] = None
        self._told.add(counter)

    def decide(self, readings: Mapping[Shown, int], now_ns: int) -> list[Outcome]:
        """Take a sample of all counters, raw. Returns what is now known of those that have not been told of."""
        met = [counter for counter in readings if counter not in self._suspects]
        for counter, raw in readings.items():
            suspect = self._suspects.setdefault(counter, _Suspect(raw, now_ns - 1, raw))
            if raw != suspect.raw:
                suspect.raw, suspect.moved_ns = raw, now_ns
        for counter in met if self._by_growth else ():
            self._note_alike(counter, readings)  # how far apart they begin
        moved = [counter for counter in readings if self._suspects[counter].moved_ns == now_ns]
        for counter in moved:
            if counter not in self._twin:
                self._compare(counter, moved)
        outcomes = []
        for component in {counter.domain.component for counter in self._suspects if counter not in self._told}:
            of_component = [counter for counter in self._suspects if counter.domain.component == component]
            if not any(self._holds_up(counter, now_ns) for counter in of_component):
                outcomes += [self._outcome(counter) for counter in of_component if self._is_news(counter)]
        self._told.update(outcome.counter for outcome in outcomes)
        return outcomes

    def _compare(self, counter: Shown, moved: Collection[Shown]) -> None:
        """Look for earlier counters that say the same as this one."""
        suspect = self._suspects[counter]
        growth = abs(suspect.raw - suspect.compared)
        if growth < counter.least:
            return
        suspect.compared = suspect.raw
        times = self._note_alike(counter, moved, growth)
        # How far apart counters begin is seen once before it can be seen again.
        before = 1 if self._by_growth else 0
        equal = {one for one, (_, nearly) in times.items() if nearly > before}
        suspect.unlike = 0 if equal else suspect.unlike + 1
        twins = (one for one, (seen, nearly) in times.items() if seen - before >= _SAMPLES or nearly >= _NEAR_SAMPLES)
        twin = next(twins, None)
        if twin is not None:
            self._twin[counter] = self._twin.get(twin) or twin
            suspect.alike.clear()
        elif suspect.unlike >= _SAMPLES:
            self._twin[counter] = None
            suspect.alike.clear()

    def _note_alike(self, counter: Shown, among: Collection[Shown], growth: int = 0) -> dict[Shown, tuple[int, int]]:
        """Note how far a counter, that has grown by so much, is apart from earlier ones; in how many samples it has
        been so from each by now, to the tick and nearly."""
        suspect, times = self._suspects[counter], {}
        for one, other in self._suspects.items():
            if one is counter:
                break
            if one not in among or one.domain.component != counter.domain.component:
                continue
            apart = suspect.raw - other.raw
            near = growth * _NEAR if one.domain.index == counter.domain.index != ALL_PACKAGES else 0
            if self._by_growth or abs(apart) <= near:
                suspect.alike[one, apart] += 1
                nearly = sum(
                    seen for (twin, was), seen in suspect.alike.items() if twin is one and abs(was - apart) <= near
                )
                times[one] = suspect.alike[one, apart], nearly
        return times

    def _holds_up(self, counter: Shown, now_ns: int) -> bool:
        """Whether what a counter is has yet to be found out."""
        return counter not in self._twin and now_ns - self._suspects[counter].moved_ns <= _PATIENCE_NS

    def _is_news(self, counter: Shown) -> bool:
        return counter in self._twin and counter not in self._told

    def _outcome(self, counter: Shown) -> Outcome:
        return Outcome(counter, self._twin[counter], tuple(one for one, twin in self._twin.items() if twin is counter))


class Unmirrored(Discovering):
    """A source of counters that may be one: joules are held until it is known whose they are, and one of each counts.

    ``virtual``: this is a virtual machine. On all others each counter is its own.
    """

    def __init__(
        self, fs: HostFS, places: Places | None, clock_ns: Callable[[], int], virtual: bool, *, by_growth: bool
    ) -> None:
        super().__init__(fs, places, clock_ns)
        self._virtual = virtual
        self._mirrors = Mirrors(by_growth=by_growth)
        self._undecided: list[Shown] = []

    def _meet(self, counter: Shown, of_its_kind: int) -> None:
        """Take up a counter. ``of_its_kind``: how many there are of its component now."""
        if self._virtual and of_its_kind > 1:
            self._undecided.append(counter)
            self._expect()
        else:
            self._mirrors.trust(counter)
            counter.position = self.add(counter.domain)

    def _take(self, counter: Shown, verdict: Verdict, now_ns: int) -> None:
        """Book what a reading said, and what is held; or hold it while it is not known whose it is."""
        if counter.mirror:
            return
        held = counter.held
        both = replace(verdict, joules=held.joules + verdict.joules, seconds=held.seconds + verdict.seconds)
        if counter.position is None:
            counter.held = both
        else:
            counter.held = NOTHING
            self.book(counter.position, both, now_ns, counter.what)

    def _look_for_mirrors(self, readings: Mapping[Shown, int], now_ns: int) -> None:
        """After a reading of all counters, raw."""
        for outcome in self._mirrors.decide(readings, now_ns) if self._virtual else ():
            self._take_outcome(outcome)

    def _take_outcome(self, outcome: Outcome) -> None:
        """It is known of a counter whether it is its own: from now on it is a domain, or left out.

        What is held is booked by the next reading: the meter has met the domain by then.
        """
        counter = outcome.counter
        if outcome.twin is not None:
            counter.mirror = True
            self.note(f"{counter.what} shows the same counter as {outcome.twin.what}: left out")
        else:
            # The counter that several packages show is paid by all CPUs.
            shared = any(one.domain.index != counter.domain.index for one in outcome.mirrors)
            domain = replace(counter.domain, index=ALL_PACKAGES) if shared else counter.domain
            counter.position = self.add(domain)
        self._undecided.remove(counter)
        self._expect()

    def _expect(self) -> None:
        self.expected = tuple(counter.domain for counter in self._undecided)
