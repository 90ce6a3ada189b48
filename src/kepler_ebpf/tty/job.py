"""A program that a shell can stop and go on with (Ctrl-Z, ``fg``) while the terminal is set up for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Job:
    """``is_disturbed``: whether we are asked to stop, or were stopped: the terminal is to be given back, and then
    :meth:`obey` called, before it is taken again."""

    def __init__(self) -> None:
        self.is_disturbed = False
        self._is_to_stop = False

    def tell(self, number: int) -> None:
        """A signal has come."""
        self.is_disturbed = True
        self._is_to_stop = number == signal.SIGTSTP

    def obey(self) -> None:
        """Stop, if that is asked of us; return when the shell goes on with us."""
        while self._is_to_stop:
            self._is_to_stop = False
            handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTSTP)  # it is done to this thread, so that nothing runs until SIGCONT
            signal.signal(signal.SIGTSTP, handler)
        self.is_disturbed = False


@contextmanager
def stopped_by_the_shell() -> Iterator[Job]:
    """Signals of job control told to a :class:`Job` until the block ends; where they are ignored they stay so."""
    job = Job()
    before = {number: signal.getsignal(number) for number in (signal.SIGTSTP, signal.SIGCONT)}
    handled = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    try:
        for number in handled:
            signal.signal(number, lambda number, _: job.tell(number))
        yield job
    finally:
        for number in handled:
            signal.signal(number, before[number])
