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
from typing import Any

from .btf import kernel_types
from .layout import SOURCES, STRUCTS, assertions, bpf_source

_DESCRIPTORS_PER_MESSAGE = 200  # SCM_MAX_FD is 253

RAW_TRACEPOINTS = {
    "on_fork": "sched_process_fork",
    "on_rename": "task_rename",
    "on_exit": "sched_process_exit",
    "on_free": "sched_process_free",
    "on_switch": "sched_switch",
}
CGROUP_TRACEPOINTS = {"on_mkdir": "cgroup_mkdir", "on_rmdir": "cgroup_rmdir"}
RUN_BY_HAND = ("close_slice",)


class LoadError(Exception):
    """What went wrong, for the user."""


def cgroup_defines(hierarchy: int, controller: str) -> dict[str, int]:
    """Where the kernel keeps what ``bpf/cgroups.c`` reads; empty where its type information does not tell.

    ``hierarchy``: its number, 0 for v2. ``controller``: one that is in this hierarchy of v1; empty for v2.
    """
    types = kernel_types()
    if types is None:
        return {}
    try:
        defines = {
            "HIERARCHY": hierarchy,
            "CGROUP_KN": types.offset("cgroup", "kn"),
            "CGROUP_ROOT": types.offset("cgroup", "root"),
            "CGROUP_ROOT_HIERARCHY_ID": types.offset("cgroup_root", "hierarchy_id"),
            "KERNFS_NODE_ID": types.offset("kernfs_node", "id"),
        }
        if controller:
            defines |= {
                "SUBSYSTEM": types.enumerator("cgroup_subsys_id", f"{controller}_cgrp_id"),
                "TASK_CGROUPS": types.offset("task_struct", "cgroups"),
                "CSS_SET_SUBSYS": types.offset("css_set", "subsys"),
                "CSS_CGROUP": types.offset("cgroup_subsys_state", "cgroup"),
            }
    except KeyError:
        return {}
    return defines


def load(defines: dict[str, int], of_cgroups: dict[str, int]) -> dict[str, int]:
    """Compile, load and attach, with these definitions. Returns descriptors by name.

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

    text = "".join(f'#line 1 "bpf/{name}"\n{bpf_source(name)}' for name in SOURCES)
    text += '#line 1 "layout assertions"\n' + assertions(STRUCTS)
    flags = [f"-D{name}={value}" for name, value in sorted({**defines, **of_cgroups}.items())]
    events = {**RAW_TRACEPOINTS, **(CGROUP_TRACEPOINTS if of_cgroups else {})}
    with as_file(files("kepler_ebpf.bpf")) as headers:
        # bcc takes our handful of headers for a kernel source tree: no kernel headers needed on this machine.
        os.environ["BCC_KERNEL_SOURCE"] = str(headers)
        try:
            bpf = BPF(text=text, cflags=flags)
        except Exception as error:
            raise LoadError(f"bcc could not compile and load the programs: {error}") from error

    descriptors: dict[str, int] = {}
    try:
        for program in (*events, *RUN_BY_HAND):
            descriptors[f"program:{program}"] = bpf.load_func(program.encode(), BPF.RAW_TRACEPOINT).fd
        for program, event in events.items():
            bpf.attach_raw_tracepoint(tp=event.encode(), fn_name=program.encode())
    except Exception as error:
        raise LoadError(f"the kernel did not take a program: {error}") from error
    for name, fd in bpf.raw_tracepoint_fds.items():
        descriptors[f"link:{name.decode()}"] = fd
    for name in _map_names(bpf):
        descriptors[f"map:{name.decode()}"] = lib.bpf_table_fd(bpf.module, name)
    return descriptors


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
        of_cgroups = cgroup_defines(request["hierarchy"], request["controller"])
        descriptors = load(request["defines"], of_cgroups)
    except LoadError as error:
        channel.sendall(json.dumps({"error": str(error)}).encode())
        sys.stderr.flush()
        os._exit(1)
    names = list(descriptors)
    header = {
        "names": names,
        "sees_cgroups": bool(of_cgroups),
        "seconds": time.monotonic() - began,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    channel.sendall(json.dumps(header).encode())
    for start in range(0, len(names), _DESCRIPTORS_PER_MESSAGE):
        part = [descriptors[name] for name in names[start : start + _DESCRIPTORS_PER_MESSAGE]]
        socket.send_fds(channel, [b"."], part)
    # No clean-up: bcc's would detach the programs.
    os._exit(0)


if __name__ == "__main__":
    main()
