"""A mapped BPF array of rows as numpy columns, and what changed in it since the sample before."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from ..columns import Floats, Indexes, set_positions
from ..host.syscalls import Element

COUNTERS = ("alone_ns", "shared_ns", "cycles", "misses", "instructions")
_FRONT_STEP = 64

Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Slices:
    """What the rows that ran did in one sample or several; the rows that did not run are not mentioned.

    ``sample``: intp[n], in which, counted from 0, ascending. ``index``: intp[n], positions in the table; a row is there
    once for each package it ran on in a sample. ``package``: intp[n], rank of the package. ``alone_ns``, ``shared_ns``,
    ``cycles``, ``misses``, ``instructions``: float64[n], growth since the sample before.
    """

    sample: Indexes
    index: Indexes
    package: Indexes
    alone_ns: Floats
    shared_ns: Floats
    cycles: Floats
    misses: Floats
    instructions: Floats

    def at(self, index: Indexes) -> Slices:
        """The same slices, counted for other rows."""
        return replace(self, index=index)

    def of(self, sample: int) -> Slices:
        """Those of one sample, as if it were the only one."""
        found = self.take(slice(*self.sample.searchsorted((sample, sample + 1)).tolist()))
        return replace(found, sample=np.zeros(len(found.sample), np.intp))

    def take(self, positions: Indexes | slice) -> Slices:
        """The slices at these positions."""
        return Slices(*(getattr(self, name)[positions] for name in _COLUMNS))

    @classmethod
    def joined(cls, many: Sequence[Slices]) -> Slices:
        """All slices of several samples, one behind the other."""
        return (
            many[0] if len(many) == 1 else cls(*(np.concatenate([getattr(one, n) for one in many]) for n in _COLUMNS))
        )


_COLUMNS = tuple(field.name for field in fields(Slices))


def counted_columns(cycles: bool, misses: bool, instructions: bool) -> tuple[str, ...]:
    """Which of ``COUNTERS`` ever grow: time always, the others where there are hardware counters."""
    return tuple(name for name, there in zip(COUNTERS, (True, True, cycles, misses, instructions)) if there)


class Table:
    """Rows that the kernel takes from a stack of free ones and user space gives back.

    ``rows``: whose they are, structured as ``layout`` says. ``uses``: what they used, ``packages`` entries a row. The
    kernel writes to both at any time. ``key``: the field that is non-zero in a row in use. The first ``reserved`` rows
    are never free. ``counted``: those of ``COUNTERS`` that ever grow, time first; the others are 0, and cost nothing.
    """

    def __init__(
        self,
        rows: NDArray[np.void],
        uses: NDArray[np.void],
        key: str,
        reserved: int,
        free_rows: Element | None = None,
        counted: Collection[str] = COUNTERS,
    ) -> None:
        self.rows = rows
        self.uses = uses
        self.reserved = reserved
        self.packages = len(uses) // len(rows)
        self._key = rows[key]
        self._free = free_rows
        self._front = reserved
        self._behind = self._key[reserved : reserved + _FRONT_STEP]
        self.counted = tuple(name for name in COUNTERS if name in counted)
        self._places = [COUNTERS.index(name) for name in self.counted]
        self._columns = [uses[name] for name in self.counted]
        self._looks = self._end = 0  # how many since the latest tell, and the end of what they saw
        self._total: Words = np.zeros((len(self.counted), 0, 0), np.uint64)  # by look; what was told before them first
        # What the next looks copy, and where to, by look: to make a view costs more than to copy a thousand rows.
        self._sources: list[Words] = []
        self._targets: list[list[Words]] = []
        self._told: Words = np.zeros((len(self.counted), len(uses)), np.uint64)
        self._dtype = np.dtype([*rows.dtype.descr, *((name, "<u8") for name in COUNTERS)])

    @property
    def end(self) -> int:
        """End of the uses that the latest look saw."""
        return self._end

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
        while any(self._behind.tolist()):  # not numpy's: on cold caches that takes 100 µs more
            self._front = min(self._front + _FRONT_STEP, self.capacity)
            self._behind = self._key[self._front : self._front + _FRONT_STEP]
        return self._front

    def used(self) -> Indexes:
        """Positions of the rows in use, without the reserved ones."""
        return set_positions(self._key[: self.front()] != 0)  # a copy: the kernel may write meanwhile

    def look(self) -> None:
        """Read the counters as they are now, for :meth:`tell`. Each word is read once; the kernel may be writing a
        slice at that moment: what is not seen now is seen next time."""
        self._looks += 1
        end = self.front() * self.packages
        if end != self._end or self._looks >= len(self._targets):
            self._end = end
            self._make_room()
        for target, source in zip(self._targets[self._looks], self._sources):
            target[...] = source

    def keep(self, looks: int) -> None:
        """Forget all but the first of the looks since the latest :meth:`tell`: counters only grow, so the next look
        has what they saw."""
        self._looks = min(self._looks, looks)

    def _make_room(self) -> None:
        """For twice as many looks as there were since the latest :meth:`tell`, or for more rows."""
        counted, looks, uses = self._total.shape
        if self._looks >= looks or self._end > uses:
            wider = np.zeros((counted, max(looks, 2 * self._looks), max(uses, self._end)), np.uint64)
            wider[:, :looks, :uses] = self._total
            self._total = wider
        self._sources = [column[: self._end] for column in self._columns]
        self._targets = [list(rows) for rows in self._total[:, :, : self._end].swapaxes(0, 1)]

    def seen(self) -> Words:
        """Counters of the uses at each look since the latest :meth:`tell`, uint64[counted, looks, uses]."""
        return self._total[:, 1 : self._looks + 1, : self._end]

    def tell(self, look: Indexes, positions: Indexes, running: Words) -> Slices:
        """What every row did from look to look since the last call, slices that were open included.

        ``look``, ``positions``: intp[n], when slices were open, and their uses; ``running``: uint64[counted, n], what
        they add. That is an estimate. Where a slice turns out to be less when it ends, the row tells nothing until it
        has come to what was told already: no total falls, none is counted twice.
        """
        total, told = self._total[:, : self._looks + 1, : self._end], self._told[:, : self._end]
        total[:, 0] = told
        within = positions < self._end
        opened = look[within] + 1, positions[within]
        for column, more in zip(total, running):
            np.add.at(column, opened, more[within])
        for number in range(self._looks):
            np.maximum(total[:, number], total[:, number + 1], out=total[:, number + 1])
        told[:] = total[:, -1]
        looks, self._looks = self._looks, 0
        growth = (total[:, 1:] - total[:, :-1]).reshape(len(total), -1)
        at = set_positions(np.logical_or.reduce(growth, axis=0))
        sample = at // self._end if looks > 1 else np.zeros(len(at), np.intp)
        use = at - sample * self._end
        grown = np.zeros((len(COUNTERS), len(at)))
        for place, column in zip(self._places, growth):
            grown[place] = column.take(at)
        row, package = (use, np.zeros(len(use), np.intp)) if self.packages == 1 else divmod(use, self.packages)
        return Slices(sample, row, package, *grown)

    def read(self, index: Indexes) -> NDArray[np.void]:
        """A copy of these rows, with all that was told of them on all packages, as the fields of ``COUNTERS``."""
        rows = np.zeros(len(index), self._dtype)
        for name in self.rows.dtype.names or ():
            rows[name] = self.rows[name][index]
        for name, told in zip(self.counted, self._told):
            rows[name] = told.reshape(self.capacity, self.packages)[index].sum(axis=1)
        return rows

    def recycle(self, index: Indexes) -> None:
        """Give rows back to the kernel, cleared. Nothing may refer to them any more, and no look may be untold. Raises
        OSError."""
        if len(index):
            uses = self.uses_of(index)
            self.rows[index] = np.zeros((), self.rows.dtype)
            self.uses[uses] = np.zeros((), self.uses.dtype)
            self._told[:, uses] = 0
            self._push(np.sort(index)[::-1].tolist())

    def uses_of(self, index: Indexes) -> Indexes:
        """Positions of the uses of these rows, one row's behind the other's."""
        return (index[:, np.newaxis] * self.packages + np.arange(self.packages)).reshape(-1)

    def _push(self, rows: range | list[int]) -> None:
        assert self._free is not None
        for row in rows:
            struct.pack_into("=I", self._free.value, 0, row)
            self._free.update()


def map_rows(fd: int, dtype: np.dtype[np.void], length: int) -> NDArray[np.void]:
    """The memory of a ``BPF_F_MMAPABLE`` array map, shared with the kernel. Raises OSError."""
    memory = mmap.mmap(fd, length * dtype.itemsize, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    return np.frombuffer(memory, dtype, length)
