"""A collector for a long time beside what wears it out: ``make soak``. Needs root.

Processes come and go, containers come, work and go, and the endpoint is scraped and looked at. Memory, descriptors,
threads and rows of the tables must be as flat at the end as they were before, and the books must close all the time.
Exits with 1, after it has printed the table, where they are or do not.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import os
import re
import secrets
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.footprint import resident_mib
from benchmarks.report import Figure, fill, table
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.hierarchy import hierarchies

_LOOK_SECONDS = 5.0
_SHOWN = 10
_FORKS = "while :; do /bin/true; /bin/true; /bin/true; /bin/true; /bin/true; sleep 0.05; done"
_WORK = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done"
_FLAGS = ("--metrics-interval", "1s", "--exit-hold", "20s")
_ACCEPT = ("text/plain", "application/openmetrics-text; version=1.0.0", "*/*")


@dataclass(frozen=True)
class Seen:
    """The collector at one moment. ``gap``: of its books, relative. ``bad``: failed samples, and slices beyond rows."""

    minutes: float
    resident_mib: float
    descriptors: int
    threads: int
    process_rows: int
    cgroup_rows: int
    series: int
    gap: float
    bad: int


class Repeated:
    """Calls a function again and again, in a thread, until the end.

    ``failed``: what it raised: a load that fails now and then must not cost the table.
    """

    def __init__(self, each: Callable[[], None], pause_seconds: float) -> None:
        self._each, self._pause_seconds = each, pause_seconds
        self._stop = threading.Event()
        self.count = 0
        self.failed: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(self._pause_seconds):
            try:
                self._each()
                self.count += 1
            except Exception as error:
                self.failed.append(f"{_now()} {error}")

    def __enter__(self) -> Repeated:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Containers:
    """Cgroups as docker makes them, with a process in each; all are removed."""

    def __init__(self) -> None:
        found = [one for one in hierarchies(HostFS()) if not one.controller]
        if not found:
            sys.exit("make soak needs a cgroup2 file system")
        self._folder = found[0].root / "docker"
        self._ours = not self._folder.exists()
        self._folder.mkdir(exist_ok=True)

    def run(self, work: str = _WORK) -> None:
        """One container, from its birth to its end."""
        place = self._folder / secrets.token_hex(32)
        place.mkdir(parents=True)  # others may have removed the folder when it was empty
        try:
            subprocess.run(["/bin/sh", "-c", f"echo $$ > {place}/cgroup.procs; {work}"], check=True)
        finally:
            for _ in range(100):
                try:
                    place.rmdir()
                    break
                except OSError:  # its last process is still on its way out
                    time.sleep(0.02)

    def close(self) -> None:
        if self._ours:
            with contextlib.suppress(OSError):
                self._folder.rmdir()


class Endpoint:
    """The collector's pages, as different clients ask for them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._asked = 0
        self.refused: list[str] = []  # answers that were none, with what they said

    def get(self, path: str, **headers: str) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            body: bytes = answer.read()
            return (gzip.decompress(body) if answer.headers["Content-Encoding"] == "gzip" else body).decode()

    def scrape(self) -> None:
        """The page in one of its formats, zipped every other time."""
        self._asked += 1
        encoding = "gzip" if self._asked % 2 else "identity"
        with self.noted("/metrics"):
            self.get("/metrics", **{"Accept": _ACCEPT[self._asked % 3], "Accept-Encoding": encoding})

    def look(self) -> None:
        """What a person and a probe look at."""
        for path in ("/", "/healthz", "/readyz"):
            with self.noted(path):
                self.get(path)

    @contextmanager
    def noted(self, path: str) -> Iterator[None]:
        try:
            yield
        except urllib.error.HTTPError as error:
            self.refused.append(f"{_now()} {path}: {error.code} {error.read().decode().strip()}")
        except (OSError, http.client.HTTPException) as error:
            self.refused.append(f"{_now()} {path}: {error}")


@contextmanager
def collector() -> Iterator[tuple[int, Endpoint]]:
    """A collector that is ready: its process id, and its endpoint."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "kepler_ebpf", "serve", "--listen", f"127.0.0.1:{port}", *_FLAGS]
    with subprocess.Popen(command) as process:
        try:
            endpoint = Endpoint(port)
            for _ in range(600):
                with contextlib.suppress(OSError):
                    endpoint.get("/readyz")
                    break
                if process.poll() is not None:
                    sys.exit("the collector did not start")
                time.sleep(0.1)
            yield process.pid, endpoint
        finally:
            process.terminate()


def see(minutes: float, pid: int, endpoint: Endpoint) -> Seen:
    page = endpoint.get("/metrics")

    def values(name: str) -> list[float]:
        return [float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", page, re.MULTILINE)]

    def rows(name: str) -> int:
        (value,) = values(f'kepler_ebpf_rows_used{{table="{name}"}}')
        return int(value)

    bad = sum(values("kepler_ebpf_failed_samples_total")) + sum(values("kepler_ebpf_overflow_slices_total"))
    return Seen(
        minutes,
        resident_mib(pid),
        len(os.listdir(f"/proc/{pid}/fd")),
        len(os.listdir(f"/proc/{pid}/task")),
        rows("process"),
        rows("cgroup"),
        len(re.findall(r"^kepler_\w*joules_total", page, re.MULTILINE)),
        max(values("kepler_ebpf_books_gap_ratio")),
        int(bad),
    )


@dataclass(frozen=True)
class Watched:
    """``amounts``: how much of everything it was. ``refused``: answers that were none. ``failed``: what a load said."""

    seen: Sequence[Seen]
    amounts: Mapping[str, int]
    refused: Sequence[str]
    failed: Mapping[str, Sequence[str]]


def watch(minutes: float) -> Watched:
    """Wear a collector out for so long."""
    seen: list[Seen] = []
    with ExitStack() as stack:
        containers = Containers()
        stack.callback(containers.close)
        pid, endpoint = stack.enter_context(collector())
        forks = stack.enter_context(subprocess.Popen(["/bin/sh", "-c", _FORKS]))
        stack.callback(forks.kill)
        worn = {
            "containers": stack.enter_context(Repeated(containers.run, 0.4)),
            "scrapes": stack.enter_context(Repeated(endpoint.scrape, 1.0)),
            "page views": stack.enter_context(Repeated(endpoint.look, 2.0)),
        }
        forked, began = _forks(), time.monotonic()
        while (passed := time.monotonic() - began) < 60 * minutes:
            time.sleep(_LOOK_SECONDS)
            with endpoint.noted("/metrics"):
                seen.append(see(passed / 60, pid, endpoint))
        amounts = {"processes": _forks() - forked, **{name: one.count for name, one in worn.items()}}
    return Watched(seen, amounts, endpoint.refused, {name: one.failed for name, one in worn.items()})


def _now() -> str:
    return time.strftime("%H:%M:%S")


def _forks() -> int:
    """Processes and threads that were made since the boot, by anybody (proc_stat(5))."""
    match = re.search(r"^processes (\d+)", Path("/proc/stat").read_text(), re.MULTILINE)
    assert match
    return int(match[1])


def timeline(seen: Sequence[Seen]) -> str:
    """Some moments, evenly spread."""
    step = max(len(seen) // _SHOWN, 1)
    lines = (
        f"{one.minutes:6.1f} {one.resident_mib:5.1f} {one.descriptors:12} {one.threads:8} {one.process_rows:13} "
        f"{one.cgroup_rows:12} {one.series:7}  {one.gap:.1e}"
        for one in [*seen[::step][:_SHOWN], seen[-1]]
    )
    return "\n".join(["minute   MiB  descriptors  threads  process rows  cgroup rows  series  gap", *lines])


def judged(watched: Watched) -> list[Figure]:
    """The last third beside the middle one, by medians: what grows has a goal."""
    seen, refused = watched.seen, watched.refused
    failures = {name: said for name, said in watched.failed.items() if said}
    failed = [100 * len(said) / (len(said) + watched.amounts[name]) for name, said in failures.items()]
    first = "; ".join(f"{name}: {said[0]}" for name, said in failures.items())
    third = len(seen) // 3
    middle, last = seen[third : 2 * third], seen[2 * third :]

    def growth(column: str) -> float:
        before, after = (statistics.median(getattr(one, column) for one in part) for part in (middle, last))
        return float(after - before)

    return [
        Figure("memory: growth", growth("resident_mib"), "MiB", 2.0, "medians: last third less middle third"),
        Figure("memory: most", max(one.resident_mib for one in seen), "MiB", 80.0),
        Figure("descriptors: growth", growth("descriptors"), "", 2.0),
        Figure("threads: growth", growth("threads"), "", 1.0),
        Figure("process rows: growth", growth("process_rows"), "", 100.0, "others' processes count too"),
        Figure("cgroup rows: growth", growth("cgroup_rows"), "", 10.0),
        Figure("series: growth", growth("series"), "", 100.0),
        Figure("books: largest gap", max(one.gap for one in seen), "", 1e-9, "relative"),
        Figure("failed samples, slices beyond rows", max(one.bad for one in seen), "", 0.0),
        Figure("pages and probes refused", len(refused), "", 0.0, refused[0] if refused else ""),
        Figure("loads that failed", max(failed, default=0.0), "%", 1.0, first),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="for how long (30)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page's marked section")
    arguments = parser.parse_args()
    if arguments.minutes < 1:
        parser.error("at least a minute: there is nothing to compare before")
    watched = watch(arguments.minutes)
    figures = judged(watched)
    what = ", ".join(f"{number:,} {name}" for name, number in watched.amounts.items())
    result = f"{arguments.minutes:g} minutes: {what}\n\n{timeline(watched.seen)}\n\n{table(figures)}"
    print(result)
    if arguments.write:
        page = arguments.write.read_text()
        arguments.write.write_text(fill(page, "soak", f"```\n{result}\n```"))
    return 1 if any(figure.verdict == "NOT MET" for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
