"""Starts the loader process and receives the descriptors of everything it attached."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import IO

from ..errors import KeplerError
from ..host.hierarchy import Hierarchy

_DEADLINE_SECONDS = 60.0
_SHOWN_OUTPUT_BYTES = 32768


@dataclass(frozen=True)
class Loaded:
    """Descriptors of what is attached, by name; closing them detaches and frees it all.

    ``maps``, ``programs`` and ``links`` map names to descriptors. ``seconds`` and ``peak_bytes`` are what loading cost.
    ``sees_cgroups``: whether cgroups that come and go are told of, and those of v1 can be told apart.
    """

    maps: dict[str, int]
    programs: dict[str, int]
    links: dict[str, int]
    seconds: float
    peak_bytes: int
    sees_cgroups: bool

    def close(self) -> None:
        for fd in (*self.links.values(), *self.programs.values(), *self.maps.values()):
            with contextlib.suppress(OSError):
                os.close(fd)


def load_programs(defines: dict[str, int], hierarchy: Hierarchy | None = None) -> Loaded:
    """Compile, load and attach the programs with these C definitions, to book by the cgroups of this hierarchy.

    Raises KeplerError with the loader's reason, and with the compiler's or verifier's own output where it said more.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, tempfile.TemporaryFile() as output:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "kepler_ebpf.kernel.loader", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            ours.settimeout(_DEADLINE_SECONDS)
            request = {
                "defines": defines,
                "hierarchy": hierarchy.number if hierarchy else 0,
                "controller": hierarchy.controller if hierarchy else "",
            }
            ours.sendall(json.dumps(request).encode())
            answer = json.loads(ours.recv(65536) or b"{}")
            received = _receive(ours, len(answer.get("names", ())))
        except (OSError, ValueError) as error:
            process.kill()
            raise KeplerError(f"the BPF loader did not answer: {error}{_said(output)}") from error
        except BaseException:  # a signal that ends us: it must not wait for the compiler
            process.kill()
            raise
        finally:
            process.wait()
        if "names" not in answer:
            reason = answer.get("error", f"the BPF loader ended with status {process.returncode}")
            raise KeplerError(f"{reason}{_said(output)}")
    named = dict(zip(answer["names"], received))

    def kind(prefix: str) -> dict[str, int]:
        return {name[len(prefix) :]: fd for name, fd in named.items() if name.startswith(prefix)}

    return Loaded(
        kind("map:"),
        kind("program:"),
        kind("link:"),
        answer["seconds"],
        answer["peak_bytes"],
        answer["sees_cgroups"],
    )


def _receive(channel: socket.socket, count: int) -> list[int]:
    received: list[int] = []
    while len(received) < count:
        data, descriptors, _, _ = socket.recv_fds(channel, 1, 253)
        received += descriptors
        if not data:
            break
    if len(received) != count:
        for fd in received:
            os.close(fd)
        raise OSError(f"{len(received)} of {count} descriptors arrived")
    for fd in received:
        os.set_inheritable(fd, False)
    return received


def _said(output: IO[bytes]) -> str:
    output.seek(0)
    text = output.read(_SHOWN_OUTPUT_BYTES).decode("utf-8", "replace").strip()
    return f"\n{text}" if text else ""
