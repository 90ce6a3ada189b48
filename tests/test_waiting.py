"""What is waited for for long is said, once."""

from __future__ import annotations

import logging
import threading

import pytest

from kepler_ebpf.waiting import log, waiting_for


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.any = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.any.set()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    handler = Heard()
    monkeypatch.setattr(log, "handlers", [handler])
    return handler


def test_it_is_said_once_while_it_is_waited_for(heard: Heard) -> None:
    with waiting_for("hwmon", seconds=0.01):
        assert heard.any.wait(30)
    assert heard.lines == ["still starting: waiting for hwmon"]


def test_what_answers_or_fails_is_not_said_and_leaves_no_thread(heard: Heard) -> None:
    before = set(threading.enumerate())

    def fail() -> None:
        with waiting_for("hwmon", seconds=3600):
            timers.extend(set(threading.enumerate()) - before)
            raise OSError("gone")

    timers: list[threading.Thread] = []
    with pytest.raises(OSError, match="gone"):
        fail()
    (timer,) = timers
    timer.join(30)
    assert not timer.is_alive()
    assert not heard.lines
