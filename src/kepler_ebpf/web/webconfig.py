"""TLS and passwords for the endpoint, from a file in the format of Prometheus' ``--web.config.file``.

A thread looks once a second whether the file, or a file it names, has changed, so a renewed certificate or a new
password counts within about two seconds. Files are not written in one step: what is caught half written may well be
valid and ask for less. Two rules keep the endpoint protected through that: content counts once two looks in a row
have found the same, and no reload takes a protection away that was there. A restart does.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from pathlib import Path
from typing import Optional, Union

from ..errors import KeplerError, UsageError
from .webfile import MAX_PEM_BYTES, Security, WebFile, read_regular, read_web_file

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0

# By path: of the content, or why it cannot be read.
_Digests = dict[Path, Union[bytes, str]]
_Signature = Optional[tuple[int, ...]]
_Signatures = dict[Path, _Signature]


class WebConfig:
    """The file, read again whenever it or a file it names changes.

    Raises :class:`UsageError` where it is invalid at first, :class:`KeplerError` where a library is missing.
    What becomes invalid later is logged once and counted in ``reload_errors``; the last valid one goes on.
    One thread calls :meth:`look`; any may call :meth:`current`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.reload_errors = 0
        signature = _signature(self.path)
        text = read_web_file(self.path)
        self._parsed: tuple[bytes, WebFile | KeplerError] | None = None
        # Digests of the content that was decided upon last, and of that which one look has found.
        self._decided, self._signatures = self._files(text, signature)
        self._found: _Digests | None = None
        self._security = self._file(text).security()

    def current(self) -> Security:
        """The valid security settings of now; the same object for as long as nothing has changed."""
        return self._security

    def watch(self, stop: threading.Event) -> None:
        """Look once a second until ``stop`` is set."""
        while not stop.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Read the files if they have changed; content that the look before has found as well counts from now on."""
        if all(_signature(path) == seen for path, seen in self._signatures.items()):
            self._found = None
            return
        signature = _signature(self.path)
        try:
            text: bytes | UsageError = read_web_file(self.path)
        except UsageError as error:
            text = error
        digests, signatures = self._files(text, signature)
        if digests not in (self._decided, self._found):
            self._found = digests
            return
        changed = digests != self._decided
        self._decided, self._signatures, self._found = digests, signatures, None
        if changed:
            self._reload(text)

    def _reload(self, text: bytes | UsageError) -> None:
        try:
            if isinstance(text, UsageError):
                raise text
            security = self._file(text).security(self._security.users)
            lost = self._security.lost_in(security)
            if lost:
                raise UsageError(
                    f"web configuration {self.path} takes away {', '.join(lost)}: only a restart does that"
                )
        except Exception as error:
            self.reload_errors += 1
            what = error if isinstance(error, KeplerError) else f"web configuration {self.path}: {error!r}"
            log.error("%s; the previous web configuration stays in force", what)
        else:
            self._security = security
            log.info("web configuration %s read again", self.path)

    def _file(self, text: bytes) -> WebFile:
        """The file of this text: parsed once, however many looks and reloads ask for it. Raises KeplerError."""
        digest = _digest(text)
        if self._parsed is None or self._parsed[0] != digest:
            parsed: WebFile | KeplerError
            try:
                parsed = WebFile(self.path, text)
            except KeplerError as error:
                parsed = error.with_traceback(None)
            self._parsed = digest, parsed
        if isinstance(self._parsed[1], KeplerError):
            raise self._parsed[1]
        return self._parsed[1]

    def _files(self, text: bytes | UsageError, signature: _Signature) -> tuple[_Digests, _Signatures]:
        """Digests and signatures of the file, which has this text, and of the files it names.

        Each signature is from before its file was read: a change during the reading shows next time.
        """
        signatures: _Signatures = {self.path: signature}
        digests: _Digests = {self.path: str(text) if isinstance(text, UsageError) else _digest(text)}
        try:
            named = () if isinstance(text, UsageError) else self._file(text).pem_files
        except KeplerError:
            named = ()
        for path in named:
            signatures[path] = _signature(path)
            try:
                digests[path] = _digest(read_regular(path, MAX_PEM_BYTES))
            except OSError as error:
                digests[path] = error.strerror or "unreadable"
        return digests, signatures


def _digest(content: bytes) -> bytes:
    """Private keys are compared and not kept."""
    return hashlib.blake2b(content).digest()


def _signature(path: Path) -> _Signature:
    """What changes when the file does, a symbolic link turned elsewhere (Kubernetes secrets) included."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
