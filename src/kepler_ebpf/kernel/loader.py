"""The short-lived process that compiles and attaches the BPF programs.

Importing bcc and compiling costs over 100 MB resident, so it never happens in the collector. This process does it,
sends every descriptor over the socket it was given (``SCM_RIGHTS``), and exits; what is attached stays attached for as
long as the collector holds the descriptors, and goes away with it, also when the collector is killed.

Run as ``python -m kepler_ebpf.kernel.loader FD`` by :mod:`kepler_ebpf.kernel.launch`.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
import sys
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from .layout import SOURCES, STRUCTS, assertions, bpf_source

_CLONE_NEWNS = 0x00020000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_TRACEFS = Path("/sys/kernel/tracing")
_DESCRIPTORS_PER_MESSAGE = 200  # SCM_MAX_FD is 253

RAW_TRACEPOINTS = {
    "on_fork": "sched_process_fork",
    "on_rename": "task_rename",
    "on_exit": "sched_process_exit",
    "on_free": "sched_process_free",
    "on_switch": "sched_switch",
}
RUN_BY_HAND = ("close_slice",)


class LoadError(Exception):
    """What went wrong, for the user."""


def provide_tracefs() -> None:
    """Mount tracefs in a mount namespace of our own where the host has not: nothing is left behind.

    TRACEPOINT_PROBE reads the events' formats and numbers there. Raises LoadError.
    """
    if any((root / "events/sched").is_dir() for root in (_TRACEFS, Path("/sys/kernel/debug/tracing"))):
        return
    libc = ctypes.CDLL(None, use_errno=True)

    def check(what: str, result: int) -> None:
        if result != 0:
            reason = os.strerror(ctypes.get_errno())
            raise LoadError(
                f"tracefs is not mounted at {_TRACEFS} and {what} failed ({reason}): mount it with "
                f"'mount -t tracefs tracefs {_TRACEFS}', or give the collector CAP_SYS_ADMIN"
            )

    check("a mount namespace to mount it in", libc.unshare(_CLONE_NEWNS))
    check("making that namespace private", libc.mount(None, b"/", None, _MS_REC_PRIVATE, None))
    check("mounting it", libc.mount(b"tracefs", bytes(_TRACEFS), b"tracefs", 0, None))


def load(defines: dict[str, int]) -> dict[str, int]:
    """Compile, load and attach. Returns descriptors by name.

    Names are ``map:rows``, ``program:on_switch``, ``link:sched_switch``. Raises LoadError; the compiler's and the
    verifier's own words go to standard error, which the launcher shows.
    """
    try:
        from bcc import BPF, lib  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise LoadError(
            f"Python at {sys.executable} cannot import bcc ({error}): install the distribution's package "
            "(Debian and Ubuntu: apt-get install python3-bpfcc) and use a virtual environment made from "
            "/usr/bin/python3 with --system-site-packages"
        ) from error

    provide_tracefs()
    text = "".join(f'#line 1 "bpf/{name}"\n{bpf_source(name)}' for name in SOURCES)
    text += '#line 1 "layout assertions"\n' + assertions(STRUCTS)
    flags = [f"-D{name}={value}" for name, value in sorted(defines.items())]
    with as_file(files("kepler_ebpf.bpf")) as headers:
        # bcc takes our handful of headers for a kernel source tree: no kernel headers needed on this machine.
        os.environ["BCC_KERNEL_SOURCE"] = str(headers)
        try:
            bpf = BPF(text=text, cflags=flags)
        except Exception as error:
            raise LoadError(f"bcc could not compile and load the programs: {error}") from error

    descriptors: dict[str, int] = {}
    try:
        for program in (*RAW_TRACEPOINTS, *RUN_BY_HAND):
            descriptors[f"program:{program}"] = bpf.load_func(program.encode(), BPF.RAW_TRACEPOINT).fd
        for program, event in RAW_TRACEPOINTS.items():
            bpf.attach_raw_tracepoint(tp=event.encode(), fn_name=program.encode())
    except Exception as error:
        raise LoadError(f"the kernel did not take a program: {error}") from error
    for name, function in bpf.funcs.items():
        descriptors.setdefault(f"program:{_event(name)}", function.fd)
    for name, fd in [*bpf.raw_tracepoint_fds.items(), *bpf.tracepoint_fds.items()]:
        descriptors[f"link:{name.decode()}"] = fd
    for name in _map_names(bpf):
        descriptors[f"map:{name.decode()}"] = lib.bpf_table_fd(bpf.module, name)
    return descriptors


def _event(function_name: bytes) -> str:
    return function_name.decode().split("__")[-1]


def _map_names(bpf: Any) -> list[bytes]:
    from bcc import lib

    lib.bpf_table_name.restype = ctypes.c_char_p  # bcc declares nothing for this one
    return [lib.bpf_table_name(bpf.module, i) for i in range(lib.bpf_num_tables(bpf.module))]


def main() -> None:
    """Serve one request and exit."""
    began = time.monotonic()
    channel = socket.socket(fileno=int(sys.argv[1]))
    request = json.loads(channel.recv(65536))
    try:
        descriptors = load(request["defines"])
    except LoadError as error:
        channel.sendall(json.dumps({"error": str(error)}).encode())
        sys.stderr.flush()
        os._exit(1)
    names = list(descriptors)
    header = {
        "names": names,
        "seconds": time.monotonic() - began,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    channel.sendall(json.dumps(header).encode())
    for start in range(0, len(names), _DESCRIPTORS_PER_MESSAGE):
        part = [descriptors[name] for name in names[start : start + _DESCRIPTORS_PER_MESSAGE]]
        socket.send_fds(channel, [b"."], part)
    # No clean-up: bcc's would disable the perf events that the tracepoint programs hang on.
    os._exit(0)


if __name__ == "__main__":
    main()
