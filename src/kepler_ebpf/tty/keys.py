"""Keys one by one, as they are pressed, by name."""

from __future__ import annotations

import os
import select
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager

_NAMES = {
    **{"\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace", "\x03": "ctrl-c"},
    **{"\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left", "\x1b[Z": "backtab"},
    **{"\x1bOA": "up", "\x1bOB": "down", "\x1bOC": "right", "\x1bOD": "left"},
    **{"\x1b[5~": "pageup", "\x1b[6~": "pagedown", "\x1b[H": "home", "\x1b[F": "end", "\x1b[1~": "home"},
    **{"\x1b[4~": "end", "\x1bOH": "home", "\x1bOF": "end", "\x1b[7~": "home", "\x1b[8~": "end", "\x1b": "escape"},
}
_ESCAPE_SECONDS = 0.05  # what follows an escape within this belongs to one key


@contextmanager
def pressed_keys(fd: int) -> Iterator[Keys]:
    """Keys of this terminal, without echo, until the block ends; then it is as it was before."""
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield Keys(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


class Keys:
    """``gone``: whether nobody is at the terminal any more."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""
        self.gone = False

    def wait(self, seconds: float) -> list[str]:
        """Names of the keys that are pressed within this time; as soon as there is one."""
        if not self._read(seconds):
            return []
        if self._rest.endswith(b"\x1b") or self._rest.rpartition(b"\x1b")[2] in (b"[", b"O"):
            self._read(_ESCAPE_SECONDS)
        text = self._rest.decode("utf-8", "ignore")
        self._rest = b""
        return list(split(text))

    def _read(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        # Not select(2): descriptors may have any number.
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if not poll.poll(max(until - time.monotonic(), 0.0) * 1e3):
            return False
        data = os.read(self._fd, 1024)
        self.gone = not data
        self._rest += data
        return bool(data)


def split(text: str) -> Iterator[str]:
    """Names of the keys in what the terminal sent; a printable character is its own name."""
    while text:
        size = next((size for size in range(min(len(text), 4), 0, -1) if text[:size] in _NAMES), 1)
        if text[0] == "\x1b" and size == 1 and len(text) > 1 and text[1] in "[O":
            size = _unknown(text)  # a key that we have no name for must not type its letters
        else:
            yield _NAMES.get(text[:size], text[:size])
        text = text[size:]


def _unknown(text: str) -> int:
    """Length of a control sequence (ECMA-48, section 5.4): parameters, then one final character."""
    for place in range(2, len(text)):
        if "\x40" <= text[place] <= "\x7e":
            return place + 1
    return len(text)
