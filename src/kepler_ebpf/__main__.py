"""The ``kepler-ebpf`` command."""

from __future__ import annotations

import codecs
import io
import os
import select
import signal
import sys
from contextlib import suppress
from typing import Any

_OUTPUT = "standard output"
_NO_THREAD = "can't start new thread"  # in the words of Python's _thread module, all that tells it
_PLAIN = {"→": "->", "×": "x", "µ": "u", "–": "-", "—": "-", "…": "...", "±": "+-", "·": ".", "▲": "^", "▼": "v"}
_PLAIN.update(zip("▁▂▃▄▅▆▇█", ".:-=+*%#"))  # one character each: lines keep their width


def main() -> int:
    """Run one verb; ``serve`` where none is named. Returns the exit code.

    The operating system may refuse anything at any time (memory, a write, a library that does not load), imports
    included: that is one line on standard error too. With ``--log-level debug`` the log says where it happened.
    """
    # One thread is all we use of the linear algebra library; its pool would cost memory in every process.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _have_standard_streams()
    _name_standard_output()
    _let_standard_error_go()
    _write_in_any_encoding()
    _let_signals_end_us()
    code = 0
    try:
        from .cli import run

        code = run(sys.argv[1:], os.environ)
        sys.stdout.flush()  # what cannot be written is known now, not when the interpreter ends
        return code
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as shells count
    except MemoryError:
        return _refused("not enough memory: a limit is too low (ulimit -v, of the container, of the unit)")
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        return _refused(f"{error}: a limit is too low (ulimit -u, pids.max of the container, TasksMax of the unit)")
    except (OSError, ImportError) as error:
        if isinstance(error, OSError) and error.filename == _OUTPUT:
            if isinstance(error, BrokenPipeError):  # whoever read it has seen enough
                _forget_output()
                return code  # of a verb that was through: it may be a command's
            return _refused(f"cannot write {_OUTPUT}: {error.strerror}")
        while isinstance(error.__cause__, (OSError, ImportError)):  # numpy says pages of advice instead
            error = error.__cause__
        return _refused(f"{type(error).__name__}: {error}")


def _refused(reason: str) -> int:
    _forget_output()
    print(f"kepler-ebpf: {' '.join(reason.split())}", file=sys.stderr)
    try:
        import logging

        logging.getLogger(__name__).debug("where that happened", exc_info=True)
    except (MemoryError, OSError, ImportError):
        pass
    return 1


def _forget_output() -> None:
    """Let nothing be written at the end, when the interpreter could only show a traceback for it."""
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if isinstance(raw, _Output):
        raw.forgotten = True  # what closes it would try again
    sys.stdout = open(os.devnull, "w", encoding="ascii")  # noqa: SIM115


def _have_standard_streams() -> None:
    """A shell may close them (``>&-``): a file of ours would become one, and Python would have none."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, "r" if fd == 0 else "w", closefd=False))  # noqa: SIM115


class _Output(io.FileIO):
    """Standard output, whose errors say that it was this which could not be written. ``forgotten``: write no more."""

    forgotten = False

    def write(self, data: Any, /) -> Any:
        if self.forgotten:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, _OUTPUT) from None


class _Errors(io.FileIO):
    """Standard error. Where nobody reads it any more (a closed pipe or terminal, a full disk) what is written is lost,
    and nothing else: not the recording, not the status of a command that was measured."""

    def write(self, data: Any, /) -> Any:
        left = memoryview(data).cast("B")
        whole = left.nbytes
        with suppress(OSError):
            while left:
                written = super().write(left)
                if written is None:  # somebody who shares it wants no write to wait
                    select.select((), (self,), ())
                left = left[written or 0 :]
        return whole


def _name_standard_output() -> None:
    before = sys.stdout
    if before is sys.__stdout__ and isinstance(before, io.TextIOWrapper):
        sys.stdout = _over(_Output(before.fileno(), "w", closefd=False), before)


def _let_standard_error_go() -> None:
    before = sys.stderr
    if before is sys.__stderr__ and isinstance(before, io.TextIOWrapper):
        sys.stderr = _over(_Errors(before.fileno(), "w", closefd=False), before)


def _over(raw: io.FileIO, before: io.TextIOWrapper) -> io.TextIOWrapper:
    """A stream like the one before, which writes there."""
    return io.TextIOWrapper(
        raw if before.write_through else io.BufferedWriter(raw),  # python -u
        before.encoding,
        before.errors,
        line_buffering=before.line_buffering,
        write_through=before.write_through,
    )


def _write_in_any_encoding() -> None:
    """``LC_ALL=C`` cannot say an arrow, and UTF-8 no byte of a file name that is none: something else stands there."""
    codecs.register_error("kepler-plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="kepler-plain")


def _let_signals_end_us() -> None:
    """Process 1 of a container is ended by no signal that it does not handle (pid_namespaces(7)): one that comes before
    a verb handles it would be lost, and the end of the container be waited for."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    unsayable = error.object[error.start : error.end]
    plain = "".join(_PLAIN.get(one, one) for one in unsayable)
    return plain.encode("ascii", "backslashreplace").decode("ascii"), error.end


if __name__ == "__main__":
    sys.exit(main())
