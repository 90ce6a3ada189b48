"""Lists in JSON, taken one element at a time as they arrive.

Not by ``ijson``: its prefixes grow with the nesting, so 20 KB of opening brackets took ``ijson.items`` about 1 GB of
memory (973 MiB measured). Here they are malformed JSON like any other, and cost no more than a chunk.
"""

from __future__ import annotations

import codecs
import gc
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .provider import ProviderError

MAX_BODY = 64 << 20
_MAX_ELEMENT = 256 << 10
"""Characters decoded in one go, the interpreter's lock held: about 10 ms where they are brackets throughout."""
_CHUNK = 64 << 10
_SPACE = re.compile(r"[ \t\r\n]*")
_NESTING = np.zeros(256, np.int8)
_NESTING[list(b"[{")], _NESTING[list(b"]}")] = 1, -1
_NUMBER = "+-.0123456789Ee"


def as_dict(value: Any) -> dict[str, Any]:
    """``value`` where it is an object; empty for what is none."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """``value`` where it is a list; empty for what is none."""
    return value if isinstance(value, list) else []


def elements(read: Callable[[int], bytes], key: str | None = None) -> Iterator[Any]:
    """The elements of a list, or of the list under ``key`` of an object, one at a time as they arrive.

    One decoding of a 50 MB list would take several times that in memory, and hold the interpreter's lock, which the
    sampler needs, for half a second. An element that is too large even alone comes as None: the others have nothing
    to do with it. Raises ProviderError: ``malformed`` (truncated too) or ``too-large``.
    """
    stream = _Stream(read)
    if key is not None:
        stream.expect("{")
        while True:
            found = stream.value()
            stream.expect(":")
            if found == key:
                break
            stream.value()
            stream.expect(",")
    if stream.peek() == "n" and stream.value() is None:  # Go writes an empty list as null
        return
    stream.expect("[")
    if stream.peek() == "]":
        return
    while True:
        yield stream.value()
        if stream.peek() == "]":
            return
        stream.expect(",")


class _Stream:
    """JSON tokens and values from a reader, holding no more than one value and one chunk."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._json = json.JSONDecoder()
        self._text = ""
        self._at = 0
        self._taken = 0
        self._rested = time.thread_time()

    def peek(self) -> str:
        while True:
            space = _SPACE.match(self._text, self._at)
            assert space is not None
            self._at = space.end()
            if self._at < len(self._text):
                return self._text[self._at]
            self._more()

    def expect(self, char: str) -> None:
        if self.peek() != char:
            raise ProviderError("malformed")
        self._at += 1

    def value(self) -> Any:
        """The next value; None for one that is too large, which is never held whole."""
        first = self.peek()
        while True:
            try:
                value, end = self._decode()
            except RecursionError:
                raise ProviderError("malformed") from None
            except ValueError:
                pass  # cut off, or broken: the end of the body or the size tells
            else:
                # A number may go on in the next chunk: "1" was decoded, "1e" is here, "1e5" is meant.
                if first not in _NUMBER or self._text[end : end + 3].strip(_NUMBER):
                    self._at = end
                    return value
            held = len(self._text) - self._at
            if held > _MAX_ELEMENT:
                return self._skip(first)
            # Doubled, so that all tries of a value together cost at most twice the last.
            self._more(min(2 * held, _MAX_ELEMENT + 1))

    def _decode(self) -> tuple[Any, int]:
        # JSON has no cycles to collect; looking for them doubles the time that the lock is held.
        gc.disable()
        try:
            return self._json.raw_decode(self._text, self._at)
        finally:
            gc.enable()

    def _skip(self, first: str) -> None:
        """Pass over a value by its quotes and brackets alone."""
        if first not in '"[{':
            raise ProviderError("malformed")
        depth = quoted = 0
        while True:
            # A byte for each character. Pairs of backslashes are blanked first, as they escape nothing after them.
            plain = self._text[self._at :].encode("ascii", "replace").replace(rb"\\", b"  ").replace(rb"\"", b"  ")
            marks = np.frombuffer(plain, np.uint8)
            quotes = quoted + np.cumsum(marks == ord('"'), dtype=np.int32)
            depths = depth + np.cumsum(_NESTING[marks] * (quotes % 2 == 0), dtype=np.int32)
            ends = np.flatnonzero((depths == 0) & (quotes % 2 == 0))
            if len(ends):
                self._at += int(ends[0]) + 1
                return
            depth, quoted = int(depths[-1]), int(quotes[-1])
            # A backslash left at the end escapes what the next chunk begins with.
            self._text, self._at = "\\" if plain.endswith(b"\\") else "", 0
            self._more()

    def _more(self, size: int = 0) -> None:
        """Read on, until ``size`` characters are held if the body has as many."""
        # For as long as this thread has worked: one sample asks for the interpreter's lock several times, and must not
        # meet a decoding each time.
        time.sleep(max(0.0, time.thread_time() - self._rested))
        held = [self._text[self._at :]]
        while not any(held[1:]) or sum(map(len, held)) < size:
            data = self._read(_CHUNK)
            if not data:
                break
            self._taken += len(data)
            if self._taken > MAX_BODY:
                raise ProviderError("too-large")
            held.append(self._utf8.decode(data))
        if not any(held[1:]):
            raise ProviderError("malformed")
        self._text, self._at = "".join(held), 0
        self._rested = time.thread_time()
