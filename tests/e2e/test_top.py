"""``top`` as a user starts it: into a pipe, and on a pseudo-terminal with keys pressed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kepler_ebpf.views.top.screen import columns_of
from tests.e2e.conftest import COMMAND, ROOT
from tests.needs import require
from tests.runtimes import Podman, busy

pytestmark = pytest.mark.kernel


def test_once_prints_a_table_that_adds_up_and_ends() -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    done = subprocess.run(
        [*COMMAND, "top", "--once"],
        capture_output=True,
        timeout=120,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    rows = done.stdout.splitlines()
    assert "\x1b" not in done.stdout
    begin = next(number for number, row in enumerate(rows) if row.startswith("name")) + 1
    columns = columns_of(100)
    place = columns.name + 1 + columns.where
    printed = [float(row[place : place + 8]) for row in rows[begin:]]
    assert rows[-1].startswith("the node")
    assert sum(printed[:-1]) == pytest.approx(printed[-1], abs=0.005 * len(printed))


def test_once_shows_containers_by_their_names(tmp_path: Path) -> None:
    """Of several: who is wanted a moment after the first is not to wait for the next request."""
    require(os.geteuid() == 0, "loading BPF programs needs root")
    podman = Podman(tmp_path / "podman")
    try:
        with podman.service():
            for name in ("web", "db"):
                podman.run(name, busy(60))
            sockets = ["--podman-socket", str(podman.socket), "--cri-socket", "off", "--docker-socket", "off"]
            once = [*COMMAND, "top", "--once", "--by", "container", *sockets]
            told = subprocess.run(once, capture_output=True, timeout=120, text=True, check=True).stdout
    finally:
        podman.close()
    assert {"web", "db"} <= {row.split()[0] for row in told.splitlines()}, told


# As a shell starts it, so that it can be stopped: by itself in a group, which is not orphaned.
GROUP = "import os, sys; os.setpgid(0, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """A pseudo-terminal of 80 × 24 with ``top`` on it."""

    def __init__(self, process: subprocess.Popen[bytes], ours: int, theirs: int) -> None:
        self.process, self.theirs = process, theirs
        self._ours = ours
        self._told = b""

    def press(self, keys: str) -> None:
        self._told = b""
        os.write(self._ours, keys.encode())

    def wait_for(self, pattern: str) -> None:
        """Until this is written to the screen, however slow the machine is."""
        deadline = time.monotonic() + 120
        while not re.search(pattern, self._told.decode("utf-8", "replace")):
            assert time.monotonic() < deadline, self._told[-2000:]
            try:
                self._told += os.read(self._ours, 65536)
            except BlockingIOError:
                assert self.process.poll() is None, self._told[-2000:]
                time.sleep(0.05)


@contextmanager
def terminal(**variables: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    os.set_blocking(ours, False)
    process = subprocess.Popen(
        [sys.executable, "-c", GROUP, *COMMAND, "top"],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm-256color", **variables},
    )
    try:
        yield Terminal(process, ours, theirs)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_keys_change_the_screen_and_the_terminal_is_as_before_in_the_end() -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    with terminal() as top:
        before = termios.tcgetattr(top.theirs)
        top.wait_for(r"processes by watts[\s\S]*the node")
        top.press("c")
        top.wait_for("containers by watts")
        top.press("ts")
        top.wait_for("tree of pods by peak")
        top.press(" ")
        top.wait_for("frozen, ")
        top.press("q")
        top.wait_for(r"\x1b\[\?1049l")  # xterm: back from the alternate screen
        assert top.process.wait(60) == 0
        assert termios.tcgetattr(top.theirs) == before


def test_after_ctrl_z_the_terminal_is_the_shells_and_after_fg_it_is_ours_again() -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    with terminal() as top:
        before = termios.tcgetattr(top.theirs)
        top.wait_for(r"processes by watts[\s\S]*the node")
        for _ in range(2):
            top.press("")
            top.process.send_signal(signal.SIGTSTP)
            top.wait_for(r"\x1b\[\?1049l")
            assert os.WIFSTOPPED(os.waitpid(top.process.pid, os.WUNTRACED)[1])
            assert termios.tcgetattr(top.theirs) == before
            top.process.send_signal(signal.SIGCONT)
            top.wait_for(r"\x1b\[\?1049h[\s\S]*the node")
            assert not termios.tcgetattr(top.theirs)[3] & (termios.ECHO | termios.ICANON)
        top.press("c")
        top.wait_for("containers by watts")
        top.press("q")
        assert top.process.wait(60) == 0
        assert termios.tcgetattr(top.theirs) == before


def test_a_terminal_that_moves_no_cursor_gets_one_table_after_the_other() -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    with terminal(TERM="dumb") as top:
        top.wait_for(r"processes by watts[\s\S]*the node[\s\S]*processes by watts[\s\S]*the node")
        assert b"\x1b" not in top._told


def test_no_color_means_none() -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    with terminal(NO_COLOR="1") as top:
        top.wait_for(r"processes by watts[\s\S]*the node[\s\S]*q quit")
        assert not re.search(rb"\x1b\[[0-9;]*(?:3[0-7]|38;|9[0-7])[0-9;]*m", top._told)


def test_without_rich_the_live_screen_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("raise ImportError('not here')\n")
    path = os.pathsep.join((str(tmp_path), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")))
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "kepler_ebpf", "top"],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            timeout=60,
            env={**os.environ, "PYTHONPATH": path},
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "kepler-ebpf: the live screen needs rich: pip install 'kepler-ebpf[terminal]', or use --once for plain text"
    ]
