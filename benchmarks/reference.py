"""BPF programs on ``sched_switch`` that do nothing, or only read the clock: what any program there costs at least."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOADER = """
import os, socket, sys
os.environ["BCC_KERNEL_SOURCE"] = sys.argv[2]
from bcc import BPF
bpf = BPF(text='''
int empty(struct bpf_raw_tracepoint_args *ctx) { return 0; }
BPF_ARRAY(last, u64, 1);
int clock_only(struct bpf_raw_tracepoint_args *ctx) {
    u32 zero = 0;
    u64 *at = last.lookup(&zero);
    if (at) *at = bpf_ktime_get_ns();
    return 0;
}''')
fds = []
for name in sys.argv[3:]:
    fds.append(bpf.load_func(name.encode(), BPF.RAW_TRACEPOINT).fd)
    bpf.attach_raw_tracepoint(tp=b"sched_switch", fn_name=name.encode())
    fds.append(bpf.raw_tracepoint_fds.pop(b"sched_switch"))
socket.send_fds(socket.socket(fileno=int(sys.argv[1])), [b"."], fds)
os._exit(0)
"""


@contextmanager
def reference_programs(*names: str) -> Iterator[dict[str, int]]:
    """Attach ``empty``, ``clock_only`` or both, in this order. Gives the programs' descriptors by name."""
    ours, theirs = socket.socketpair()
    sources = Path(__file__).parent.parent / "bpf"
    subprocess.run(
        [sys.executable, "-c", _LOADER, str(theirs.fileno()), str(sources), *names],
        pass_fds=[theirs.fileno()],
        check=True,
    )
    _, fds, _, _ = socket.recv_fds(ours, 1, 2 * len(names))  # a program, and what holds it attached, by name
    ours.close()
    theirs.close()
    try:
        yield dict(zip(names, fds[::2]))
    finally:
        for fd in fds:
            os.close(fd)
