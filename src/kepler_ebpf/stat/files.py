"""Files that a user names for what was measured: one that cannot be written costs a line, not the figures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..errors import KeplerError


class OutputFile:
    """A file that is open already. ``path``: as the user named it."""

    def __init__(self, path: str, file: IO[str]) -> None:
        self.path = path
        self._file = file

    def write(self, text: str) -> None:
        """All that goes into it. Raises KeplerError."""
        try:
            with self._file:  # closed here: what a buffer holds fails only then, as on a full disk
                self._file.write(text)
        except OSError as error:
            raise KeplerError(f"cannot write {self.path}: {error.strerror}") from error


@contextmanager
def opened(path: str | None) -> Iterator[OutputFile | None]:
    """A file to write to, or None; one that cannot be opened is known before anything runs. Raises KeplerError."""
    if path is None:
        yield None
        return
    try:
        file = Path(path).open("w", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed below
    except OSError as error:
        raise KeplerError(f"cannot write {path}: {error.strerror}") from error
    with file:
        yield OutputFile(path, file)


def hand_out(printed: str, output: OutputFile | None, document: str, json_file: OutputFile | None) -> None:
    """Write everything where it belongs; what cannot be written is said when all the rest is. Raises KeplerError."""
    failed: KeplerError | None = None
    try:
        if json_file is not None:
            json_file.write(document)
    except KeplerError as error:
        failed = error
    try:
        if output is not None:
            output.write(printed)
    except KeplerError as error:
        failed = failed or error
        output = None  # the run is over, and need not be for nothing
    if output is None:
        print(printed, end="", file=sys.stderr)
    if failed is not None:
        raise failed
