"""How many requests are answered in a second, so that no flood of them takes the CPU from samples and other scrapers.

A page that is kept costs some 200 µs: an hour of asking for it as fast as it comes took a core for an hour, and where
the collector may have a part of a core only, samples had to wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PER_SECOND = 1000
AT_ONCE = 512
"""As many as there are connections: all of them may ask in the same moment."""


class Pace:
    """Turns in the order in which they are asked for: who asks late waits for all before him, whoever asks most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = -AT_ONCE / PER_SECOND + clock()

    def wait_seconds(self) -> float:
        """Take a turn, and tell how long it is until then."""
        now = self._clock()
        self._next = max(self._next, now - AT_ONCE / PER_SECOND) + 1 / PER_SECOND
        return max(0.0, self._next - now)
