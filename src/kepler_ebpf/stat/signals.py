"""Signals while a command runs: which ones came, and a wait that any of them ends."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that ask for an end, whatever the command makes of them."""
# And all others that end who does not handle them (signal(7)): they would end us, and not the command. Not those of a
# fault of ours, and not SIGXCPU: the time that is used up is ours.
_TOLD = (
    *ENDING,
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGPWR),
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)


class Signals:
    """From here until :meth:`close` a signal ends no more than a :meth:`wait`. ``told``: those that came, in order.

    One that is ignored already (nohup, a background job) stays ignored.
    """

    def __init__(self) -> None:
        self.told: list[int] = []
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        self._before: dict[int, Any] = {}
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in _TOLD:
            self._handle(number, self._tell)
        self._handle(signal.SIGCHLD, lambda number, frame: None)

    def _handle(self, number: int, handler: Callable[[int, FrameType | None], None]) -> None:
        before = signal.getsignal(number)
        if before is not signal.SIG_IGN:
            self._before[number] = before
            signal.signal(number, handler)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self.told.append(number)

    def wait(self, seconds: float) -> None:
        """Return after so long, or when a signal has come, a child's end included."""
        if self._poll.poll(max(0.0, seconds) * 1e3):
            os.read(self._read, 4096)

    def close(self) -> None:
        """Handle them as before."""
        signal.set_wakeup_fd(self._wakeup)
        for number, before in self._before.items():
            signal.signal(number, before)
        os.close(self._read)
        os.close(self._write)


def from_terminal(number: int) -> bool:
    """Whether this signal most likely came from the keyboard, so that the command, being in our group, has it too."""
    if number not in (signal.SIGINT, signal.SIGQUIT):
        return False
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def die_of(number: int) -> None:
    """End as who is killed by this signal does, so that a shell's loop ends too."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
