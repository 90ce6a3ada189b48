"""Says what is waited for: who starts a collector and sees nothing come of it finds the reason in the log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

MOMENT_SECONDS = 5.0


@contextmanager
def waiting_for(what: str, seconds: float = MOMENT_SECONDS) -> Iterator[None]:
    """Say so in one line of the log where the block takes longer than that, by a thread that ends with the block."""
    timer = threading.Timer(seconds, log.warning, ("still starting: waiting for %s", what))
    timer.daemon = True  # what never answers keeps nobody from ending
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
