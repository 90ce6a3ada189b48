"""Who the rows of a recording are: rows are used again, names come late."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..columns import Indexes
from .columns import LevelColumns


@dataclass(frozen=True)
class Who:
    """A process, under one name, or a container. ``comm``, ``pid``, ``start_ns``: only of processes."""

    container_id: str
    container: str
    pod: str
    namespace: str
    comm: str = ""
    pid: int = 0
    start_ns: int = 0


@dataclass(frozen=True)
class People:
    """Who the rows of a level were.

    ``of_line``: intp[n], position in ``everyone`` of each line's; -1 where the line says that somebody has gone.
    ``place``: int64[m], row and frame of the lines that name somebody, in order, and ``named``: intp[m], whom.
    """

    everyone: tuple[Who, ...]
    of_line: Indexes
    place: NDArray[np.int64]
    named: Indexes
    frames: int

    def at(self, row: NDArray[np.int64], frame: Indexes) -> Indexes:
        """Who these rows were in these frames: intp[n]; ``len(everyone)`` where no line up to that frame says so."""
        wanted = row * self.frames + frame
        position = np.searchsorted(self.place, wanted, side="right")
        place, named = np.append(-1, self.place), np.append(len(self.everyone), self.named)
        is_known = place[position] >= row * self.frames
        return np.where(is_known, named[position], len(self.everyone)).astype(np.intp)


def containers(lines: LevelColumns, frames: int) -> People:
    """The containers of the container level: the same id is the same container, under the last names it had."""
    ids, id_words = lines.words("container_id")
    columns = [lines.words(name) for name in ("name", "pod", "namespace")]
    name = columns[0][0]
    of_word = np.array([bool(word) for word in id_words])
    # What has no id (system, kernel) is told apart by its name.
    key = np.where(of_word[ids], ids, len(id_words) + name)
    of_line, first = _numbered(key, lines)
    everyone = []
    for one, line in enumerate(first):
        at = np.flatnonzero(of_line == one)
        called, pod, namespace = (_last(column[at], words) for column, words in columns)
        everyone.append(Who(id_words[int(ids[line])], called, pod, namespace))
    return _people(tuple(everyone), of_line, lines, frames)


def _last(column: Indexes, words: list[str]) -> str:
    """The last word of a column that is not empty."""
    return next((words[code] for code in dict.fromkeys(column[::-1].tolist()) if words[code]), "")


def processes(lines: LevelColumns, known: tuple[Who, ...], frames: int) -> People:
    """The processes of the process level. ``known``: the containers, with their names."""
    name, names = lines.words("name")
    ids, id_words = lines.words("container_id")
    container, container_words = lines.words("container")
    pid, start = lines.integers("pid"), lines.integers("start_ns")
    key = _pairs(_pairs(_pairs(name, ids), container), _pairs(pid, start))
    of_line, first = _numbered(key, lines)
    by_id = {who.container_id: who for who in known if who.container_id}
    everyone = []
    for line in first:
        container_id, alone = id_words[ids[line]], container_words[container[line]]
        home = by_id.get(container_id) or Who(container_id, alone, "", "")
        everyone.append(replace(home, comm=names[name[line]], pid=int(pid[line]), start_ns=int(start[line])))
    return _people(tuple(everyone), of_line, lines, frames)


def _pairs(some: NDArray[np.int64] | Indexes, others: NDArray[np.int64] | Indexes) -> Indexes:
    """A number for each pair of numbers that there is: intp[n]."""
    _, left = np.unique(some, return_inverse=True)
    values, right = np.unique(others, return_inverse=True)
    found: Indexes = np.unique(left.astype(np.int64) * len(values) + right, return_inverse=True)[1]
    return found


def _people(everyone: tuple[Who, ...], of_line: Indexes, lines: LevelColumns, frames: int) -> People:
    named = np.flatnonzero(of_line >= 0)
    place = (lines.integers("row") * frames + lines.frame)[named]
    order = np.argsort(place, kind="stable")
    return People(everyone, of_line, place[order], of_line[named[order]], frames)


def _numbered(key: Indexes, lines: LevelColumns) -> tuple[Indexes, list[int]]:
    """The lines with the same key under one number, -1 where a line says that somebody has gone, and a line of each."""
    here = np.flatnonzero(lines.flags("there", missing=True))
    _, first, number = np.unique(key[here], return_index=True, return_inverse=True)
    of_line = np.full(len(key), -1, np.intp)
    of_line[here] = number
    return of_line, here[first].tolist()
