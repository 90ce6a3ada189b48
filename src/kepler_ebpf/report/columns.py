"""The columns of a recording as numpy arrays, level by level."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns import NODE, Floats, Indexes
from ..recording.reader import Recording

JOULES = tuple(f"{component}_joules" for component in NODE)


class LevelColumns:
    """The lines of one level, in the order in which they were written; that is the order of frames."""

    def __init__(self, recording: Recording, name: str) -> None:
        self._table = recording.level(name).combine_chunks()
        self.frame: Indexes = self.numbers("frame").astype(np.intp)

    def __len__(self) -> int:
        return len(self.frame)

    def numbers(self, name: str) -> Floats:
        """A column of numbers, float64[n]; NaN where a line has none."""
        column = self._table[name].cast("float64").to_numpy()
        return np.asarray(column, np.float64)

    def filled(self, name: str) -> Floats:
        """A column of numbers, float64[n]; 0 where a line has none."""
        return np.nan_to_num(self.numbers(name))

    def integers(self, name: str) -> NDArray[np.int64]:
        """A column of whole numbers, int64[n]; -1 where a line has none."""
        column = self._table[name].cast("int64").fill_null(-1).to_numpy()
        return np.asarray(column, np.int64)

    def flags(self, name: str, missing: bool = False) -> NDArray[np.bool_]:
        """A column of truth values, bool[n]."""
        return np.asarray(self._table[name].fill_null(missing).to_numpy(), np.bool_)

    def joules(self) -> Floats:
        """Joules by component: float64[3, n]."""
        return np.stack([self.filled(name) for name in JOULES])

    def words(self, name: str) -> tuple[Indexes, list[str]]:
        """A column of words as positions in a list of them, intp[n]; a line without a word has the empty one."""
        column: Any = self._table[name].combine_chunks()
        if hasattr(column, "num_chunks"):  # no chunk at all
            return np.zeros(0, np.intp), [""]
        words = [*column.dictionary.to_pylist(), ""]
        return column.indices.fill_null(len(words) - 1).to_numpy().astype(np.intp), words
