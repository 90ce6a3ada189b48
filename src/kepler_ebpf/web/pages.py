"""Pages of metrics, rendered one at a time: who asks for the page of all levels waits for one other page at most.

A query can ask for dozens of pages of some levels alone, too many to keep, and whoever may scrape may ask for all of
them at once. So they take turns among themselves, and only so many may wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from ..views.prometheus import Asked, Page

RETRY_SECONDS = 1
_MAX_WAITING = 4
"""Different pages of some levels alone that wait or are rendered. Two or three jobs scrape a node, in one format."""


class Metrics(Protocol):
    """What renders the pages."""

    def asked(self, accept: str, compressed: bool, query: str) -> Asked:
        """What these ask for, for :meth:`metrics`. Called in the event loop: it must not block.

        Raises UnknownLevelError for a query that asks for what is not there.
        """

    def metrics(self, accept: str, compressed: bool, query: str) -> Page:
        """Body, gzipped if so asked, and content type for an ``Accept`` header, whatever stands there.

        The same object while the snapshot is the same. Called from one thread at a time. Raises UnknownLevelError.
        """


class Pages:
    """Gives out pages; :meth:`page` belongs to the event loop."""

    def __init__(self, content: Metrics) -> None:
        self._content = content
        self._thread = ThreadPoolExecutor(1, "http-render")
        self._coming: dict[Hashable, asyncio.Task[Page]] = {}
        self._waiting = 0
        self._last: asyncio.Task[Page] | None = None  # of those that take turns

    async def page(self, accept: str, compressed: bool, query: str) -> Page | None:
        """The page; None where too many wait already. Raises UnknownLevelError."""
        asked = self._content.asked(accept, compressed, query)
        if asked.kept is not None:
            return asked.kept
        coming = self._coming.get(asked.key)
        if coming is None:
            if not asked.whole and self._waiting >= _MAX_WAITING:
                return None
            coming = self._begin(asked, accept, compressed, query)
        return await asyncio.shield(coming)  # others may wait for it after this one has gone

    def stop(self) -> None:
        """Render no further page."""
        for task in self._coming.values():
            task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _begin(self, asked: Asked, accept: str, compressed: bool, query: str) -> asyncio.Task[Page]:
        before = None if asked.whole else self._last
        task = asyncio.get_running_loop().create_task(self._render(before, accept, compressed, query))
        self._coming[asked.key] = task
        if not asked.whole:
            self._waiting, self._last = self._waiting + 1, task

        def done(task: asyncio.Task[Page]) -> None:
            del self._coming[asked.key]
            self._waiting -= not asked.whole
            if self._last is task:
                self._last = None  # it has the page
            if not task.cancelled():
                task.exception()  # looked at, though nobody may wait any more

        task.add_done_callback(done)
        return task

    async def _render(self, before: asyncio.Task[Page] | None, accept: str, compressed: bool, query: str) -> Page:
        # In the thread's own queue they would stand before a page of all levels.
        if before is not None:
            await asyncio.wait([before])
            before = None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._content.metrics, accept, compressed, query)
