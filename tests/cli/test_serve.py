"""Signals at the start and at the end of a collector that only seems to be one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from kepler_ebpf.cli import run, serve

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = [(number, signal.getsignal(number)) for number in BOTH]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.parametrize("early", [True, False], ids=["while it starts", "while it runs"])
def test_signals_after_the_first_do_nothing(early: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    def killed() -> None:
        for number in BOTH:
            os.kill(os.getpid(), number)
            time.sleep(0.01)

    def killed_twice(*_: object) -> None:
        closed.append("collector")
        killed()

    @contextmanager
    def assemble(_: object) -> Iterator[object]:
        try:
            if early:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(10)
            collector = SimpleNamespace(
                start=lambda: threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start(), stop=killed_twice
            )
            yield SimpleNamespace(notes=(), collector=collector, history=None)
        finally:
            killed()
            closed.append("assembly")

    monkeypatch.setattr(serve, "assemble", assemble)
    monkeypatch.setattr(serve, "Endpoint", lambda *_, **__: SimpleNamespace(start=lambda: None, stop=killed))
    monkeypatch.setattr(serve, "Site", lambda *_: SimpleNamespace(serve=lambda *_: None))
    assert run(["serve", "--listen", "127.0.0.1:0"], {}) == 0
    assert closed == (["assembly"] if early else ["collector", "assembly"])


def test_signals_that_come_at_once_end_the_wait() -> None:
    stop = serve._Stop()
    timers = [threading.Timer(0.1, os.kill, (os.getpid(), number)) for number in BOTH * 20]
    for timer in timers:
        timer.start()
    stop.wait()
    for timer in timers:
        timer.join()
