"""Long preparations of a few tests, begun when a run begins: they download, and the other tests need no second CPU.

A preparation is a function without arguments. Who needs what it makes calls it, and gets what is under way; in a run of
a few tests it is made when it is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Made = TypeVar("Made")

_MANY = 400
_pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
_preparations: dict[str, Callable[[], object]] = {}
_under_way: dict[str, Future[object]] = {}
_asked: set[str] = set()


def ahead(fixture: str) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
    """Begin this when the whole suite begins, if any test of it has that fixture; it is done once."""

    def declare(make: Callable[[], Made]) -> Callable[[], Made]:
        _preparations[fixture] = make

        @functools.wraps(make)
        def result() -> Made:
            if fixture not in _under_way:
                return make()
            _asked.add(fixture)
            return _under_way[fixture].result()  # type: ignore[return-value]

        return result

    return declare


def waits(fixtures: Iterable[str]) -> bool:
    """Whether a test with these fixtures waits for a preparation."""
    return not _preparations.keys().isdisjoint(fixtures)


def begin(fixtures: Iterable[str], tests: int) -> None:
    """A run of so many tests begins, which have these fixtures."""
    if tests < _MANY:
        return
    wanted = set(fixtures)
    for fixture, make in _preparations.items():
        if fixture in wanted and fixture not in _under_way:
            _under_way[fixture] = _pool.submit(make)


def finish() -> None:
    """The run is over: close what was made and nobody asked for."""
    _pool.shutdown(cancel_futures=True)
    for fixture, made in _under_way.items():
        if fixture in _asked or made.cancelled() or made.exception() is not None:
            continue
        close = getattr(made.result(), "close", None)
        if close is not None:
            close()
