"""Options of the collector: each is a flag, a ``KEPLER_*`` variable and a default, in that order of precedence."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .energy.hwmon import Rule
from .errors import UsageError
from .host.fs import HostFS

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)", re.ASCII)
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Seconds of ``500ms``, ``30s``, ``1m``, ``1m30s``. Raises ValueError."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("a duration such as 100ms, 30s or 1m30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def duration(least: float, most: float, form: str) -> Callable[[str], float]:
    """A parser of durations within bounds (seconds), described by ``form``."""

    def parse(text: str) -> float:
        try:
            seconds = parse_duration(text)
        except ValueError:
            raise ValueError(form) from None
        if not least <= seconds <= most:
            raise ValueError(form)
        return seconds

    return parse


def choice(*values: str) -> Callable[[str], str]:
    """A parser that takes one of these words."""

    def parse(text: str) -> str:
        if text not in values:
            raise ValueError("one of " + ", ".join(values))
        return text

    return parse


def number(kind: Callable[[str], Any], least: float, most: float, form: str) -> Callable[[str], Any]:
    """A parser of numbers within bounds."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(form) from None
        if not least <= value <= most:
            raise ValueError(form)
        return value

    return parse


def process_metrics(text: str) -> int:
    """How many processes get series: ``all``, ``off`` (-1), or a number."""
    if text == "all":
        return 1 << 30
    if text == "off":
        return -1
    if text.isdigit():
        return int(text)
    raise ValueError("all, off, or how many processes to show, such as 100")


def folder(text: str) -> Path:
    """An existing folder."""
    path = Path(text)
    if not path.is_dir():
        raise ValueError("an existing folder")
    return path


def existing_file(text: str) -> Path | None:
    """An existing file; empty for none."""
    if text and not Path(text).is_file():
        raise ValueError("an existing file")
    return Path(text) if text else None


def socket_path(text: str) -> str:
    """An absolute path, ``off``, or empty."""
    path = text.removeprefix("unix://")
    if path not in ("", "off") and not path.startswith("/"):
        raise ValueError("an absolute path, or off")
    return path


def optional_watts(text: str) -> float | None:
    """Watts; empty for none."""
    return number(float, 0, 1e6, "watts of the whole node, such as 95.5")(text) if text else None


def hwmon_rules(text: str) -> tuple[Rule, ...]:
    """``CHIP/LABEL=package,…``: sensors and what they measure."""
    rules = []
    for entry in filter(None, text.split(",")):
        sensor, _, component = entry.rpartition("=")
        chip, _, label = sensor.partition("/")
        try:
            if not chip or component not in ("package", "dram"):
                raise ValueError
            rules.append(Rule(re.compile(chip).pattern, re.compile(label).pattern, component))  # type: ignore[arg-type]
        except (ValueError, re.error):
            raise ValueError("CHIP/LABEL=package or CHIP/LABEL=dram, separated by commas") from None
    return tuple(rules)


@dataclass(frozen=True)
class Option:
    """``name``: the flag without its dashes; the variable is ``KEPLER_`` and the name in capitals."""

    name: str
    default: str
    parse: Callable[[str], Any]
    help: str

    @property
    def variable(self) -> str:
        return "KEPLER_" + self.name.upper().replace("-", "_")

    @property
    def attribute(self) -> str:
        return self.name.replace("-", "_")

    def value(self, flag: str | None, environment: Mapping[str, str]) -> Any:
        """Flag over variable over default, parsed. Raises UsageError naming the one that is wrong."""
        if flag is not None:
            origin, text = f"--{self.name}", flag
        else:
            origin, text = self.variable, environment.get(self.variable, self.default)
        try:
            return self.parse(text)
        except ValueError as error:
            raise UsageError(f"{origin}: {text!r} will not do: expected {error}") from None


OPTIONS = (
    Option(
        "sample-interval",
        "100ms",
        duration(0.01, 60, "a duration from 10ms to 60s, such as 100ms"),
        "time between samples, 10ms to 60s: short samples tell apart processes that take turns",
    ),
    Option(
        "metrics-interval",
        "5s",
        duration(0.1, 3600, "a duration from 100ms to 1h, such as 5s"),
        "time between publications: what /metrics shows is at most this old",
    ),
    Option(
        "listen", ":9102", str, "address to serve on: :9102 is every address, IPv4 and IPv6; 127.0.0.1:9102; [::1]:9102"
    ),
    Option("procfs", "/proc", folder, "the host's /proc"),
    Option("sysfs", "/sys", folder, "the host's /sys"),
    Option("cgroupfs", "/sys/fs/cgroup", folder, "the host's /sys/fs/cgroup"),
    Option("process-metrics", "100", process_metrics, "processes that get series of their own: a number, all, or off"),
    Option(
        "max-process-series",
        "10000",
        number(int, 1, 10_000_000, "a number from 1 to 10000000"),
        "most process series there may ever be, those of the dead included",
    ),
    Option(
        "rows",
        "32768",
        number(int, 64, 1 << 22, "a number from 64 to 4194304"),
        "rows of the process table in the kernel; processes beyond it share one overflow row",
    ),
    Option(
        "cgroup-rows",
        "8192",
        number(int, 64, 1 << 20, "a number from 64 to 1048576"),
        "rows of the cgroup table in the kernel",
    ),
    Option(
        "idle-policy",
        "none",
        choice("none", "proportional", "equal", "requests"),
        "who is charged with idle energy: none (it stays with the node), proportional (to use), "
        "equal (among all there are), requests (by the CPUs that containers asked for)",
    ),
    Option(
        "hyperthread-ratio",
        "1.1",
        number(float, 1.0, 2.0, "a number from 1 (a second thread costs nothing) to 2 (no correction)"),
        "energy of two busy hyperthreads over that of one",
    ),
    Option(
        "idle-watts",
        "",
        optional_watts,
        "idle floor of all packages together, in place of the learned one, spread evenly over them",
    ),
    Option("gpu-idle-watts", "", optional_watts, "idle floor of each GPU, in place of the learned one"),
    Option("model-idle-watts", "", optional_watts, "power model: watts of the idle node, where you know better"),
    Option("model-max-watts", "", optional_watts, "power model: watts of the node at full load, where you know better"),
    Option(
        "hwmon",
        "",
        hwmon_rules,
        "board sensors to meter beside the known ones: CHIP/LABEL=package or CHIP/LABEL=dram (regular expressions), "
        "separated by commas",
    ),
    Option(
        "cpu-budget",
        "5%",
        lambda text: number(float, 0.1, 100, "per cent of one core, such as 5%")(text.rstrip("%")) / 100,
        "most CPU that sampling may use, per cent of one core; beyond it the sample interval stretches",
    ),
    Option(
        "system-slices",
        "off",
        choice("on", "off"),
        "one workload for each systemd service instead of one for all of them",
    ),
    Option(
        "kubelet-url",
        "",
        str,
        "the kubelet to ask for pods' names, such as https://127.0.0.1:10250, or off; empty: that one, where a service "
        "account is mounted",
    ),
    Option(
        "kubelet-token", "", existing_file, "file with the token for the kubelet, in place of the service account's"
    ),
    Option("kubelet-ca", "", existing_file, "file with the CA of the kubelet's certificate, in place of the cluster's"),
    Option("kubelet-server-name", "", str, "name in the kubelet's certificate, where it is not the host of the URL"),
    Option(
        "kubelet-verify",
        "on",
        choice("on", "off"),
        "off takes any certificate of the kubelet, and so shows the token to whoever answers there",
    ),
    Option(
        "cri-socket",
        "",
        socket_path,
        "the container runtime's CRI socket, or off; empty: containerd's, k3s's, CRI-O's or cri-dockerd's, if there "
        "(needs the extra cri)",
    ),
    Option("docker-socket", "", socket_path, "docker's socket, or off; empty: /run/docker.sock, if there"),
    Option("podman-socket", "", socket_path, "podman's API socket, or off; empty: /run/podman/podman.sock, if there"),
    Option(
        "exit-hold",
        "2m",
        duration(0, 86400, "a duration of at most 24h, such as 2m"),
        "how long series stay after their process or container has died: two scrape intervals",
    ),
    Option(
        "web-config",
        "",
        existing_file,
        "TLS and basic authentication of the endpoint (Prometheus web configuration file)",
    ),
    Option("log-level", "info", choice("debug", "info", "warning", "error"), "what is logged"),
    Option("log-format", "text", choice("text", "json"), "how it is logged"),
)


@dataclass(frozen=True)
class Config:
    """All options, parsed; times in seconds."""

    sample_interval: float
    metrics_interval: float
    listen: str
    procfs: Path
    sysfs: Path
    cgroupfs: Path
    process_metrics: int
    max_process_series: int
    rows: int
    cgroup_rows: int
    idle_policy: str
    hyperthread_ratio: float
    idle_watts: float | None
    gpu_idle_watts: float | None
    model_idle_watts: float | None
    model_max_watts: float | None
    hwmon: tuple[Rule, ...]
    cpu_budget: float
    system_slices: str
    kubelet_url: str
    kubelet_token: Path | None
    kubelet_ca: Path | None
    kubelet_server_name: str
    kubelet_verify: str
    cri_socket: str
    docker_socket: str
    podman_socket: str
    exit_hold: float
    web_config: Path | None
    log_level: str
    log_format: str

    @property
    def fs(self) -> HostFS:
        return HostFS(self.procfs, self.sysfs, self.cgroupfs)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """One flag for each option, its help naming variable and default."""
    for option in OPTIONS:
        shown = f"default {option.default}" if option.default else "not set"
        parser.add_argument(
            f"--{option.name}",
            metavar="VALUE",
            help=f"{option.help} ({option.variable}, {shown})".replace("%", "%%"),
        )


def from_arguments(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Config:
    """Raises UsageError for the first value that does not parse, and for a metrics interval below the sample's."""
    values = {
        option.attribute: option.value(getattr(arguments, option.attribute, None), environment) for option in OPTIONS
    }
    config = Config(**values)
    if config.metrics_interval < config.sample_interval:
        raise UsageError(
            f"KEPLER_METRICS_INTERVAL ({config.metrics_interval:g}s) is shorter than "
            f"KEPLER_SAMPLE_INTERVAL ({config.sample_interval:g}s): it must be at least as long"
        )
    return config
