"""Starts the loader process and receives the descriptors of everything it attached."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import KeplerError
from ..host.hierarchy import Hierarchy

_DEADLINE_SECONDS = 60.0
_SHOWN_OUTPUT_BYTES = 32768
# Isolated, in a folder that nobody else can write to: what lies in the folder we were started in is not run.
_START = "import sys; sys.path[:] = sys.argv[2:]; from kepler_ebpf.kernel.loader import main; main()"


@dataclass(frozen=True)
class Loaded:
    """Descriptors of what is attached, by name; closing them detaches and frees it all.

    ``maps``, ``programs`` and ``links`` map names to descriptors. ``seconds`` and ``peak_bytes`` are what loading cost.
    ``reads_strings``: whether the paths of cgroups that come and go are told.
    """

    maps: dict[str, int]
    programs: dict[str, int]
    links: dict[str, int]
    seconds: float
    peak_bytes: int
    reads_strings: bool

    def close(self) -> None:
        for fd in (*self.links.values(), *self.programs.values(), *self.maps.values()):
            with contextlib.suppress(OSError):
                os.close(fd)


def load_programs(defines: dict[str, int], hierarchy: Hierarchy | None = None) -> Loaded:
    """Compile, load and attach the programs with these C definitions, to book by the cgroups of this hierarchy.

    Raises KeplerError with the loader's reason, and with the compiler's or verifier's own output where it said more.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, open(os.memfd_create("loader"), "w+b") as output:  # no folder need be writable for it
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", _START, str(theirs.fileno()), *import_path()],
                pass_fds=[theirs.fileno()],
                cwd="/",
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
        except ConnectionError:
            answer, received = {}, []  # it has ended; how, its status says
        except (OSError, ValueError) as error:
            process.kill()
            raise KeplerError(f"the BPF loader did not answer: {error}{_said(output)}") from error
        except BaseException:  # a signal that ends us: it must not wait for the compiler
            process.kill()
            raise
        finally:
            process.wait()
        if "names" not in answer:
            reason = answer.get("error", _how_it_ended(process.returncode))
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
        answer["reads_strings"],
    )


def import_path() -> list[str]:
    """Where the loader may import from: where we do, without the folder we were started in."""
    try:
        here = os.getcwd()
    except OSError:  # it is gone
        here = ""
    ours = str(Path(__file__).resolve().parents[2])
    return [*(entry for entry in sys.path if os.path.isabs(entry) and os.path.realpath(entry) != here), ours]


def _how_it_ended(status: int) -> str:
    if status == -signal.SIGKILL:
        return (
            "the BPF loader was killed (SIGKILL), most likely for using more memory than its limit"
            f"{_memory_limit()}: it needs about 150 MiB for a second at the start; "
            "raise the limit of the container or unit"
        )
    if status < 0:
        return f"the BPF loader was ended by {signal.Signals(-status).name}"
    return f"the BPF loader ended with status {status}"


def _memory_limit(mounts: Path = Path("/sys/fs/cgroup"), cgroups: Path = Path("/proc/self/cgroup")) -> str:
    """The lowest memory limit of our own cgroup and those above it, as " of 64 MiB"; empty where none can be read."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        for line in cgroups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            root, name = (mounts / "memory", "memory.limit_in_bytes") if controllers else (mounts, "memory.max")
            place = root / path.lstrip("/")
            for folder in (place, *[*place.parents][: len(place.parts) - len(root.parts)]):
                with contextlib.suppress(OSError, ValueError):  # "max" is no number
                    found.append(int((folder / name).read_text()))
    return f" of {min(found) >> 20} MiB" if found and min(found) < 1 << 50 else ""


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
