"""Attribution again from what was recorded: the same functions as live, with the same rules or others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..attribution.charging import GpuUsers
from ..attribution.domains import reading
from ..attribution.everyone import Everyone
from ..attribution.frame import Frame, Layout, Reading, Stretch
from ..attribution.framing import Rules, clocks, clocks_told, make_frames
from ..attribution.stretches import Stretches
from ..columns import GPU, NODE, WORKLOAD, Floats, Indexes
from ..errors import KeplerError
from ..kernel.table import Slices
from ..recording.reader import Recording
from .book import Book, Charges, Lines, book
from .columns import LevelColumns
from .people import People, Who


def attribute_again(
    recording: Recording, lines: Lines, idle_policy: str | None = None, hyperthread_ratio: float | None = None
) -> Book:
    """The books as they would be under another idle policy, or ratio of hyperthreads; None: as recorded.

    Raises KeplerError where a recording contradicts itself.
    """
    rules = _rules(recording)
    rules = replace(
        rules,
        idle_policy=idle_policy or rules.idle_policy,
        hyperthread_ratio=rules.hyperthread_ratio if hyperthread_ratio is None else hyperthread_ratio,
    )
    before = book(recording, lines)
    idle, unattributed = np.zeros_like(before.idle), np.zeros_like(before.idle)
    found: dict[str, list[tuple[int, Indexes, Floats]]] = {level: [] for level in lines.levels}
    if not _agree_on_gpus(lines):
        raise KeplerError(f"{recording.path}: damaged: users of GPUs are others at the two levels")
    for number, frame in enumerate(frames(lines, rules)):
        idle[:, number], unattributed[:, number] = frame.idle, frame.unattributed
        for level, entry in (("process", frame.process), ("container", frame.container)):
            found[level].append((number, entry.index, entry.joules[: len(NODE)]))
    told = {"idle_policy": rules.idle_policy, "hyperthread_ratio": rules.hyperthread_ratio}
    return replace(
        before,
        idle=idle,
        unattributed=unattributed,
        levels={level: _charges(before.levels[level], lines.people[level], pieces) for level, pieces in found.items()},
        rules={**recording.rules, **told},
    )


def _rules(recording: Recording) -> Rules:
    told = dict(recording.rules)
    overflow = {level: np.array(rows, np.intp) for level, rows in told.pop("overflow").items()}
    return Rules(**told, overflow=overflow)


def _charges(before: Charges, known: People, pieces: list[tuple[int, Indexes, Floats]]) -> Charges:
    """CPU time as it was recorded, energy as it is charged now."""
    frame = np.concatenate([np.full(len(rows), number, np.intp) for number, rows, _ in pieces])
    rows = np.concatenate([rows for _, rows, _ in pieces])
    joules = np.concatenate([joules for _, _, joules in pieces], axis=1)
    who = known.at(rows.astype(np.int64), frame)
    ran = np.flatnonzero(before.cpu_seconds)
    return Charges(
        # Other rules may charge a row that stands in for others, and that nobody was charged with by the recorded ones.
        (*before.everyone, Who("", "", "", "")),
        np.concatenate((before.who[ran], who)),
        np.concatenate((before.frame[ran], frame)),
        np.concatenate((np.zeros((len(NODE), len(ran))), joules), axis=1),
        np.concatenate((before.cpu_seconds[ran], np.zeros(len(who)))),
    )


def _agree_on_gpus(lines: Lines) -> bool:
    """Whether both levels have as many lines with a GPU's energy in every frame (:func:`_gpu_users`)."""
    process, container = (level.frame[np.flatnonzero(level.joules()[GPU])] for level in lines.levels.values())
    return np.array_equal(process, container)


def frames(lines: Lines, rules: Rules) -> Iterator[Frame]:
    """Every frame of a recording, made again."""
    stretches = Stretches(clocks(rules.packages))
    ran = {level: _Ran(columns) for level, columns in lines.levels.items()}
    meters, crowd = _Meters(lines.domains, rules.packages), _Crowd(lines.levels)
    seconds, busy = lines.node.numbers("seconds"), lines.node.filled("cpu_seconds")
    began = 0.0
    for number in range(lines.frames):
        one = slice(number, number + 1)
        stretches.add(Stretch(np.array([began]), ran["process"].slices(number), ran["container"].slices(number)))
        read = meters.reading(number)
        users = _gpu_users({level: columns.gpu(number) for level, columns in ran.items()})
        made = make_frames(rules, stretches, read, users, crowd.at(number), seconds[one], busy[one])
        stretches.charged(clocks_told(read))
        began += float(seconds[number])
        yield made.last


class _Parts:
    """Lines cut at the frames: the lines of frame f are ``span(f)``."""

    def __init__(self, frame: Indexes) -> None:
        self._frame = frame

    def span(self, number: int) -> slice:
        first, last = np.searchsorted(self._frame, (number, number + 1))
        return slice(int(first), int(last))


class _Ran:
    """Who ran, and who used GPUs, in each frame of a level."""

    def __init__(self, level: LevelColumns) -> None:
        alone = level.numbers("alone_ns")
        take = np.flatnonzero(~np.isnan(alone))
        self._parts = _Parts(level.frame[take])
        self._row = level.integers("row")[take].astype(np.intp)
        self._package = level.integers("package")[take].astype(np.intp)
        self._figures = [level.filled(name)[take] for name in ("alone_ns", "shared_ns", "cycles", "misses")]
        gpu = level.joules()[GPU]
        take = np.flatnonzero(gpu)
        self._gpu_parts, self._gpu_joules = _Parts(level.frame[take]), gpu[take]
        self._gpu_row = level.integers("row")[take].astype(np.intp)

    def slices(self, number: int) -> Slices:
        span = self._parts.span(number)
        row = self._row[span]
        alone, shared, cycles, misses = (column[span] for column in self._figures)
        sample, package = np.zeros(len(row), np.intp), self._package[span]
        return Slices(sample, row, package, alone, shared, cycles, misses, np.zeros(len(row)))

    def gpu(self, number: int) -> tuple[Indexes, Floats]:
        span = self._gpu_parts.span(number)
        return self._gpu_row[span], self._gpu_joules[span]


def _gpu_users(of_level: dict[str, tuple[Indexes, Floats]]) -> list[GpuUsers]:
    """GPU energy is charged to its users, whatever the rules: both levels have a line for each of them, in order."""
    joules = of_level["process"][1]
    return [GpuUsers(0, {level: rows for level, (rows, _) in of_level.items()}, joules)] if len(joules) else []


class _Meters:
    """The readings."""

    def __init__(self, domains: LevelColumns, packages: int) -> None:
        self._parts = _Parts(domains.frame)
        self._packages = packages
        codes, words = domains.words("component")
        place: dict[str, int] = {component: position for position, component in enumerate(WORKLOAD)}
        self._component = np.array([place.get(word, -1) for word in words], np.intp)[codes]
        payer = domains.integers("package").astype(np.intp)
        self._payer = np.where(payer < 0, packages, payer)
        self._joules, self._seconds = domains.filled("joules"), domains.filled("read_seconds")
        self._watts, self._floor = domains.filled("watts"), domains.numbers("floor_watts")
        self._live: NDArray[np.bool_] = domains.flags("live")

    def reading(self, number: int) -> Reading:
        span = self._parts.span(number)
        return reading(
            self._joules[np.newaxis, span],
            self._seconds[np.newaxis, span],
            self._watts[np.newaxis, span],
            self._floor[np.newaxis, span],
            self._live[np.newaxis, span],
            Layout(self._component[span], self._payer[span], self._packages),
        )


class _Crowd:
    """Who is there, frame by frame; frames are asked for in order."""

    def __init__(self, levels: Mapping[str, LevelColumns]) -> None:
        self._changes = {level: _Changes(columns) for level, columns in levels.items()}

    def at(self, number: int) -> Everyone:
        processes, _ = self._changes["process"].at(number)
        workloads, requests = self._changes["container"].at(number)
        return Everyone(processes, workloads, requests)


class _Changes:
    def __init__(self, level: LevelColumns) -> None:
        there, gone = level.flags("there"), ~level.flags("there", missing=True)
        take = np.flatnonzero(there | gone)
        self._parts = _Parts(level.frame[take])
        self._row = level.integers("row")[take].astype(np.intp)
        self._there, self._request = there[take], level.filled("cpu_request")[take]
        size = int(self._row.max()) + 1 if len(take) else 0
        self._is_there, self._asked = np.zeros(size, np.bool_), np.zeros(size)
        self._now: tuple[Indexes, Floats] = np.zeros(0, np.intp), np.zeros(0)

    def at(self, number: int) -> tuple[Indexes, Floats]:
        """Rows that are there, intp[n], and the CPUs that each asked for, float64[n]."""
        span = self._parts.span(number)
        if span.start < span.stop:
            rows = self._row[span]
            self._is_there[rows], self._asked[rows] = self._there[span], self._request[span]
            present = np.flatnonzero(self._is_there)
            self._now = present, self._asked[present]
        return self._now
