"""Lists in JSON, taken one element at a time as they arrive."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, Callable

from .names import ProviderError

MAX_BODY = 64 << 20
_MAX_ELEMENT = 2 << 20  # etcd takes objects of at most 1.5 MiB
_CHUNK = 256 << 10


def as_dict(value: Any) -> dict[str, Any]:
    """``value`` where it is an object; empty for what is none."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """``value`` where it is a list; empty for what is none."""
    return value if isinstance(value, list) else []


def elements(read: Callable[[int], bytes], key: str | None = None) -> Iterator[Any]:
    """The elements of a list, or of the list under ``key`` of an object, one at a time as they arrive.

    One decoding of a 50 MB list would take several times that in memory, and hold the interpreter's lock, which the
    sampler needs, for half a second. Raises ProviderError: ``malformed`` (truncated too) or ``too-large``.
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
    if stream.peek() != "[":
        if stream.value() is None:  # Go writes an empty list as null
            return
        raise ProviderError("malformed")
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

    def _more(self) -> None:
        data = self._read(_CHUNK)
        self._taken += len(data)
        if not data:
            raise ProviderError("malformed")
        if self._taken > MAX_BODY or len(self._text) - self._at > _MAX_ELEMENT:
            raise ProviderError("too-large")
        self._text = self._text[self._at :] + self._utf8.decode(data)
        self._at = 0

    def peek(self) -> str:
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            self._more()

    def expect(self, char: str) -> None:
        if self.peek() != char:
            raise ProviderError("malformed")
        self._at += 1

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._at)
            except RecursionError:
                raise ProviderError("malformed") from None
            except ValueError:
                self._more()  # cut off, or broken: the end of the body or the size tells
                continue
            if end == len(self._text):  # a number may go on in the next chunk
                self._more()
                continue
            self._at = end
            return value
