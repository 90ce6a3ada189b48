"""The programs that are held against each other: how each is started, and what it tells of each process.

The peers are started with their defaults, but for the interval, the address, and what would hide processes.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kepler_ebpf.host import syscalls


class Program(ABC):
    """``joules``: energy of each process by its id, from the first look on."""

    name: str

    def __init__(self, path: str = "") -> None:
        self.path = path
        self.joules: dict[int, float] = {}
        self._port = 0

    def version(self) -> str:
        """What it says of itself, in a word."""
        said = subprocess.run([self.path, "--version"], capture_output=True, text=True, timeout=20)
        found = re.search(r"\d+\.\d[\w.+-]*", said.stdout + said.stderr)
        return found.group() if found else "no version told"

    def command(self, interval: float, port: int, directory: Path) -> list[str]:
        """What starts it: samples every so many seconds, serves at a port, keeps its files in a directory."""
        self._port = port
        return self._command(interval, directory)

    @abstractmethod
    def _command(self, interval: float, directory: Path) -> list[str]: ...

    def scrape(self) -> str:
        """What it has to tell now. Raises OSError while it does not answer."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    @abstractmethod
    def look(self, page: str, seconds: float) -> None:
        """Take in a page, so many seconds after the one before (0: the first)."""


class Counting(Program):
    """Tells joules of each process as a counter. ``family``: its name. ``zone``: a label that must be there."""

    family: str
    zone = ""

    def __init__(self, path: str = "") -> None:
        super().__init__(path)
        self._first: dict[int, float] = {}

    def look(self, page: str, seconds: float) -> None:
        for labels, value in series(page, self.family):
            if self.zone in labels and (pid := pid_of(labels)):
                if not seconds:
                    self._first[pid] = value
                self.joules[pid] = value - self._first.get(pid, 0.0)


class Ours(Counting):
    name, family = "ours", "kepler_process_package_joules_total"

    def version(self) -> str:
        return "(this checkout)"

    def _command(self, interval: float, directory: Path) -> list[str]:
        # A meter that draws the same whatever runs would teach the idle floor that all of it is idle.
        options = {"listen": f"127.0.0.1:{self._port}", "process-metrics": "all", "idle-watts": "0"}
        options["sample-interval"] = f"{interval:g}s"
        flags = [word for name, value in options.items() for word in (f"--{name}", value)]
        return [sys.executable, "-m", "kepler_ebpf", "serve", *flags]


class Kepler(Counting):
    name, family, zone = "Kepler", "kepler_process_cpu_joules_total", 'zone="package"'
    _version = ""

    def version(self) -> str:
        return self._version or "no version told"

    def look(self, page: str, seconds: float) -> None:
        super().look(page, seconds)
        for labels, _ in series(page, "kepler_build_info"):  # it has no option that tells
            if found := re.search(r'(?:^|,)version="([^"]+)"', labels):
                self._version = found.group(1)

    def _command(self, interval: float, directory: Path) -> list[str]:
        config = directory / "kepler.yaml"
        config.write_text(
            f"monitor: {{interval: {interval:g}s, staleness: {interval / 2:g}s, "
            "minTerminatedEnergyThreshold: 0, maxTerminated: -1}\n"
            "cpu: {preferredMeters: [rapl]}\n"
            f"web: {{listenAddresses: ['127.0.0.1:{self._port}']}}\n"
        )
        return [self.path, "--config.file", str(config)]


class Scaphandre(Program):
    """Measures whenever it is asked, and tells watts: each stands for the time since it was asked before."""

    name = "scaphandre"

    def _command(self, interval: float, directory: Path) -> list[str]:
        return [self.path, "prometheus", "--address", "127.0.0.1", "--port", str(self._port)]

    def look(self, page: str, seconds: float) -> None:
        for labels, microwatts in series(page, "scaph_process_power_consumption_microwatts"):
            if pid := pid_of(labels):
                self.joules[pid] = self.joules.get(pid, 0.0) + microwatts * 1e-6 * seconds


class Alumet(Program):
    """Writes a file instead of a page: what it has to tell is what has been added to the file."""

    name = "alumet"

    def _command(self, interval: float, directory: Path) -> list[str]:
        self._file, self._read, self._columns = directory / "alumet.csv", 0, list[str]()
        config = directory / "alumet.toml"
        config.write_text(
            _ALUMET.format(interval=f"{interval * 1e3:.0f}ms", keep=f"{interval * 4e3:.0f}ms", file=self._file)
        )
        plugins = "rapl,procfs,energy-attribution,csv"
        return [self.path, "--config", str(config), "--plugins", plugins, "run"]

    def scrape(self) -> str:
        with self._file.open("rb") as file:
            file.seek(self._read)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.decode()

    def look(self, page: str, seconds: float) -> None:
        for line in page.splitlines():
            cells = line.split(";")
            if "metric" in cells:
                self._columns = cells
            row = dict(zip(self._columns, cells))
            if seconds and row.get("metric", "").startswith("attributed_energy") and row["consumer_kind"] == "process":
                pid = int(row["consumer_id"])
                self.joules[pid] = self.joules.get(pid, 0.0) + float(row["value"])


_ALUMET = """
[plugins.rapl]
poll_interval = "{interval}"
flush_interval = "1s"
no_perf_events = true

[plugins.procfs.kernel]
enabled = false
poll_interval = "5s"

[plugins.procfs.memory]
enabled = false
poll_interval = "5s"
metrics = []

[plugins.procfs.network]
enabled = false
poll_interval = "5s"

[plugins.procfs.processes]
enabled = true
refresh_interval = "{interval}"
strategy = "watcher"

[[plugins.procfs.processes.groups]]
exe_regex = ""
poll_interval = "{interval}"
flush_interval = "1s"
memory_mode = "quick"

[plugins.procfs.processes.events]
poll_interval = "{interval}"
flush_interval = "1s"
memory_mode = "quick"

[plugins.energy-attribution.formulas.attributed_energy]
expr = "cpu_energy * cpu_usage / 100.0"
ref = "cpu_energy"
retention_time = "{keep}"

[plugins.energy-attribution.formulas.attributed_energy.per_resource]
cpu_energy = {{ metric = "rapl_consumed_energy", resource_kind = "local_machine", domain = "package_total" }}

[plugins.energy-attribution.formulas.attributed_energy.per_consumer]
cpu_usage = {{ metric = "cpu_percent", kind = "total" }}

[plugins.csv]
output_path = "{file}"
force_flush = true
append_unit_to_metric_name = false
use_unit_display_name = true
csv_delimiter = ";"
csv_late_delimiter = ","
"""


def series(page: str, family: str) -> Iterator[tuple[str, float]]:
    """Labels, as they are written, and value of each series of a family."""
    for labels, value in re.findall(rf"^{family}\{{(.*)\}} (\S+)", page, re.MULTILINE):
        yield labels, float(value)


def pid_of(labels: str) -> int:
    """The process id among labels, 0 where there is none."""
    found = re.search(r'\bpid="(\d+)"', labels)
    return int(found.group(1)) if found else 0


class _EnableStats(ctypes.Structure):
    _fields_ = (("type", ctypes.c_uint32),)


@contextmanager
def program_time() -> Iterator[None]:
    """Meanwhile the kernel counts what BPF programs cost, whatever ``kernel.bpf_stats_enabled`` says."""
    # BPF_ENABLE_STATS, since Linux kernel commit d46edd671a14 (in v5.8): as long as the descriptor is open.
    fd = syscalls._bpf(32, _EnableStats(type=0))
    try:
        yield
    finally:
        os.close(fd)


def kernel_seconds(pid: int) -> float:
    """What the BPF programs that a process holds have cost since :func:`program_time` began."""
    programs = {}
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        try:
            text = Path(f"/proc/{pid}/fdinfo/{fd}").read_text()
        except FileNotFoundError:
            continue
        if ran := re.search(r"^run_time_ns:\s+(\d+)", text, re.MULTILINE):
            number = re.search(r"^prog_id:\s+(\d+)", text, re.MULTILINE)
            assert number
            programs[number.group(1)] = int(ran.group(1))
    return sum(programs.values()) * 1e-9
