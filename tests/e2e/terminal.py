"""What a program has of a Ctrl-C at the terminal that it shares with us."""

from __future__ import annotations

import os
import pty
import select
import sys
from collections.abc import Sequence

_COUNTS = """
import signal, sys, time
n = []
signal.signal(2, lambda *_: n.append(1))
print('ready', flush=True)
while not n: time.sleep(0.05)
time.sleep(1)
sys.exit(40 + len(n))
"""


def status_after_ctrl_c(ours: Sequence[str]) -> int:
    """Exit code of ``ours -- PROGRAM``, interrupted once: the program ends with 40 and how often it was."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(ours[0], [*ours, "--", sys.executable, "-c", _COUNTS])
    seen, poll = b"", select.poll()
    poll.register(terminal, select.POLLIN)
    while b"ready" not in seen:
        assert poll.poll(120_000), seen
        seen += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status)
