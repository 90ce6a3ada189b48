"""A mapped BPF array of rows as numpy columns, and what changed in it since the sample before."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from ..host.syscalls import Element

COUNTERS = ("alone_ns", "shared_ns", "cycles", "misses")
_FRONT_STEP = 64


@dataclass(frozen=True)
class Slices:
    """What the rows that ran during one sample did in it; the rows that did not run are not mentioned.

    ``index``: intp[n], positions in the table. ``package``: intp[n], dense package index.
    ``alone_ns``, ``shared_ns``, ``cycles``, ``misses``: float64[n], growth since the sample before.
    """

    index: NDArray[np.intp]
    package: NDArray[np.intp]
    alone_ns: NDArray[np.float64]
    shared_ns: NDArray[np.float64]
    cycles: NDArray[np.float64]
    misses: NDArray[np.float64]

    def at(self, index: NDArray[np.intp]) -> Slices:
        """The same slices, counted for other rows."""
        return replace(self, index=index)

    @classmethod
    def joined(cls, many: Sequence[Slices]) -> Slices:
        """All slices of several samples, one behind the other."""
        return cls(*(np.concatenate([getattr(one, name.name) for one in many]) for name in fields(cls)))


class Table:
    """Rows that the kernel takes from a stack of free ones and user space gives back.

    ``rows``: the array itself, structured as ``layout`` says; the kernel writes to it at any time. ``key``: the field
    that is non-zero in a row in use. The first ``reserved`` rows are never free.
    """

    def __init__(self, rows: NDArray[np.void], key: str, reserved: int, free_rows: Element | None = None) -> None:
        self.rows = rows
        self.reserved = reserved
        self._key = rows[key]
        self._free = free_rows
        self._front = reserved
        self._columns = [rows[name] for name in COUNTERS]
        self._before = np.zeros((len(COUNTERS), len(rows)), np.uint64)
        self._changed = np.zeros((2, len(rows)), np.bool_)
        self._packages = rows["package"]

    @property
    def capacity(self) -> int:
        """How many rows there are, the reserved ones included."""
        return len(self.rows)

    def fill_free(self) -> None:
        """Put every row but the reserved ones on the stack of free rows, the lowest on top. Raises OSError."""
        self._push(range(self.capacity - 1, self.reserved - 1, -1))

    def front(self) -> int:
        """End of the part of the table that has ever been used.

        Free rows are handed out lowest first, so a stretch of unused rows (longer than CPUs can race for) is the end.
        """
        while self._front < self.capacity and self._key[self._front : self._front + _FRONT_STEP].any():
            self._front = min(self._front + _FRONT_STEP, self.capacity)
        return self._front

    def used(self) -> NDArray[np.intp]:
        """Positions of the rows in use, without the reserved ones."""
        return np.flatnonzero(self._key[: self.front()])

    def sample(self) -> Slices:
        """What every row did since the last call, and remember it as the new "before".

        Each word is read once. The kernel may be writing a slice at that moment: what is not seen now is seen next
        time, and a counter never goes backwards.
        """
        end = self.front()
        changed = self._changed[:, :end]
        for column, before, flags in zip(self._columns, self._before, changed):
            np.not_equal(column[:end], before[:end], out=flags)
        index = np.flatnonzero(np.logical_or(changed[0], changed[1], out=changed[0]))
        grown = np.empty((len(COUNTERS), len(index)))
        for column, before, growth in zip(self._columns, self._before, grown):
            now = column[index]
            np.subtract(now, before[index], out=growth, casting="unsafe")
            before[index] = now
        return Slices(index, self._packages[index].astype(np.intp), *grown)

    def recycle(self, index: NDArray[np.intp]) -> None:
        """Give rows back to the kernel, cleared. Nothing may refer to them any more. Raises OSError."""
        if len(index):
            self.rows[index] = np.zeros((), self.rows.dtype)
            self._before[:, index] = 0
            self._push(np.sort(index)[::-1].tolist())

    def _push(self, rows: range | list[int]) -> None:
        assert self._free is not None
        for row in rows:
            struct.pack_into("=I", self._free.value, 0, row)
            self._free.update()


def map_rows(fd: int, dtype: np.dtype[np.void], length: int) -> NDArray[np.void]:
    """The memory of a ``BPF_F_MMAPABLE`` array map, shared with the kernel. Raises OSError."""
    memory = mmap.mmap(fd, length * dtype.itemsize, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    return np.frombuffer(memory, dtype, length)
