"""Run the collector and serve its metrics (the default verb).

Samples the kernel's tables and the energy meters, and serves Prometheus metrics until SIGTERM or SIGINT.
Every option is also a variable; a flag wins over its variable.
"""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from collections.abc import Mapping

from ..assembly import assemble
from ..config import add_flags, from_arguments
from ..host import allocator
from ..kernel import privileges
from ..logs import set_up_logging
from ..views.selection import Selection
from ..web.server import Endpoint
from ..web.site import Site
from ..web.webconfig import WebConfig

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_flags(parser)


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Serve until told to stop. Raises UsageError and KeplerError."""
    config = from_arguments(arguments, environment)
    set_up_logging(config.log_level, config.log_format)
    try:
        stop = _Stop()
        site = Site(config.metrics_interval, Selection(config.metrics, config.namespaces))
        web = WebConfig(config.web_config) if config.web_config else None
        endpoint = Endpoint(config.listen, site, web, begin=privileges.drop)
        allocator.keep_a_little()  # before there are threads
        endpoint.start()  # first: a meter that does not answer, or a compiler, may take long, and probes want to know
        try:
            with assemble(config) as assembly:
                try:
                    log.info("listening on %s", endpoint)  # now: a start that is refused is one line
                    for note in assembly.notes:
                        log.warning("%s", note)
                    assembly.collector.start()
                    site.serve(assembly.collector, assembly.history)
                    stop.wait()
                    log.info("stopping")
                    assembly.collector.stop()
                finally:
                    endpoint.stop()  # before what it shows is closed
        finally:
            endpoint.stop()
    except _StoppedEarly:
        log.info("stopped while starting")
    return 0


class _StoppedEarly(BaseException):
    """A signal came while the collector was being put together."""


class _Stop:
    """SIGTERM and SIGINT. Until somebody waits for them the first interrupts whatever start-up is waiting for: a meter
    that does not answer, a compiler. Those that follow do nothing: what is being closed is closed to the end."""

    def __init__(self) -> None:
        self._is_told = False
        self._waiting = False
        # Not an event: a handler that sets one waits for ever where it interrupts who holds its lock, as wait() does.
        self._until_told = threading.Lock()
        self._until_told.acquire()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._tell)

    def _tell(self, *_: object) -> None:
        if self._is_told:
            return
        self._is_told = True
        self._until_told.release()
        if not self._waiting:
            raise _StoppedEarly

    def wait(self) -> None:
        """Return when told to stop."""
        self._waiting = True
        self._until_told.acquire()
