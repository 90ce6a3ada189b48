"""The short-lived process that compiles and attaches the BPF programs.

Importing bcc and compiling costs over 100 MB resident, so it never happens in the collector. This process does it,
sends every descriptor over the socket it was given (``SCM_RIGHTS``), and exits; what is attached stays attached for as
long as the collector holds the descriptors, and goes away with it, also when the collector is killed.

:mod:`.launch` starts it: ``main`` is told the socket's number as the first argument.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

from ..host.syscalls import attach_program, load_program
from .btf import KERNEL, Types, kernel_types
from .offsets import offsets
from .sources import FOLDER, SOURCES, STRUCTS, assertions, bpf_source

_DESCRIPTORS_PER_MESSAGE = 200  # SCM_MAX_FD is 253
_SHOWN_LINES = 12  # of the verifier's

TRACEPOINTS = {
    "on_switch": "sched_switch",
    "on_rename": "task_rename",
    "on_exec": "sched_process_exec",
    "on_exit": "sched_process_exit",
    "on_attach": "cgroup_attach_task",
    "on_mkdir": "cgroup_mkdir",
    "on_rmdir": "cgroup_rmdir",
}
OPTIONAL = "open_slice"
"""Runs when asked; before Linux 5.11 there is no helper that it needs."""

_LOG_BYTES = 1 << 20
_PROBE_READ_KERNEL_STR = 115
# Reads no bytes into the stack by that helper: r1 = r10 - 8, r2 = 1, r3 = 0; call; r0 = 0; exit.
_READS_A_STRING = b"".join(
    struct.pack("=BBhi", *instruction)
    for instruction in (
        (0xBF, 0xA1, 0, 0),
        (0x07, 0x01, 0, -8),
        (0xB7, 0x02, 0, 1),
        (0xB7, 0x03, 0, 0),
        (0x85, 0x00, 0, _PROBE_READ_KERNEL_STR),
        (0xB7, 0x00, 0, 0),
        (0x95, 0x00, 0, 0),
    )
)


class LoadError(Exception):
    """What went wrong, for the user."""


def may_read_strings() -> bool:
    """Whether programs may read the kernel's memory by address: lockdown=confidentiality forbids it."""
    try:
        os.close(load_program("may_read", _READS_A_STRING))
    except OSError:
        return False
    return True


def types_of_kernel() -> Types:
    """What the running kernel tells of its types. Raises LoadError."""
    try:
        return kernel_types()
    except (OSError, ValueError) as error:
        raise LoadError(
            f"cannot use the kernel's type information at {KERNEL} ({error}): a kernel built with "
            "CONFIG_DEBUG_INFO_BTF is needed, as every distribution's is since 5.10"
        ) from error


def load(defines: dict[str, int], hierarchy: int = 0, controller: str = "", strings: bool = True) -> dict[str, int]:
    """Compile, load and attach, with these definitions, for the cgroups of this hierarchy (:func:`offsets`).

    ``strings``: whether programs may read the kernel's strings. Returns descriptors by name: ``map:processes``,
    ``program:on_switch``, ``link:sched_switch``. Raises LoadError; the compiler's own words go to standard error, which
    the launcher shows.
    """
    types = types_of_kernel()
    try:
        defines = {**defines, **offsets(types, hierarchy, controller), **({"STRINGS": 1} if strings else {})}
        numbers = {program: types.typedef(f"btf_trace_{event}") for program, event in TRACEPOINTS.items()}
    except (KeyError, ValueError) as error:
        raise LoadError(f"this kernel is not one we know how to read: {error.args[0]}") from error
    bpf = compile_programs(defines)

    descriptors: dict[str, int] = {}
    for program, number in numbers.items():
        descriptors[f"program:{program}"] = load_typed(program, bpf.dump_func(program.encode()), number)
    with contextlib.suppress(OSError):
        descriptors[f"program:{OPTIONAL}"] = load_program(OPTIONAL, bpf.dump_func(OPTIONAL.encode()))
    for program, event in TRACEPOINTS.items():
        try:
            descriptors[f"link:{event}"] = attach_program(descriptors[f"program:{program}"])
        except OSError as error:
            raise LoadError(f"the kernel did not attach {program} to {event}: {error}") from error
    for name, fd in _maps(bpf):
        descriptors[f"map:{name}"] = fd
    return descriptors


def compile_programs(defines: dict[str, int]) -> Any:
    """bcc's module of our programs: compiled, its maps made, nothing loaded. Raises LoadError."""
    try:
        from bcc import BPF  # type: ignore[import-not-found,unused-ignore]
    except (ImportError, OSError, MemoryError) as error:  # a library of its compiler may not fit into memory
        raise LoadError(
            f"Python at {sys.executable} cannot import bcc ({error}): install the distribution's package "
            "(Debian and Ubuntu: apt-get install python3-bpfcc) and use a virtual environment made from "
            "/usr/bin/python3 with --system-site-packages"
        ) from error

    text = "".join(f'#line 1 "bpf/{name}"\n{bpf_source(name)}' for name in SOURCES)
    text += '#line 1 "layout assertions"\n' + assertions(STRUCTS)
    flags = [f"-D{name}={value}" for name, value in sorted(defines.items())]
    # bcc takes our handful of headers for a kernel source tree: no kernel headers needed on this machine.
    os.environ["BCC_KERNEL_SOURCE"] = str(FOLDER)
    try:
        return BPF(text=text, cflags=flags)
    except Exception as error:
        raise LoadError(f"bcc could not compile the programs: {error}") from error


def load_typed(name: str, instructions: bytes, number: int) -> int:
    """Descriptor of a program for the tracepoint of this type. Raises LoadError, with the end of the verifier's words.

    They are asked for only after a refusal: to write them takes longer than to load.
    """
    try:
        return load_program(name, instructions, number)
    except OSError as error:
        try:
            return load_program(name, instructions, number, _LOG_BYTES)
        except OSError as told:
            last = "\n".join((told.strerror or "").strip().splitlines()[-_SHOWN_LINES:])
            raise LoadError(f"the kernel did not take {name}: {error.strerror}\n{last}") from error


def _maps(bpf: Any) -> Iterator[tuple[str, int]]:
    from bcc import lib

    lib.bpf_table_name.restype = ctypes.c_char_p  # bcc declares nothing for this one
    for number in range(lib.bpf_num_tables(bpf.module)):
        yield lib.bpf_table_name(bpf.module, number).decode(), lib.bpf_table_fd_id(bpf.module, number)


def main() -> None:
    """Serve one request and exit."""
    began = time.monotonic()
    channel = socket.socket(fileno=int(sys.argv[1]))
    request = json.loads(channel.recv(65536))
    try:
        strings = may_read_strings()
        descriptors = load(request["defines"], request["hierarchy"], request["controller"], strings)
    except LoadError as error:
        channel.sendall(json.dumps({"error": str(error)}).encode())
        sys.stderr.flush()
        os._exit(1)
    names = list(descriptors)
    header = {
        "names": names,
        "reads_strings": strings,
        "seconds": time.monotonic() - began,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    channel.sendall(json.dumps(header).encode())
    for start in range(0, len(names), _DESCRIPTORS_PER_MESSAGE):
        part = [descriptors[name] for name in names[start : start + _DESCRIPTORS_PER_MESSAGE]]
        socket.send_fds(channel, [b"."], part)
    # No clean-up: bcc's would detach the programs.
    os._exit(0)
