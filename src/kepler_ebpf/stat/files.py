"""Files that a user names for what was measured: one that cannot be written costs a line, not the figures."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ..errors import KeplerError, UsageError

STDOUT = "-"


class OutputFile:
    """A file that is open already, and holds what it held until something is written. ``path``: as the user named it,
    ``-`` for standard output."""

    def __init__(self, path: str, file: IO[str]) -> None:
        self.path = path
        self.is_written = False
        self._file = file

    def write(self, text: str) -> None:
        """All that goes into it. Raises KeplerError."""
        try:
            if self.path == STDOUT:
                self._file.write(text)
                self._file.flush()
                return
            with self._file:  # closed here: what a buffer holds fails only then, as on a full disk
                self.is_written = True
                if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                    self._file.truncate(0)
                self._file.write(text)
        except OSError as error:
            if self.path != STDOUT:
                raise KeplerError(f"cannot write {self.path}: {error.strerror}") from error
            if not isinstance(error, BrokenPipeError):  # whoever read it has seen enough: that costs nobody a status
                raise


def is_one_file(some: str, other: str) -> bool:
    """Whether these paths, ``-`` for standard output, are or will be one file that can hold only one of two contents,
    whatever links lead to it. Pipes, terminals and ``/dev/null`` take both."""
    if STDOUT in (some, other):
        return some == other
    try:
        return os.path.samefile(some, other) and os.path.isfile(some)
    except OSError:
        return os.path.realpath(some) == os.path.realpath(other)


@contextmanager
def opened(path: str | None) -> Iterator[OutputFile | None]:
    """A file to write to, or None; one that cannot be opened is known before anything runs. Raises KeplerError.

    Measuring may fail: until there is something to write a file keeps what it holds, and one that is new goes again.
    """
    if path is None:
        yield None
        return
    if path == STDOUT:
        yield OutputFile(path, sys.stdout)
        return
    try:
        file, is_new = _opened(path)
    except OSError as error:
        raise KeplerError(f"cannot write {path}: {error.strerror}") from error
    output = OutputFile(path, file)
    try:
        with file:
            yield output
    finally:
        if is_new and not output.is_written:
            with suppress(OSError):  # we may be somebody else by now
                Path(path).unlink()


def _opened(path: str) -> tuple[IO[str], bool]:
    """A file as it is, and whether it is new."""
    try:
        return Path(path).open("x", encoding="utf-8", errors="replace"), True
    except FileExistsError:
        return Path(path).open("a", encoding="utf-8", errors="replace"), False


def require_different(output: OutputFile | None, json_file: OutputFile | None) -> None:
    """Raises UsageError where both are one file, which could hold only one of them."""
    if output is not None and json_file is not None and is_one_file(output.path, json_file.path):
        raise UsageError(f"-o {output.path} and --json {json_file.path} are one file: expected two")


def hand_out(printed: str, output: OutputFile | None, document: str, json_file: OutputFile | None) -> None:
    """Write everything where it belongs; what cannot be written is said when all the rest is. Raises KeplerError, and
    OSError where that is standard output."""
    failed: KeplerError | OSError | None = None
    try:
        if json_file is not None:
            json_file.write(document)
    except (KeplerError, OSError) as error:
        failed = error
    try:
        if output is not None:
            output.write(printed)
    except (KeplerError, OSError) as error:
        failed = failed or error
        output = None  # the run is over, and need not be for nothing
    if output is None:
        print(printed, end="", file=sys.stderr)
    if failed is not None:
        raise failed
