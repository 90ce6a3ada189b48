"""Memory and CPU of the running collector, beside 1,000 processes that wake up now and then."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.report import Figure

_TICKS = os.sysconf("SC_CLK_TCK")
_SETTLE_SECONDS = 4.0
_OBSERVE_SECONDS = 20.0
# Each wakes ten times a second, so that every 100 ms sample sees it.
_CROWD = """
import os, signal, sys, time
processes, most = int(sys.argv[1]), float(sys.argv[2])
for number in range(processes):
    child = os.fork()
    if child:
        print(child, flush=True)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while time.process_time() < most * number / processes:
            pass
        while True:
            time.sleep(0.1)
signal.pause()
"""


@contextmanager
def crowd(processes: int, used_seconds: float = 0.0) -> Iterator[list[int]]:
    """So many processes that wake ten times a second each; yields their ids, when all are there.

    ``used_seconds``: CPU time with which they begin, from none to this, evenly spread.
    """
    command = [sys.executable, "-S", "-c", _CROWD, str(processes), str(used_seconds)]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as crowd:
        try:
            assert crowd.stdout
            yield [int(crowd.stdout.readline()) for _ in range(processes)]
        finally:
            os.killpg(crowd.pid, signal.SIGTERM)
            crowd.wait()
            _wait_for_end(crowd.pid)


def _wait_for_end(group: int, most_seconds: float = 30.0) -> None:
    """Thousands take seconds to end: what is measured next is not to be beside that."""
    end = time.monotonic() + most_seconds
    with suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.killpg(group, 0)
            time.sleep(0.1)


@contextmanager
def collector(port: int, *flags: str) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "kepler_ebpf", "serve", "--listen", f"127.0.0.1:{port}", *flags],
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_page(port)  # to start takes seconds on a busy machine, and is no part of what it costs to run
        time.sleep(_SETTLE_SECONDS)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _wait_for_page(port: int, most_seconds: float = 60.0) -> None:
    end = time.monotonic() + most_seconds
    while time.monotonic() < end:
        with suppress(OSError):
            scrape(port)
            return
        time.sleep(0.1)


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mib(pid: int) -> float:
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match.group(1)) / 1024


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def _value(text: str, name: str) -> float:
    match = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert match, name
    return float(match.group(1))


def _load(port: int, pid: int, interval: float) -> float:
    """Per cent of one core over the observation, scraped every 5 seconds as a busy Prometheus would."""
    before, began = cpu_seconds(pid), time.monotonic()
    while time.monotonic() - began < _OBSERVE_SECONDS:
        time.sleep(interval)
        scrape(port)
    return 100 * (cpu_seconds(pid) - before) / (time.monotonic() - began)


def measure() -> list[Figure]:
    """Start the collector alone and beside the crowd, at 100 ms and at 10 ms."""
    figures = []
    with collector(9931) as pid:
        text = scrape(9931)
        figures += [
            Figure("memory: collector after start-up", resident_mib(pid), "MiB", 64, "resident, after one scrape"),
            Figure("loader: peak memory", _value(text, "kepler_ebpf_loader_peak_bytes") / 2**20, "MiB"),
            Figure("loader: time", _value(text, "kepler_ebpf_loader_seconds"), "s"),
        ]
    with crowd(1_000):
        for interval, goal in (("100ms", 1.0), ("10ms", 7.0)):
            # No budget: what it costs is what we want to know.
            with collector(9931, "--sample-interval", interval, "--cpu-budget", "100%") as pid:
                load = _load(9931, pid, 5.0)
                figures.append(Figure(f"CPU: {interval} samples, 1,000 processes", load, "%", goal, "of one core"))
                figures.append(Figure(f"memory: {interval} samples, 1,000 processes", resident_mib(pid), "MiB", 64))
    return figures
