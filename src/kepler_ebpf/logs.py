"""Log lines for people or for machines, on standard error."""

from __future__ import annotations

import io
import json
import logging
import select
import sys
from datetime import datetime, timezone
from typing import TextIO

from .plain import clean

_PATIENCE_SECONDS = 1.0
# Of a pipe that is ready 4096 bytes can be written without a wait (PIPE_BUF, pipe(7)); a character may become ten.
_PIECE = 400


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _Text(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = clean(record.message)  # labels of devices, answers of others: one line, whatever is in them
        return super().formatMessage(record)


class _Handler(logging.Handler):
    """Whoever reads the log may stop to: a pager, a terminal that is held, a runtime that hangs. He is waited for once,
    for a second: no sample, probe or signal waits for him. Lines are lost until he reads on, and how many is said then.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + "\n"
            if self._lost and self._takes():
                said = f"{self._lost} lines of the log are lost: nobody read them"
                self._lost = 0
                self.emit(logging.LogRecord(__name__, logging.WARNING, __file__, 0, said, None, None))
            for start in range(0, len(line), _PIECE):
                if not self._takes():
                    self._lost += 1
                    return
                self._stream.write(line[start : start + _PIECE])
                self._stream.flush()
        except Exception:
            self.handleError(record)

    def _takes(self) -> bool:
        """Whether a piece can be written without a wait."""
        try:
            asked = select.poll()
            asked.register(self._stream.fileno(), select.POLLOUT)
        except (io.UnsupportedOperation, ValueError):  # no file
            return True
        return bool(asked.poll(0 if self._lost else _PATIENCE_SECONDS * 1000))


def set_up_logging(level: str, form: str) -> None:
    """``level``: debug … error. ``form``: ``text`` or ``json``."""
    handler = _Handler(sys.stderr)
    text = _Text("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    handler.setFormatter(_Json() if form == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
