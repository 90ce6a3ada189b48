"""Who stops reading the log holds up nobody."""

from __future__ import annotations

import io
import logging
import os
import pty
import termios
import tty

import pytest

from kepler_ebpf import logs

log = logging.getLogger("x")


def log_to(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.FileIO(fd, "w", closefd=False)
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", line_buffering=True))
    logs.set_up_logging("info", "text")


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_what_is_lost_is_counted(
    full_pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = full_pipe
    log_to(write, monkeypatch)
    for number in range(50):
        log.info("line %d", number)
    log.info("é" * 100_000)
    assert set(os.read(read, 1 << 20)) == {ord("x")}
    log.info("read again")
    lost, again = os.read(read, 1 << 20).decode().splitlines()
    assert lost.endswith("WARNING 51 lines of the log are lost: nobody read them")
    assert again.endswith("read again")


def test_a_long_line_into_a_pipe_with_little_room_holds_up_nobody(
    full_pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = full_pipe
    log_to(write, monkeypatch)
    os.read(read, 8192)
    log.info("é" * 100_000)
    assert b"\xc3\xa9" in os.read(read, 1 << 20)


def test_a_terminal_that_is_held_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-S."""
    master, terminal = pty.openpty()
    try:
        tty.setraw(terminal)
        log_to(terminal, monkeypatch)
        termios.tcflow(terminal, termios.TCOOFF)
        log.info("held")
        log.info("held")
        termios.tcflow(terminal, termios.TCOON)
        log.info("goes on")
        assert "2 lines of the log are lost" in os.read(master, 4096).decode()
    finally:
        os.close(master)
        os.close(terminal)
