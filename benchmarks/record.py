"""What ``record`` loses, writes and uses beside 500 processes that wake up now and then, at its shortest interval."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.footprint import cpu_seconds, crowd, resident_mib
from benchmarks.report import Figure
from kepler_ebpf.recording.reader import read

_PROCESSES = 500
_INTERVAL_SECONDS = 0.01
_DURATION_SECONDS = 60.0
_GOAL_MEGABYTES = 20.0
_GOAL_PER_CENT = 10.0


def _observe(process: subprocess.Popen[str], path: Path) -> tuple[float, float]:
    """Per cent of one core from the first batch to shortly before the end, and MiB resident then."""
    while not (path.exists() and path.stat().st_size > 1 << 14):  # the header alone is smaller
        if process.poll() is not None:
            raise RuntimeError(f"record ended with status {process.returncode}")
        time.sleep(0.1)
    before, began = cpu_seconds(process.pid), time.monotonic()
    time.sleep(_DURATION_SECONDS - 5.0)
    load = 100 * (cpu_seconds(process.pid) - before) / (time.monotonic() - began)
    return load, resident_mib(process.pid)


def measure() -> list[Figure]:
    """A recording of a minute, as a user would make it, and read again."""
    with tempfile.TemporaryDirectory() as folder, crowd(_PROCESSES):
        path = Path(folder) / "recording"
        flags = ["--interval", f"{_INTERVAL_SECONDS:g}s", "--duration", f"{_DURATION_SECONDS:g}s"]
        command = [sys.executable, "-m", "kepler_ebpf", "record", "--output", str(path), *flags]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            load, resident = _observe(process, path)
            said = process.communicate()[1]
        told = re.search(r"^(\d+) frames, (\d+) lines, .* (\d+) samples late$", said, re.MULTILINE)
        if process.returncode or told is None:
            raise RuntimeError(f"record ended with status {process.returncode}: {said}")
        taken, lines, late = map(int, told.groups())
        recording, size = read(path, ["frame", "seconds", "level"]), path.stat().st_size
        frames = recording.level("node")
    seconds = sum(frames["seconds"].to_pylist())
    due = round(seconds / _INTERVAL_SECONDS)
    lost = taken - len(set(frames["frame"].to_pylist()))
    name = f"record: 10ms, 60s, {_PROCESSES} processes"
    return [
        Figure(f"{name}: samples lost", lost, "", 0, f"of {taken} taken, which cover {seconds:.2f} s"),
        Figure(f"{name}: samples late", late, "", None, f"of {due} due: one sample covers the time of several then"),
        Figure(f"{name}: file", size / 1e6, "MB", _GOAL_MEGABYTES, f"{lines / taken:.0f} lines a sample"),
        Figure(f"{name}: CPU", load, "%", _GOAL_PER_CENT, "of one core"),
        Figure(f"{name}: memory", resident, "MiB", None, "resident"),
    ]
