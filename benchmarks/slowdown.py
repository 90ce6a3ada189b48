"""How much slower others run beside the collector: ``make slowdown``. Needs root, perf, and wrk for the HTTP server.

Each pair runs all loads with the collector and without it, in random order, so that a machine that grows slower or
faster cancels out. Ratios are estimates with their 95 % intervals, as ``kepler-ebpf stat --vs`` reports them. What only
switches runs beside an empty program, too: no collector that sees each switch can cost less.
"""

from __future__ import annotations

import argparse
import platform
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.footprint import collector
from benchmarks.reference import reference_programs
from benchmarks.report import Figure, fill, growth, table

_PORT, _SERVER_PORT = 9935, 9936
_SERVER = """
import asyncio, sys
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Length: 12\\r\\n\\r\\nhello world\\n"
class Hello(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(ANSWER * data.count(b"\\r\\n\\r\\n"))
async def main():
    server = await asyncio.get_running_loop().create_server(Hello, "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
_FORKS = """
import os, time
began = time.perf_counter()
for _ in range(400):
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
print(time.perf_counter() - began)
"""


def _timed(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def _forks() -> float:
    done = subprocess.run([sys.executable, "-S", "-c", _FORKS], check=True, capture_output=True, text=True)
    return float(done.stdout)


def _seconds_a_request() -> float:
    done = subprocess.run(
        ["wrk", "-t1", "-c16", "-d1", f"http://127.0.0.1:{_SERVER_PORT}/"], check=True, capture_output=True, text=True
    )
    line = next(line for line in done.stdout.splitlines() if "Requests/sec" in line)
    return 1 / float(line.split()[-1])


_REPEATS = 3  # runs of a load in each half of a pair, of which the median counts: time is stolen in bursts
_LOADS: dict[str, tuple[Callable[[], float], float]] = {
    "perf bench sched pipe": (partial(_timed, ["perf", "bench", "sched", "pipe", "-l", "40000"]), 4.0),
    "hackbench": (partial(_timed, ["perf", "bench", "sched", "messaging", "-g", "4", "-l", "150"]), 3.0),
    "fork + exec": (_forks, 3.0),
    "HTTP server under wrk": (_seconds_a_request, 1.0),
}
"""By name: seconds of a fixed piece of work, and by how many per cent they may grow."""


_BESIDE: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "nothing": ExitStack,
    "empty program": partial(reference_programs, "empty"),
    "collector": partial(collector, _PORT),
}


@contextmanager
def _server() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-S", "-c", _SERVER, str(_SERVER_PORT)], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout
            server.stdout.readline()
            yield
        finally:
            server.terminate()


def measure(pairs: int) -> list[Figure]:
    """Run so many pairs; at least seven, as fewer have no interval."""
    loads = dict(_LOADS)
    with ExitStack() as held:
        if shutil.which("wrk"):
            held.enter_context(_server())
        else:
            print("wrk is not installed: the HTTP server is left out", file=sys.stderr)
            del loads["HTTP server under wrk"]
        seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
        for number in range(pairs):
            for beside in random.sample(list(_BESIDE), len(_BESIDE)):
                with _BESIDE[beside]():
                    for name in random.sample(list(loads), len(loads)):
                        seconds[name, beside].append(statistics.median(loads[name][0]() for _ in range(_REPEATS)))
            print(f"\r{number + 1} of {pairs} pairs", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return [
        *(
            growth(f"slow-down: {name}", seconds[name, "collector"], seconds[name, "nothing"], goal)
            for name, (_, goal) in loads.items()
        ),
        *(
            growth(f"an empty program alone: {name}", seconds[name, "empty program"], seconds[name, "nothing"], None)
            for name in ("perf bench sched pipe", "hackbench")
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page's marked section")
    arguments = parser.parse_args()
    result = table(measure(arguments.pairs))
    print(result)
    if arguments.write:
        machine = f"{platform.machine()}, Linux {platform.release()}"
        page = fill(arguments.write.read_text(), "slowdown", f"```\n{machine}\n\n{result}\n```")
        arguments.write.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
