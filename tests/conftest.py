"""Properties are tried without a clock: an example that takes long on a busy machine is no failure."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest
from hypothesis import settings

from tests import ahead
from tests.needs import QUICK, examples

settings.register_profile("ours", deadline=None, max_examples=examples(100))
settings.load_profile("ours")


def pytest_configure() -> None:
    # A shell has its background jobs ignore these, and whatever they start: programs that go by that would never end.
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """A verb that a test runs in this process sets up logging for all of it: the next test's log is its own."""
    log = logging.getLogger()
    level, handlers = log.level, log.handlers[:]
    yield
    log.setLevel(level)
    log.handlers[:] = handlers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ahead.waits(_fixtures(item)))  # what is prepared meanwhile comes last


def pytest_collection_finish(session: pytest.Session) -> None:
    if QUICK or session.config.option.collectonly:
        return
    ahead.begin({name for item in session.items for name in _fixtures(item)}, len(session.items))


def pytest_sessionfinish() -> None:
    ahead.finish()


def _fixtures(item: pytest.Item) -> Sequence[str]:
    return getattr(item, "fixturenames", ())


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe with no room left, to read from and to write to: a write waits, as where nobody reads."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with suppress(BlockingIOError):
        while os.write(write, b"x" * 4096):
            pass
    os.set_blocking(write, True)
    yield read, write
    os.close(read)
    os.close(write)
