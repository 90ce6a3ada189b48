"""Ctrl-Z and ``fg``, by a process of our own that is stopped as a shell would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from kepler_ebpf.tty.job import stopped_by_the_shell

PROGRAM = """
import os, signal, time
from kepler_ebpf.tty.job import stopped_by_the_shell
os.setpgid(0, 0)  # below a parent in another group of the session: one that is orphaned would not be stopped
with stopped_by_the_shell() as job:
    for _ in range(2):
        print("taken", flush=True)
        while not job.is_disturbed:
            time.sleep(0.01)
        print("given back", flush=True)
        job.obey()
print(signal.getsignal(signal.SIGTSTP) == signal.getsignal(signal.SIGCONT) == signal.SIG_DFL, flush=True)
"""


def test_the_terminal_is_given_back_before_a_stop_and_taken_again_after_it() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for number in (signal.SIGTSTP, signal.SIGSTOP):
            assert process.stdout.readline() == "taken\n"
            process.send_signal(number)
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            if number == signal.SIGTSTP:
                assert process.stdout.readline() == "given back\n"
            process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == "given back\n"
        assert process.stdout.readline() == "True\n"
        assert process.wait() == 0


def test_what_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        with stopped_by_the_shell() as job:
            os.kill(os.getpid(), signal.SIGTSTP)
            assert not job.is_disturbed
        assert signal.getsignal(signal.SIGTSTP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTSTP, before)
