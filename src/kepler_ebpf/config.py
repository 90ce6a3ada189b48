"""Every option of the collector, said once: a field of :class:`Config` is flag, variable, default, type and help."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UsageError
from .host.fs import HostFS
from .options import (
    Option,
    Rule,
    all_or_number,
    choice,
    duration,
    existing_file,
    host_folder,
    host_folder_or_auto,
    levels,
    namespace_names,
    number,
    option,
    optional_folder,
    optional_watts,
    per_cent,
    sensor_rules,
    socket_paths,
    switch,
    text,
    text_or_auto,
)

SAMPLING, SHARING, SERIES, METERS, NAMES, ENDPOINT, HOST, LOGGING = (
    "sampling",
    "who pays",
    "series",
    "meters",
    "names of containers",
    "endpoint",
    "the host's file systems",
    "logging",
)
GROUPS = (SAMPLING, SHARING, SERIES, METERS, NAMES, ENDPOINT, HOST, LOGGING)
MEASURING = (SAMPLING, SHARING, METERS, NAMES, HOST, LOGGING)
"""The groups of a verb that samples, but serves nothing."""

IDLE_POLICIES = ("none", "proportional", "equal", "requests")
MOST_HYPERTHREAD_RATIO = 2.0


@dataclass(frozen=True)
class Config:
    """All options, parsed; times in seconds."""

    sample_interval: float = option(
        "100ms",
        duration(0.01, 60, "a duration from 10ms to 60s, such as 100ms"),
        "time between samples, 10ms to 60s: short samples tell apart processes that take turns",
        SAMPLING,
    )
    metrics_interval: float = option(
        "5s",
        duration(0.1, 3600, "a duration from 100ms to 1h, such as 5s"),
        "time between publications: what /metrics shows is at most this old",
        SERIES,
    )
    listen: str = option(
        ":9102",
        text,
        "address to serve on: :9102 is every address, IPv4 and IPv6; 127.0.0.1:9102; [::1]:9102",
        ENDPOINT,
    )
    procfs: Path = option("/proc", host_folder, "the host's /proc", HOST)
    sysfs: Path = option("/sys", host_folder, "the host's /sys", HOST)
    cgroupfs: Path | None = option(
        "auto",
        host_folder_or_auto,
        "the host's /sys/fs/cgroup; auto: that of this machine, or wherever else its cgroups are mounted",
        HOST,
    )
    metrics: frozenset[str] = option(
        "node,pod,container,process,vm",
        levels,
        "levels of detail to publish, separated by commas; a scrape may ask for fewer (/metrics?collect[]=node)",
        SERIES,
    )
    namespaces: frozenset[str] = option(
        "", namespace_names, "namespaces whose pods and containers have series, separated by commas; empty: all", SERIES
    )
    process_metrics: int | str = option(
        "100", all_or_number, "processes that get series of their own: a number, all, or off", SERIES
    )
    max_process_series: int = option(
        "10000",
        number(int, 1, 10_000_000, "a number from 1 to 10000000"),
        "most process series there may ever be, those of the dead included",
        SERIES,
    )
    rows: int = option(
        "32768",
        number(int, 64, 1 << 18, "a number from 64 to 262144"),
        "rows of the process table in the kernel; processes beyond it share one overflow row",
        SAMPLING,
    )
    cgroup_rows: int = option(
        "8192",
        number(int, 64, 1 << 18, "a number from 64 to 262144"),
        "rows of the cgroup table in the kernel",
        SAMPLING,
    )
    idle_policy: str = option(
        "none",
        choice(*IDLE_POLICIES),
        "who is charged with idle energy: none (it stays with the node), proportional (to use), "
        "equal (among all there are), requests (by the CPUs that containers asked for)",
        SHARING,
    )
    hyperthread_ratio: float = option(
        "1.1",
        number(
            float, 1.0, MOST_HYPERTHREAD_RATIO, "a number from 1 (a second thread costs nothing) to 2 (no correction)"
        ),
        "energy of two busy hyperthreads over that of one",
        SHARING,
    )
    idle_watts: float | None = option(
        "",
        optional_watts,
        "idle floor of all packages together, in place of the learned one, spread evenly over them",
        SHARING,
    )
    gpu_idle_watts: float | None = option(
        "", optional_watts, "idle floor of each GPU, in place of the learned one", SHARING
    )
    model_idle_watts: float | None = option(
        "", optional_watts, "power model: watts of the idle node, where you know better", METERS
    )
    model_max_watts: float | None = option(
        "", optional_watts, "power model: watts of the node at full load, where you know better", METERS
    )
    hwmon: tuple[Rule, ...] = option(
        "",
        sensor_rules,
        "board sensors to meter beside the known ones: CHIP/LABEL=package or CHIP/LABEL=dram (regular expressions), "
        "separated by commas",
        METERS,
    )
    cpu_budget: float = option(
        "5%",
        per_cent,
        "most CPU that sampling may use, per cent of one core; beyond it the sample interval stretches",
        SAMPLING,
    )
    system_slices: bool = option(
        "off", switch, "on: one workload for each systemd service instead of one for all of them", SHARING
    )
    kubelet_url: str = option(
        "auto",
        text_or_auto,
        "the kubelet to ask for pods' names: a URL such as https://127.0.0.1:10250, off, or auto: that URL where a "
        "service account is mounted",
        NAMES,
    )
    kubelet_token: Path | None = option(
        "", existing_file, "file with the token for the kubelet, in place of the service account's", NAMES
    )
    kubelet_ca: Path | None = option(
        "", existing_file, "file with the CA of the kubelet's certificate, in place of the cluster's", NAMES
    )
    kubelet_server_name: str = option(
        "", text, "name in the kubelet's certificate, where it is not the host of the URL", NAMES
    )
    kubelet_verify: bool = option(
        "on", switch, "off takes any certificate of the kubelet, and so shows the token to whoever answers there", NAMES
    )
    cri_socket: str = option(
        "",
        socket_paths,
        "the container runtime's CRI socket, several separated by commas, or off; empty: containerd's, k3s's, CRI-O's "
        "or cri-dockerd's, if there (needs the extra cri)",
        NAMES,
    )
    docker_socket: str = option(
        "",
        socket_paths,
        "docker's socket, several separated by commas, or off; empty: /run/docker.sock, and for root those of users "
        "(/run/user/*/docker.sock), if there",
        NAMES,
    )
    podman_socket: str = option(
        "",
        socket_paths,
        "podman's API socket, several separated by commas, or off; empty: /run/podman/podman.sock, and for root those "
        "of users (/run/user/*/podman/podman.sock), if there",
        NAMES,
    )
    exit_hold: float = option(
        "2m",
        duration(0, 86400, "a duration of at most 24h, such as 2m"),
        "how long series stay after their process or container has died: two scrape intervals",
        SERIES,
    )
    state_directory: Path | None = option(
        "",
        optional_folder,
        "folder for a small file by which the node's counters go on after a restart within one boot (deployment.md); "
        "not set: they begin at 0",
        SERIES,
    )
    web_config: Path | None = option(
        "",
        existing_file,
        "TLS and basic authentication of the endpoint (Prometheus web configuration file)",
        ENDPOINT,
    )
    log_level: str = option(
        "info", choice("debug", "info", "warning", "error"), "what is logged: debug, info, warning, error", LOGGING
    )
    log_format: str = option("text", choice("text", "json"), "how it is logged: text, json", LOGGING)

    @property
    def fs(self) -> HostFS:
        if self.cgroupfs is None:
            return HostFS(self.procfs, self.sysfs)
        return HostFS(self.procfs, self.sysfs, self.cgroupfs, anywhere=False)

    @property
    def process_limit(self) -> int | None:
        """Most process series beside ``other``; None for no process families at all."""
        if self.process_metrics == "off" or "process" not in self.metrics:
            return None
        return (
            self.max_process_series
            if self.process_metrics == "all"
            else min(int(self.process_metrics), self.max_process_series)
        )


OPTIONS: tuple[Option[Any], ...] = tuple(
    dataclasses.replace(one.metadata["option"], name=one.name.replace("_", "-")) for one in dataclasses.fields(Config)
)


def add_flags(parser: argparse.ArgumentParser, groups: Iterable[str] = GROUPS, leave_out: Collection[str] = ()) -> None:
    """One flag for each option of these groups, its help naming variable and default, but what it leaves out."""
    for group in groups:
        section = parser.add_argument_group(group)
        for one in OPTIONS:
            if one.group == group and one.name not in leave_out:
                shown = f"default {one.default}" if one.default else "not set"
                text_of = f"{one.help} ({one.variable}, {shown})".replace("%", "%%")
                section.add_argument(f"--{one.name}", metavar="VALUE", help=text_of)


def from_arguments(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Config:
    """Options that a verb does not offer as flags come from variables and defaults.

    Raises UsageError for the first value that does not parse, and of a verb that publishes for a metrics interval below
    the sample's.
    """
    values = {one.attribute: one.value(getattr(arguments, one.attribute, None), environment) for one in OPTIONS}
    config = Config(**values)
    if hasattr(arguments, "metrics_interval") and config.metrics_interval < config.sample_interval:
        raise UsageError(
            f"KEPLER_METRICS_INTERVAL ({config.metrics_interval:g}s) is shorter than "
            f"KEPLER_SAMPLE_INTERVAL ({config.sample_interval:g}s): it must be at least as long"
        )
    return config


def table() -> str:
    """The options as the table of docs/configuration.md."""
    lines = ["| flag | variable | default | |", "|---|---|---|---|"]
    for one in OPTIONS:
        default = f"`{one.default}`" if one.default else "—"
        lines.append(f"| `--{one.name}` | `{one.variable}` | {default} | {one.help} |")
    return "\n".join(lines) + "\n"
