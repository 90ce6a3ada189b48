"""The state file: the node's books at the latest publication, for a collector that starts after this one was killed.

A few hundred bytes of JSON, replaced as a whole, good for one boot and one collector. What is not as it should be is
refused, and the books begin at 0: a counter that starts anew is right, one that goes on from a wrong value is not.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
import os
import stat
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .attribution.carry import Carry, ZoneState
from .columns import NODE, WORKLOAD, Floats
from .host.fs import HostFS, read_text

log = logging.getLogger(__name__)

_FORMAT = 1
_MAX_BYTES = 65536
_MAX_ZONES = 256
_MOST_WATTS, _MOST_CPUS, _MOST_HERTZ = 1e6, 1e5, 1e11  # of a machine: more than there is
_CLOSES = 1e-6  # relative: as the ledger holds of every sample
_NAME, _NEW = "state.json", "state.json.new"
_OF_NODE = ("measured", "idle", "unattributed")
_FIGURES = {"process": len(NODE) + 2, "container": len(WORKLOAD) + 2}
_LONGEST_STOP_SECONDS = 1.0


class Unusable(Exception):
    """Why there is nothing to go on from."""


def boot_id(fs: HostFS) -> str:
    """What tells this boot of the kernel from all others; empty where it cannot be read."""
    try:
        return read_text(fs.proc / "sys/kernel/random/boot_id", 64)
    except OSError:
        return ""


def encode(carry: Carry, boot: str) -> bytes:
    """The file's content."""
    return json.dumps(
        {
            "format": _FORMAT,
            "boot": boot,
            "source": carry.source,
            "measured": carry.measured.tolist(),
            "idle": carry.idle.tolist(),
            "unattributed": carry.unattributed.tolist(),
            "charged": {name: figures.tolist() for name, figures in carry.charged.items()},
            "zones": {
                name: [zone.value, zone.time_ns, zone.span, zone.joules, _or_none(zone.floor_watts)]
                for name, zone in carry.zones.items()
            },
        },
        separators=(",", ":"),
    ).encode()


def decode(content: bytes, boot: str) -> Carry:
    """The books that a file has, of this boot. Raises Unusable."""
    try:
        fields = json.loads(content)
        if fields["format"] != _FORMAT:
            raise Unusable("it is another version's")
        if not boot or fields["boot"] != boot:
            raise Unusable("the machine was booted since")
        measured, idle, unattributed = (_column(fields[name], len(NODE)) for name in _OF_NODE)
        charged = {name: _column(fields["charged"][name], count) for name, count in _FIGURES.items()}
        zones = {_word(name): _zone(values) for name, values in _mapping(fields["zones"]).items()}
        _require_possible([*measured, *idle, *unattributed], charged, zones)
        source = _word(fields["source"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise Unusable("it cannot be understood") from None
    for figures in charged.values():
        booked = float(figures[: len(NODE)].sum() + idle.sum() + unattributed.sum())
        if not abs(booked - measured.sum()) <= _CLOSES * measured.sum():
            raise Unusable("its books do not close")
    return Carry(source, measured, idle, unattributed, charged, zones)


class StateFile:
    """The file in its folder. One collector at a time: the folder is locked.

    It is written by a thread of its own: a disk that hangs holds up no sample.
    """

    def __init__(self, folder: Path, boot: str) -> None:
        """Raises Unusable where another collector keeps its state there, or the folder cannot be opened."""
        self._path = folder / _NAME
        self._boot = boot
        self._failing = False
        self._next: bytes | None = None  # what is to be written; empty: no file
        self._due = threading.Event()
        self._closed = False
        try:
            self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Unusable(f"{folder}: {error.strerror}") from None
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._folder)
            raise Unusable(f"another collector keeps its state in {folder}") from None
        self._thread = threading.Thread(target=self._run, name="state", daemon=True)

    def read(self) -> Carry | None:
        """The books to go on from; None where there is no file. Raises Unusable."""
        try:
            fd = os.open(_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unusable(f"{self._path}: {error.strerror}") from None
        try:
            status = os.fstat(fd)
            ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
            if not ours:
                raise Unusable("not a file that we alone can have written")
            return decode(os.read(fd, _MAX_BYTES), self._boot)
        except (OSError, Unusable) as error:
            raise Unusable(f"{self._path}: {getattr(error, 'strerror', None) or error}") from None
        finally:
            os.close(fd)

    def start(self) -> None:
        """Write from now on. To be called after privileges were dropped: a thread keeps what it began with."""
        self._thread.start()

    def put(self, carry: Carry | None) -> None:
        """Let this be what the next collector finds; None: nothing. Returns at once."""
        self._next = b"" if carry is None else encode(carry, self._boot)
        self._due.set()

    def close(self) -> None:
        """Write what is due and let the folder go; a disk that hangs is left alone after a second."""
        self._closed = True
        self._due.set()
        if self._thread.ident is not None:
            self._thread.join(_LONGEST_STOP_SECONDS)
        if not self._thread.is_alive():
            os.close(self._folder)

    def _run(self) -> None:
        closed = False
        while not closed:
            self._due.wait()
            self._due.clear()
            closed, content = self._closed, self._next
            try:
                if content is not None:
                    self._write(content)
                self._failing = False
            except OSError as error:
                with contextlib.suppress(OSError):  # what is there now is older than what was scraped
                    os.unlink(_NAME, dir_fd=self._folder)
                if not self._failing:
                    log.warning("%s cannot be written (%s): after a restart counters begin at 0", self._path, error)
                self._failing = True

    def _write(self, content: bytes) -> None:
        for name in (_NEW, *(() if content else (_NAME,))):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._folder)
        if not content:
            return
        # Not written through to the disk: it outlives this process, and need not outlive the machine.
        fd = os.open(_NEW, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._folder)
        with open(fd, "wb") as file:
            file.write(content)
        os.rename(_NEW, _NAME, src_dir_fd=self._folder, dst_dir_fd=self._folder)


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else number


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise ValueError
    return float(value)


def _whole(value: Any, most: int = (1 << 64)) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError
    return value


def _column(values: Any, count: int) -> Floats:
    if type(values) is not list or len(values) != count:
        raise ValueError
    return np.array([_number(value) for value in values])


def _require_possible(of_node: Sequence[float], charged: Mapping[str, Floats], zones: Mapping[str, ZoneState]) -> None:
    """Raises ValueError where there is more than a machine can have used since it was booted: a counter that goes on
    from 1e300 would stand still, and its first rate would be a spike."""
    seconds = max((zone.time_ns for zone in zones.values()), default=0) * 1e-9
    joules = [*of_node, *(value for figures in charged.values() for value in figures[:-2])]
    joules += [zone.joules for zone in zones.values()]
    cpu_seconds, cycles = zip(*(figures[-2:] for figures in charged.values()))
    for most, values in (
        (_MOST_WATTS * seconds, joules),
        (_MOST_CPUS * seconds, cpu_seconds),
        (_MOST_CPUS * _MOST_HERTZ * seconds, cycles),
        (_MOST_WATTS, [zone.floor_watts for zone in zones.values() if not math.isnan(zone.floor_watts)]),
    ):
        if max(values, default=0.0) > most:
            raise ValueError


def _word(value: Any) -> str:
    if type(value) is not str or len(value) > 100:
        raise ValueError
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if type(value) is not dict or len(value) > _MAX_ZONES:
        raise ValueError
    return value


def _zone(values: Any) -> ZoneState:
    value, time_ns, span, joules, floor = values
    return ZoneState(
        _whole(value), _whole(time_ns), _whole(span), _number(joules), math.nan if floor is None else _number(floor)
    )
