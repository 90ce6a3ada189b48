"""Answers to the live page, one at a time, in a thread that takes half of a core at most.

All of ten minutes cost some 0.1 s: whoever asks for them again and again, from a few connections, would have the
interpreter to himself. Browsers ask once a second for what is new.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from .http1 import Response

RETRY_SECONDS = 1
_MAX_WAITING = 32
_WORTH_COMPRESSING_BYTES = 2048


class Live(Protocol):
    """What tells the page."""

    def live(self, query: str) -> bytes:
        """What the page at ``/`` asks for every second, as JSON. ValueError for a query that is none.

        Called from one thread at a time, another than that of the metrics.
        """


class Viewers:
    """Gives out answers; :meth:`answer` belongs to the event loop."""

    def __init__(self, content: Live) -> None:
        self._content = content
        self._thread = ThreadPoolExecutor(1, "http-live")  # whoever looks at the page keeps no scraper waiting
        self._waiting = 0

    async def answer(self, query: str, compressed: bool) -> Response | None:
        """None where too many wait already."""
        if self._waiting >= _MAX_WAITING:
            return None
        self._waiting += 1
        # Counted until it is done, though whoever asked may have gone by then.
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._answered, query, compressed)
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def stop(self) -> None:
        """Answer no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _done(self, future: asyncio.Future[Response]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # looked at, though nobody may wait any more

    def _answered(self, query: str, compressed: bool) -> Response:
        began = time.monotonic()
        try:
            return _response(self._content.live(query), compressed)
        except ValueError as error:
            return Response(400, f"{error}\n".encode())
        finally:
            time.sleep(time.monotonic() - began)


def _response(body: bytes, compressed: bool) -> Response:
    headers: tuple[tuple[str, str], ...] = (("Cache-Control", "no-store"),)
    if compressed and len(body) > _WORTH_COMPRESSING_BYTES:
        body, headers = gzip.compress(body, 1), (*headers, ("Content-Encoding", "gzip"))
    return Response(200, body, "application/json", headers)
