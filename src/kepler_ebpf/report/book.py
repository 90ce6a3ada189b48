"""A recording as a book: frame by frame what was measured, and who was charged with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns import NODE, Floats, Indexes
from ..errors import KeplerError
from ..recording.reader import Recording
from . import people
from .columns import LevelColumns
from .people import People, Who


@dataclass(frozen=True)
class Charges:
    """Who was charged at one level: in frame ``frame[k]`` ``everyone[who[k]]`` with ``joules[:, k]``.

    ``who``, ``frame``: intp[n]; somebody may be there several times in a frame. ``joules``: float64[3, n] by component
    of ``NODE``. ``cpu_seconds``: float64[n].
    """

    everyone: tuple[Who, ...]
    who: Indexes
    frame: Indexes
    joules: Floats
    cpu_seconds: Floats


@dataclass(frozen=True)
class Book:
    """f frames.

    ``end_us``: int64[f], microseconds since the epoch. ``seconds``: float64[f], the wall time of each;
    ``busy_seconds``: float64[f], everybody's CPU time in it. ``measured``, ``idle``, ``unattributed``: float64[3, f],
    joules by component. ``covered_seconds``: float64[3, f], the time that
    the joules of a component cover, 0 where nothing was read. ``watts``: float64[3, f], power at the latest reading.
    ``levels``: ``process`` and ``container``. ``sources``: the meters that told the node's energy. ``rules``: how
    energy is shared here. ``info``: facts of the machine. ``damage``: as in :class:`Recording`.
    """

    path: Path
    end_us: NDArray[np.int64]
    seconds: Floats
    busy_seconds: Floats
    measured: Floats
    idle: Floats
    unattributed: Floats
    covered_seconds: Floats
    watts: Floats
    levels: Mapping[str, Charges]
    sources: tuple[str, ...]
    rules: Mapping[str, Any]
    info: Mapping[str, str]
    damage: str

    @property
    def duration_seconds(self) -> float:
        """Wall time that all frames took."""
        return float(self.seconds.sum())

    @property
    def is_modelled(self) -> bool:
        """Whether any power was a model's."""
        return "model" in self.sources

    @property
    def is_metered(self) -> NDArray[np.bool_]:
        """Which components any meter told the energy of: bool[3]. What of others is 0 is not known."""
        return np.asarray((self.covered_seconds > 0).any(axis=1))

    def line_watts(self, charges: Charges) -> Floats:
        """Power of each line while its frame's joules were used: float64[n]."""
        inverse = np.divide(
            1.0, self.covered_seconds, out=np.zeros_like(self.covered_seconds), where=self.covered_seconds > 0
        )
        watts: Floats = (charges.joules * inverse[:, charges.frame]).sum(axis=0)
        return watts


@dataclass(frozen=True)
class Lines:
    """The lines of a recording that attribution was made from, level by level, and who they are about."""

    node: LevelColumns
    domains: LevelColumns
    levels: Mapping[str, LevelColumns]
    people: Mapping[str, People]

    @property
    def frames(self) -> int:
        return len(self.node)


def lines_of(recording: Recording) -> Lines:
    """Raises KeplerError where there is no frame."""
    node = LevelColumns(recording, "node")
    if not len(node):
        where = recording.damage or f"{recording.path} holds no frame"
        raise KeplerError(where.removesuffix(": what stands before it was read"))
    levels = {name: LevelColumns(recording, name) for name in ("process", "container")}
    boxes = people.containers(levels["container"], len(node))
    known = {"process": people.processes(levels["process"], boxes.everyone, len(node)), "container": boxes}
    return Lines(node, LevelColumns(recording, "domain"), levels, known)


def book(recording: Recording, lines: Lines) -> Book:
    """The books as they were recorded."""
    measured = lines.node.joules()
    watts, covered, sources = _meters(lines, measured)
    return Book(
        recording.path,
        lines.node.integers("end"),
        lines.node.numbers("seconds"),
        lines.node.filled("cpu_seconds"),
        measured,
        LevelColumns(recording, "idle").joules(),
        LevelColumns(recording, "unattributed").joules(),
        covered,
        watts,
        {name: _charges(level, lines.people[name]) for name, level in lines.levels.items()},
        sources,
        recording.rules,
        recording.info,
        recording.damage,
    )


def _charges(level: LevelColumns, known: People) -> Charges:
    joules, seconds = level.joules(), level.filled("cpu_seconds")
    used = np.flatnonzero((known.of_line >= 0) & ((joules > 0).any(axis=0) | (seconds > 0)))
    return Charges(known.everyone, known.of_line[used], level.frame[used], joules[:, used], seconds[used])


def _meters(lines: Lines, measured: Floats) -> tuple[Floats, Floats, tuple[str, ...]]:
    """Watts and covered seconds by component and frame, as :attr:`Frame.covered_seconds` has them, and the sources."""
    domains, shape = lines.domains, (len(NODE), lines.frames)
    codes, words = domains.words("component")
    position: dict[str, int] = {component: number for number, component in enumerate(NODE)}
    component = np.array([position.get(word, -1) for word in words], np.intp)[codes]
    take = np.flatnonzero(component >= 0)
    place = component[take] * lines.frames + domains.frame[take]
    watts: Floats = np.bincount(place, domains.filled("watts")[take], shape[0] * shape[1]).astype(np.float64)
    watts = watts.reshape(shape)
    longest = np.zeros(shape[0] * shape[1])
    np.maximum.at(longest, place, domains.filled("read_seconds")[take])
    covered = np.divide(measured, watts, out=longest.reshape(shape), where=watts > 0)
    # Energy of which no meter says the time was used in its frame: nothing that was measured is lost from a picture.
    covered = np.where((measured > 0) & (covered <= 0), lines.node.numbers("seconds"), covered)
    codes, words = domains.words("source")
    return watts, covered, tuple(dict.fromkeys(words[code] for code in codes[take].tolist()))
