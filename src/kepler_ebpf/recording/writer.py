"""Writes frames, batch by batch: what is written stays readable whatever happens after."""

from __future__ import annotations

import os
import queue
import stat
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..attribution.frame import Frames
from ..attribution.framing import Rules
from ..attribution.sampler import Sampler
from ..errors import KeplerError
from ..kernel.source import KernelTables
from . import schema
from .batch import record_batch
from .lines import FrameLines, Pending

_BATCH_SECONDS = 1.0
_BATCH_LINES = 50_000
_WAITING_BATCHES = 4


@dataclass
class Progress:
    """What the file holds so far."""

    frames: int = 0
    lines: int = 0
    bytes: int = 0


class Recorder:
    """Takes every frame. A thread compresses and writes, with at most four batches waiting.

    A file that is there keeps what it holds until the first frame comes: what is recorded may turn out not to begin.
    """

    def __init__(self, path: Path, sampler: Sampler, tables: KernelTables, info: Mapping[str, str]) -> None:
        """``info``: facts of the machine. Raises KeplerError where the file cannot be written."""
        self.progress = Progress()
        self._frames = FrameLines(sampler, tables)
        self._schema = schema.arrow_schema(schema.metadata(_plain(sampler.rules), info))
        try:
            self._file, self._is_new = _opened(path)
        except OSError as error:
            raise KeplerError(f"cannot write {path}: {error.strerror}") from error
        self._path = path
        self._failure: Exception | None = None
        self._told = False
        self._batches: queue.Queue[Pending | None] = queue.Queue(_WAITING_BATCHES)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._begun = False

    def add(self, frames: Frames, end_ns: int) -> bool:
        """Take frames, the last of which ended at ``end_ns`` (since the epoch), before the next sample; returns whether
        a batch ends with them. Publications are for then: at them workloads get names, and their rows others.

        Raises KeplerError where the disk is full, say.
        """
        self._raise()
        if not self._begun:
            self._begun = True
            self._thread.start()
        ends_us = end_ns // 1000 - np.rint((frames.seconds.sum() - frames.seconds.cumsum()) * 1e6).astype(np.int64)
        self._frames.add(frames, ends_us)
        is_full = self._frames.seconds >= _BATCH_SECONDS or self._frames.lines >= _BATCH_LINES
        if is_full:
            self.flush()
        return is_full

    def flush(self) -> None:
        """End the batch here."""
        pending = self._frames.take()
        if pending is not None:
            self._batches.put(pending)

    def close(self) -> None:
        """Write what is left. Raises KeplerError where that failed, unless :meth:`add` has said so already."""
        if not self._begun:
            self._file.close()
            if self._is_new:
                self._path.unlink(missing_ok=True)
            return
        self.flush()
        self._batches.put(None)
        self._thread.join()
        try:
            self._file.close()
        except OSError as error:
            self._failure = self._failure or error
        if self._failure is not None:
            self._drop_behind()
        if not self._told:
            self._raise()

    def _drop_behind(self) -> None:
        """Leave no part of a batch behind those that are whole."""
        with suppress(OSError):  # a pipe, a device: the reader tells where it ends
            os.truncate(self._path, self.progress.bytes)

    def _raise(self) -> None:
        if self._failure is not None:
            self._told = True
            reason = getattr(self._failure, "strerror", None) or str(self._failure) or type(self._failure).__name__
            raise KeplerError(f"cannot write {self._path}: {reason}")

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pa = schema.arrow()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        try:
            if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                self._file.truncate(0)
            with pa.ipc.new_stream(self._file, self._schema, options=options) as stream:
                while True:
                    pending = self._batches.get()
                    if pending is None:
                        break
                    batch = record_batch(self._schema, pending)
                    stream.write_batch(batch, custom_metadata={schema.CHECKSUM_KEY: schema.checksum(batch)})
                    self._file.flush()
                    self.progress.frames += pending.frames
                    self.progress.lines += batch.num_rows
                    self.progress.bytes = os.fstat(self._file.fileno()).st_size
        except Exception as error:
            self._failure = error
            while self._batches.get() is not None:
                pass  # whoever waits to hand on a batch must not wait for ever


def _opened(path: Path) -> tuple[IO[bytes], bool]:
    """A file to write to, which holds what it held, and whether it is new."""
    try:
        return path.open("xb"), True
    except FileExistsError:
        return open(path, "wb", opener=lambda name, flags: os.open(name, flags & ~os.O_TRUNC)), False


def _plain(rules: Rules) -> dict[str, Any]:
    plain = {name: getattr(rules, name) for name in rules.__dataclass_fields__ if name != "overflow"}
    return {**plain, "overflow": {level: rows.tolist() for level, rows in rules.overflow.items()}}
