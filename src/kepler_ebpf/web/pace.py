"""How many requests are answered, and handshakes made, in a second: no flood takes the CPU from samples and scrapers.

A page that is kept costs some 200 µs: an hour of asking for it as fast as it comes took a core for an hour, and where
the collector may have a part of a core only, samples had to wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PER_SECOND = 1000
HANDSHAKE_TURNS = 2
"""A TLS handshake costs some 800 µs: whoever made one and went had a core without a single request, half of one now.
With more turns, probes behind a flood of them would come too late."""
AT_ONCE = 512
"""As many as there are connections: all of them may ask in the same moment."""


class Pace:
    """Turns in the order in which they are asked for: who asks late waits for all before him, whoever asks most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = -AT_ONCE / PER_SECOND + clock()

    def wait_seconds(self, turns: int = 1) -> float:
        """Take so many turns, and tell how long it is until then."""
        now = self._clock()
        self._next = max(self._next, now - AT_ONCE / PER_SECOND) + turns / PER_SECOND
        return max(0.0, self._next - now)
