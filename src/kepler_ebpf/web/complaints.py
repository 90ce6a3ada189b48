"""Log records that a client can cause, so few of them that they fill no disk."""

from __future__ import annotations

import logging
import time
from typing import Any, Callable

log = logging.getLogger(__name__)

SECONDS_BETWEEN = 60.0


class Complaints:
    """Logs each message at most once a minute; the next record of it says how many were left out. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def log(self, level: int, message: str, *arguments: object, exc_info: Any = None) -> None:
        """As ``logging.log``. ``message`` is a constant: there is an entry for each."""
        now = self._clock()
        if now - self._logged_at.get(message, -SECONDS_BETWEEN) < SECONDS_BETWEEN:
            self._left_out[message] = self._left_out.get(message, 0) + 1
            return
        self._logged_at[message] = now
        left_out = self._left_out.pop(message, 0)
        more = f" ({left_out} more in between)" if left_out else ""
        log.log(level, message + more, *arguments, exc_info=exc_info)
