"""A snapshot as Prometheus metric families (the contract is docs/metrics.md). Nothing is computed here but labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from .. import __version__
from ..columns import NODE
from ..snapshot.types import Health, Node, Pod, Processes, Snapshot, Zone

_CONTAINER_LABELS = ("container_id", "container", "pod", "namespace")
_POD_LABELS = ("pod", "namespace", "pod_uid")
_PROCESS_LABELS = ("pid", "comm", "container_id")


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Every family of this snapshot, absent ones left out: what is not metered is not there, rather than 0."""
    yield from _node(snapshot.node, snapshot.info)
    yield from _zones(snapshot.zones)
    yield from _containers(snapshot)
    yield from _pods(snapshot.pods)
    if snapshot.processes is not None:
        yield from _processes(snapshot.processes, snapshot.counts_cycles)
    yield from _health(snapshot.health)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _labelled(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
    name: str,
    text: str,
    labels: tuple[str, ...],
    samples: Iterable[tuple[tuple[str, ...], float]],
) -> Iterator[Metric]:
    """One family, or none where it has no sample."""
    family = kind(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    if family.samples:
        yield family


def _node(node: Node, info: dict[str, str]) -> Iterator[Metric]:
    yield _gauge(
        "kepler_node_power_watts",
        "Power of the node (packages, DRAM and GPUs), mean over the publication interval.",
        float(node.component_watts.sum()),
    )
    yield _gauge(
        "kepler_node_power_max_watts",
        "Highest power of any one sample in the publication interval.",
        node.max_watts,
    )
    yield _counter(
        "kepler_node_energy_joules",
        "Energy of the node since the collector started: packages, DRAM and GPUs.",
        float(node.joules.sum()),
    )
    for component, name, watts, there in zip(
        ("packages", "DRAM", "GPUs"),
        ("cpu", "dram", "gpu"),
        node.component_watts.tolist(),
        node.has_component,
    ):
        if there:
            text = f"Power of the {component}, mean over the publication interval."
            yield _gauge(f"kepler_node_{name}_power_watts", text, watts)
    yield _gauge(
        "kepler_node_cpu_utilization",
        "Part of the CPU time that was not idle, 0 to 1, over the publication interval.",
        node.utilization,
    )
    for name, text, column in (
        ("idle", "Energy that the node would have used idle, not charged to any workload.", node.idle_joules),
        (
            "unattributed",
            "Energy beyond idle that no workload can be charged with.",
            node.unattributed_joules,
        ),
    ):
        yield from _labelled(
            CounterMetricFamily,
            f"kepler_node_{name}_joules",
            text,
            ("component",),
            [
                ((component,), value)
                for component, value, there in zip(NODE, column.tolist(), node.has_component)
                if there
            ],
        )
    yield from _labelled(
        GaugeMetricFamily,
        "kepler_node_idle_power_watts",
        "Idle floor of the package: learned, set, or the power model's.",
        ("package",),
        [((package,), watts) for package, watts in node.idle_watts.items()],
    )
    yield from _labelled(
        GaugeMetricFamily,
        "kepler_node_gpu_idle_power_watts",
        "Idle floor of the GPU: learned, or set.",
        ("gpu",),
        [((gpu,), watts) for gpu, watts in node.gpu_idle_watts.items()],
    )
    family = GaugeMetricFamily(
        "kepler_node_info", "The machine and what its energy figures come from.", labels=tuple(info)
    )
    family.add_metric(tuple(info.values()), 1)
    yield family


def _zones(zones: tuple[Zone, ...]) -> Iterator[Metric]:
    for component in ("package", "core", "uncore", "dram", "platform"):
        yield from _labelled(
            CounterMetricFamily,
            f"kepler_node_{component}_joules",
            f"Energy of each {component} zone. Zones overlap (core and uncore are in package): never add them up.",
            ("package", "source"),
            [
                ((zone.domain.zone or str(zone.domain.index), zone.domain.source), zone.joules)
                for zone in zones
                if zone.domain.component == component
            ],
        )
    yield from _labelled(
        CounterMetricFamily,
        "kepler_node_gpu_joules",
        "Energy of each GPU.",
        ("gpu", "gpu_uuid", "gpu_name", "source"),
        [
            ((str(zone.domain.index), zone.domain.uuid, zone.domain.model, zone.domain.source), zone.joules)
            for zone in zones
            if zone.domain.component == "gpu"
        ],
    )


def _containers(snapshot: Snapshot) -> Iterator[Metric]:
    containers = snapshot.containers
    labels = [(w.container_id, w.container, w.pod, w.namespace) for w in containers.workloads]

    def family(
        kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
        name: str,
        text: str,
        values: Iterable[float],
    ) -> Iterator[Metric]:
        return _labelled(kind, f"kepler_container_{name}", text, _CONTAINER_LABELS, zip(labels, values))

    package, dram, gpu, core, uncore = containers.joules
    yield from family(
        CounterMetricFamily,
        "joules",
        "Energy of the container: package, DRAM and GPU.",
        (package + dram + gpu).tolist(),
    )
    metered = {zone.domain.component for zone in snapshot.zones}
    for name, column in (
        ("package", package),
        ("core", core),
        ("uncore", uncore),
        ("dram", dram),
        ("gpu", gpu),
    ):
        if name in metered:
            yield from family(
                CounterMetricFamily,
                f"{name}_joules",
                f"Energy of the container, {name} part.",
                column.tolist(),
            )
    yield from family(
        GaugeMetricFamily,
        "power_watts",
        "Power of the container, mean over the interval.",
        containers.watts.tolist(),
    )
    yield from family(
        GaugeMetricFamily,
        "power_max_watts",
        "Highest power of the container in any one sample of the interval.",
        containers.max_watts.tolist(),
    )
    yield from family(
        CounterMetricFamily, "cpu_time_seconds", "CPU time of the container.", containers.seconds.tolist()
    )
    if snapshot.counts_cycles:
        yield from family(CounterMetricFamily, "cpu_cycles", "CPU cycles of the container.", containers.cycles.tolist())
    yield from _labelled(
        GaugeMetricFamily,
        "kepler_container_memory_working_set_bytes",
        "Memory of the container less its inactive file pages, as the kubelet counts it.",
        _CONTAINER_LABELS,
        [(key, float(size)) for key, size in zip(labels, containers.working_set_bytes) if size is not None],
    )
    yield _gauge(
        "kepler_containers_pending_joules",
        "Energy of new containers whose series wait some seconds for a name: it will be in them.",
        containers.pending_joules,
    )
    yield _counter(
        "kepler_containers_exited_joules",
        "Energy of containers whose series have gone: with it the container level sums to the node.",
        containers.exited_joules,
    )


def _pods(pods: tuple[Pod, ...]) -> Iterator[Metric]:
    labels = [(p.pod, p.namespace, p.pod_uid) for p in pods]
    for kind, name, text, values in (
        (
            CounterMetricFamily,
            "joules",
            "Energy of the pod: all its containers, the sandbox included.",
            [p.joules for p in pods],
        ),
        (
            GaugeMetricFamily,
            "power_watts",
            "Power of the pod, mean over the publication interval.",
            [p.watts for p in pods],
        ),
        (CounterMetricFamily, "cpu_time_seconds", "CPU time of the pod.", [p.seconds for p in pods]),
    ):
        yield from _labelled(kind, f"kepler_pod_{name}", text, _POD_LABELS, zip(labels, values))


def _processes(processes: Processes, counts_cycles: bool) -> Iterator[Metric]:
    labels = list(zip(processes.pid, processes.comm, processes.container_id))
    for kind, name, text, values in (
        (GaugeMetricFamily, "power_watts", "Power of the process, mean over the interval.", processes.watts),
        (CounterMetricFamily, "joules", "Energy of the process.", processes.joules.sum(axis=0)),
        (CounterMetricFamily, "cpu_time_seconds", "CPU time of the process.", processes.seconds),
        (CounterMetricFamily, "cpu_cycles", "CPU cycles of the process.", processes.cycles),
    ):
        if name != "cpu_cycles" or counts_cycles:
            samples = zip(labels, values.tolist())
            yield from _labelled(kind, f"kepler_process_{name}", text, _PROCESS_LABELS, samples)
    yield _counter(
        "kepler_processes_exited_joules",
        "Energy of process series that have ended: with it the process level sums to the node.",
        float(processes.exited[: len(NODE)].sum()),
    )
    yield _counter(
        "kepler_processes_exited_cpu_time_seconds",
        "CPU time of process series that have ended.",
        float(processes.exited[-2]),
    )


def _health(health: Health) -> Iterator[Metric]:
    build = GaugeMetricFamily("kepler_ebpf_build_info", "Version of the collector.", labels=("version",))
    build.add_metric((__version__,), 1)
    yield build
    yield _counter("kepler_ebpf_samples", "Samples taken.", health.loop.samples)
    yield _counter(
        "kepler_ebpf_late_samples",
        "Samples left out because the one before took too long.",
        health.loop.late_samples,
    )
    yield _counter("kepler_ebpf_failed_samples", "Samples that failed by a fault of ours.", health.loop.failed_samples)
    yield _gauge("kepler_ebpf_sample_interval_seconds", "Time between samples now.", health.loop.interval_seconds)
    yield _gauge(
        "kepler_ebpf_configured_sample_interval_seconds",
        "Time between samples as configured: the effective one is longer where samples cost more than the CPU budget.",
        health.loop.configured_interval_seconds,
    )
    durations = HistogramMetricFamily("kepler_ebpf_sample_seconds", "Time that one sample took.")
    durations.add_metric((), list(health.loop.duration_buckets), health.loop.duration_sum_seconds)
    yield durations
    for kind, name, text, labels, values in (
        (GaugeMetricFamily, "rows_used", "Rows in use of a kernel table.", ("table",), health.rows_used),
        (GaugeMetricFamily, "rows_capacity", "Rows of a kernel table.", ("table",), health.rows_capacity),
        (
            CounterMetricFamily,
            "overflow_slices",
            "Slices booked to a table's overflow row because no row was free.",
            ("table",),
            health.overflow_slices,
        ),
        (
            GaugeMetricFamily,
            "books_gap_ratio",
            "How far a level's books are from closing.",
            ("level",),
            health.gap_ratio,
        ),
        (
            CounterMetricFamily,
            "books_gap_exceeded",
            "Samples in which a level's books were off by more than 1e-6.",
            ("level",),
            health.gap_exceeded,
        ),
        (
            CounterMetricFamily,
            "program_seconds",
            "CPU time of our BPF programs; there only while kernel.bpf_stats_enabled is 1.",
            ("program",),
            health.program_seconds,
        ),
        (
            CounterMetricFamily,
            "program_runs",
            "Runs of our BPF programs; there only while kernel.bpf_stats_enabled is 1.",
            ("program",),
            health.program_runs,
        ),
    ):
        samples = [((key,), float(value)) for key, value in values.items()]
        yield from _labelled(kind, f"kepler_ebpf_{name}", text, labels, samples)
    for name, text, pair, errors in (
        ("source_errors", "Readings that an energy source could not give.", ("source", "reason"), health.source_errors),
        ("name_errors", "Look-ups of names that failed.", ("provider", "reason"), health.name_errors),
    ):
        counts = [(key, float(value)) for key, value in errors.items()]
        yield from _labelled(CounterMetricFamily, f"kepler_ebpf_{name}", text, pair, counts)
    yield _gauge("kepler_ebpf_loader_seconds", "Time the BPF loader took at start.", health.loader_seconds)
    yield _gauge("kepler_ebpf_loader_peak_bytes", "Most memory the BPF loader used.", health.loader_peak_bytes)
