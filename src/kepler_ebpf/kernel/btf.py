"""Where the running kernel keeps the members of its structures, by its own type information (BTF).

Format: Documentation/bpf/btf.rst of the kernel. Read by the short-lived loader only: it takes a few MiB.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KERNEL = Path("/sys/kernel/btf/vmlinux")
"""Since Linux kernel commit 341dfcf8d78e ("btf: expose BTF info through sysfs") (in v5.4), where configured."""

_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")
_TYPE = struct.Struct("=III")
_MEMBER = struct.Struct("=III")
_ENUMERATOR = struct.Struct("=Ii")
_TYPE_WORDS = 3
_STRUCT, _UNION, _ENUM, _TYPEDEF = 4, 5, 6, 8
_SOUGHT = frozenset((_STRUCT, _ENUM, _TYPEDEF))
# What follows a type by its kind: words of four bytes, and words for each of its parts.
_TRAILERS = {
    **dict.fromkeys((2, 7, 8, 9, 10, 11, 12, 16, 18), (0, 0)),
    **dict.fromkeys((1, 14, 17), (1, 0)),
    3: (3, 0),
    **dict.fromkeys((_STRUCT, _UNION, 15, 19), (0, 3)),
    **dict.fromkeys((_ENUM, 13), (0, 2)),
}


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except (struct.error, IndexError) as error:
        raise ValueError(f"cut short: {error}") from error
    except RecursionError:  # a structure that is inside of itself
        raise ValueError("nested without end") from None


class Types:
    """The types in one blob of BTF. All raise ValueError where it is none, or has kinds we know nothing of."""

    def __init__(self, data: bytes) -> None:
        with _understood():
            self._index(data)

    def _index(self, data: bytes) -> None:
        magic, _, _, header, types, length, strings, _ = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise ValueError("not BTF of this machine's byte order")
        self._data = data
        self._strings = header + strings
        self._at = array("I", (0,))  # bytes into the blob, by type id; id 0 is void
        self._named: dict[tuple[int, int], int] = {}
        first = header + types
        there = data[first : first + length]
        words = memoryview(there[: len(there) // 4 * 4]).cast("I")
        at, end = 0, length // 4
        while at < end:  # a hundred thousand times
            info = words[at + 1]
            kind = info >> 24 & 0x1F
            if kind not in _TRAILERS:
                raise ValueError(f"unknown kind {kind}")
            if kind in _SOUGHT and words[at]:
                self._named.setdefault((kind, words[at]), len(self._at))
            self._at.append(first + 4 * at)
            fixed, each = _TRAILERS[kind]
            at += _TYPE_WORDS + fixed + each * (info & 0xFFFF)

    def offset(self, structure: str, member: str) -> int:
        """Bytes from the start of ``struct structure`` to its member, also inside anonymous parts. Raises KeyError."""
        with _understood():
            for name, bits in self._members(self._find(_STRUCT, structure)):
                if name == member:
                    return bits // 8
        raise KeyError(f"struct {structure} has no member {member}")

    def enumerator(self, enum: str, name: str) -> int:
        """The value of a name of ``enum enum``. Raises KeyError."""
        at = self._at[self._find(_ENUM, enum)]
        with _understood():
            for text, value in self._parts(at, _ENUMERATOR):
                if self._text(text) == name:
                    return int(value)
        raise KeyError(f"enum {enum} has no {name}")

    def typedef(self, name: str) -> int:
        """The number of the type ``name``. Raises KeyError."""
        return self._find(_TYPEDEF, name)

    def _find(self, kind: int, name: str) -> int:
        word = self._data.find(b"\0" + name.encode() + b"\0", self._strings - 1)
        while word >= 0:
            if (kind, word + 1 - self._strings) in self._named:
                return self._named[kind, word + 1 - self._strings]
            word = self._data.find(b"\0" + name.encode() + b"\0", word + 1)
        raise KeyError(f"no type {name}")

    def _members(self, number: int) -> Iterator[tuple[str, int]]:
        at = self._at[number]
        info = _TYPE.unpack_from(self._data, at)[1]
        for text, type_, where in self._parts(at, _MEMBER):
            bits = where & 0xFFFFFF if info >> 31 else where  # with bit fields the top byte is their width
            if text:
                yield self._text(text), bits
            elif _TYPE.unpack_from(self._data, self._at[type_])[1] >> 24 & 0x1F in (_STRUCT, _UNION):
                yield from ((name, bits + inner) for name, inner in self._members(type_))

    def _parts(self, at: int, layout: struct.Struct) -> Iterator[tuple[int, ...]]:
        count = _TYPE.unpack_from(self._data, at)[1] & 0xFFFF
        first = at + _TYPE.size
        return layout.iter_unpack(self._data[first : first + layout.size * count])

    def _text(self, offset: int) -> str:
        start = self._strings + offset
        return self._data[start : self._data.index(b"\0", start)].decode("utf-8", "replace")


def kernel_types() -> Types:
    """The running kernel's. Raises OSError, and ValueError where it tells in a way that is not known here."""
    return Types(KERNEL.read_bytes())
