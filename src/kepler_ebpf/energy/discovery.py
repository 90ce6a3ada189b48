"""Sources that look for what they may read, at the start and again every few seconds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from ..host.fs import HostFS
from .figures import Figures, do_safely
from .places import Places

_AGAIN_NS, _SOON_NS = 5_000_000_000, 1_000_000_000


class Discovering(Figures):
    """A source that looks into ``fs`` for its counters; ``places`` says which package their numbers mean.

    What it is to read, and how, the sources that inherit this say (see :class:`EnergySource`).
    """

    name = ""

    def __init__(self, fs: HostFS, places: Places | None, clock_ns: Callable[[], int]) -> None:
        super().__init__(clock_ns)
        self._fs = fs
        self._places = places or Places()
        self._discovered_ns = self._newest_ns = clock_ns()
        self._gone = False

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _discover(self) -> None:
        """Take up what is there now."""

    def _discover_first(self) -> None:
        """At the start: whatever that raises is a fault of this source alone."""
        do_safely(self, self._discover, self._discovered_ns)

    def _looked(self, is_gone: bool) -> int:
        """At the end of a look: the time. ``is_gone``: something could not be read, so that it is to be looked for."""
        self.presses = is_gone
        self._newest_ns = self._clock_ns()
        return self._newest_ns

    def _discover_again(self, now_ns: int, *, at_once: bool = False, soon: bool = False) -> None:
        """At the end of a reading, where it is time to. ``at_once``: something has just gone. ``soon``: it is missing.

        Only once all that was read is worked out: what waits is of counters as they are now.
        """
        self._gone = self._gone or at_once
        if now_ns < self._newest_ns:
            return
        if self._gone or now_ns - self._discovered_ns > (_SOON_NS if soon else _AGAIN_NS):
            self._discovered_ns, self._gone = now_ns, False
            self._places.follow(self._fs)
            self._discover()
