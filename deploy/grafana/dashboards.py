"""The dashboards: the fleet, a node, workloads, GPUs, the collector itself, and a single host."""

from __future__ import annotations

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import (
    BYTES,
    COUNT,
    GRAMS,
    HERTZ,
    JOULES,
    KWH,
    NAMESPACES,
    NODES,
    PER_SECOND,
    PLAIN,
    PODS,
    RATIO,
    SECONDS,
    WATTS,
    bars,
    heat,
    lines,
    make,
    number,
    pie,
    rows,
    variable,
)

_N = 'node=~"$node"'
_W = 'node=~"$node",namespace=~"$namespace",pod=~"$pod"'
_R = "[$__rate_interval]"
_POD_WATTS = f'sum by (namespace, pod) (rate(kepler_pod_joules_total{{node=~"$node",namespace=~"$namespace"}}{_R}))'
_RANGE_KWH = f"sum(increase(kepler_node_energy_joules_total{{{_N}}}[$__range])) / 3.6e6"


def _books(by: str) -> tuple[tuple[str, str], ...]:
    """Where energy goes; the parts sum to the node's."""
    return (
        (f'sum by ({by}) (rate(kepler_container_joules_total{{{_N},container_id!=""}}{_R}))', "containers"),
        (f'sum by ({by}) (rate(kepler_container_joules_total{{{_N},container_id=""}}{_R}))', "host processes, kernel"),
        (f"sum by ({by}) (rate(kepler_node_idle_joules_total{{{_N}}}{_R}))", "idle"),
        (f"sum by ({by}) (rate(kepler_node_unattributed_joules_total{{{_N}}}{_R}))", "nobody's"),
    )


def fleet() -> Dashboard:
    namespace = variable("namespace", "Namespace", 'label_values(kepler_pod_joules_total{node=~"$node"}, namespace)')
    panels = [
        number("Power", "All chosen nodes now.", WATTS, f"sum(kepler_node_power_watts{{{_N}}})"),
        number("Nodes", "Nodes that report.", PLAIN, f"count(kepler_node_info{{{_N}}})"),
        number(
            "Nodes without a meter",
            "Their figures are a model's: read them as such.",
            PLAIN,
            f'count(kepler_node_info{{{_N},power_source=~"model.*"}}) or vector(0)',
        ),
        number("Energy", "In the chosen time range.", KWH, _RANGE_KWH, decimals=3),
        number(
            "Cost",
            "Of that energy, at kepler:electricity_price:per_kwh (deploy/prometheus/kepler-parameters.yaml).",
            PLAIN,
            f"{_RANGE_KWH} * on () kepler:electricity_price:per_kwh",
            decimals=4,
        ),
        number(
            "Carbon",
            "CO2 equivalent of that energy, at kepler:carbon_intensity:grams_per_kwh.",
            GRAMS,
            f"{_RANGE_KWH} * on () kepler:carbon_intensity:grams_per_kwh",
            decimals=2,
        ),
        lines(
            "Power by node",
            "Packages, DRAM and GPUs.",
            WATTS,
            (f"kepler_node_power_watts{{{_N}}}", "{{node}}"),
            stacked=True,
        ),
        lines(
            "Power by namespace",
            "Energy that pods are charged with; the idle floor is charged to nobody.",
            WATTS,
            (
                f'sum by (namespace) (rate(kepler_pod_joules_total{{{_N},namespace=~"$namespace"}}{_R}))',
                "{{namespace}}",
            ),
            stacked=True,
        ),
        bars("Pods that draw most", "Now.", WATTS, (f"topk(10, {_POD_WATTS})", "{{namespace}}/{{pod}}")),
        pie("Where the power goes", "The parts sum to the whole: the books close.", WATTS, *_books("")),
        heat(
            "Power Efficiency by Node",
            "Watts per unit of CPU utilisation, as in the setup guide: low and even is good; an idle node is poor.",
            WATTS,
            (f"kepler_node_power_watts{{{_N}}} / kepler_node_cpu_utilization{{{_N}}}", "{{node}}"),
        ),
        lines(
            "Energy of the last hour by namespace",
            "From the recording rules, workloads that one scrape saw included.",
            KWH,
            ('namespace:kepler_kwh:increase1h{namespace=~"$namespace"}', "{{namespace}}"),
        ),
        rows(
            "Nodes",
            "The peak is the highest single sample within a publication interval.",
            [
                ("Power", WATTS, f"sum by (node) (kepler_node_power_watts{{{_N}}})"),
                ("Peak", WATTS, f"sum by (node) (kepler_node_power_max_watts{{{_N}}})"),
                ("CPU utilisation", RATIO, f"sum by (node) (kepler_node_cpu_utilization{{{_N}}})"),
                ("Energy", JOULES, f"sum by (node) (increase(kepler_node_energy_joules_total{{{_N}}}[$__range]))"),
            ],
            hidden=(),
        ),
    ]
    about = "Energy of all nodes: who uses it, what it costs, and what it emits."
    return make("kepler-ebpf-fleet", "Energy / Fleet", about, (NODES, namespace), panels)


def node() -> Dashboard:
    one = variable("node", "Node", "label_values(kepler_node_info, node)", many=False)
    zones = tuple(
        (f"rate(kepler_node_{zone}_joules_total{{{_N}}}{_R})", f"{zone} {{{{package}}}}")
        for zone in ("package", "core", "uncore", "dram", "platform")
    )
    panels = [
        number("Power", "Mean over the publication interval.", WATTS, f"kepler_node_power_watts{{{_N}}}"),
        number("Peak", "Highest sample of the interval.", WATTS, f"kepler_node_power_max_watts{{{_N}}}"),
        number("CPU utilisation", "0 to 100 %.", RATIO, f"kepler_node_cpu_utilization{{{_N}}}"),
        number("Energy", "In the chosen time range.", KWH, _RANGE_KWH, decimals=3),
        number("Idle floor", "Learned, set, or the model's.", WATTS, f"sum(kepler_node_idle_power_watts{{{_N}}})"),
        number(
            "Containers",
            "With energy of their own.",
            PLAIN,
            f'count(kepler_container_joules_total{{{_N},container_id!=""}})',
        ),
        lines(
            "Power by component",
            "CPU packages, memory and GPUs, as far as they are metered.",
            WATTS,
            (f"kepler_node_cpu_power_watts{{{_N}}}", "CPU"),
            (f"kepler_node_dram_power_watts{{{_N}}}", "DRAM"),
            (f"kepler_node_gpu_power_watts{{{_N}}}", "GPU"),
            stacked=True,
        ),
        lines(
            "Mean and peak power",
            "What the resolution is for: a peak shorter than the scrape interval still shows.",
            WATTS,
            (f"kepler_node_power_max_watts{{{_N}}}", "peak"),
            (f"kepler_node_power_watts{{{_N}}}", "mean"),
        ),
        lines(
            "Where the power goes",
            "The parts sum to the node's power.",
            WATTS,
            *_books("node"),
            stacked=True,
        ),
        lines("Meters", "Zones overlap (core and uncore are in package): never add them up.", WATTS, *zones),
        lines(
            "Processes that draw most",
            "The largest by energy have a series each; the rest share one.",
            WATTS,
            (f'topk(10, kepler_process_power_watts{{{_N},pid!="other"}})', "{{comm}} {{pid}}"),
        ),
        lines(
            "Container Power Consumption",
            "By container of this node.",
            WATTS,
            (
                f"topk(10, sum by (namespace, pod, container) (rate(kepler_container_joules_total{{{_N}}}{_R})))",
                "{{namespace}}/{{pod}}/{{container}}",
            ),
        ),
        lines(
            "CPU utilisation",
            "Part of the CPU time that was not idle.",
            RATIO,
            (f"kepler_node_cpu_utilization{{{_N}}}", "CPU"),
            top=1,
        ),
        rows(
            "Machine",
            "What it is, and what its figures come from.",
            [("Info", PLAIN, f"kepler_node_info{{{_N}}}")],
            hidden=("Value", "instance"),
            width=12,
            height=9,
        ),
    ]
    about = "One node: its meters, and which containers and processes their energy goes to."
    return make("kepler-ebpf-node", "Energy / Node", about, (one,), panels)


def workload() -> Dashboard:
    name = "{{namespace}}/{{pod}}/{{container}}"

    def rate(family: str) -> str:
        return f"sum by (namespace, pod, container) (rate(kepler_container_{family}_total{{{_W}}}{_R}))"

    panels = [
        number(
            "Power",
            "Of the chosen workloads; with all of them, host processes too.",
            WATTS,
            f"sum(kepler_container_power_watts{{{_W}}})",
        ),
        number(
            "Energy",
            "In the chosen time range.",
            KWH,
            f"sum(increase(kepler_container_joules_total{{{_W}}}[$__range])) / 3.6e6",
            decimals=4,
        ),
        number(
            "Energy per CPU second",
            "How much a second of CPU time costs.",
            JOULES,
            f"sum(rate(kepler_container_joules_total{{{_W}}}{_R}))"
            f" / sum(rate(kepler_container_cpu_time_seconds_total{{{_W}}}{_R}))",
        ),
        number(
            "Containers",
            "Chosen; host processes and the kernel are none.",
            PLAIN,
            f'count(kepler_container_joules_total{{{_W},container_id!=""}})',
        ),
        number("Memory", "Working set.", BYTES, f"sum(kepler_container_memory_working_set_bytes{{{_W}}})"),
        number("CPU", "Cores in use.", COUNT, f"sum(rate(kepler_container_cpu_time_seconds_total{{{_W}}}{_R}))"),
        lines(
            "Container Power Consumption",
            "Package, DRAM and GPU.",
            WATTS,
            (rate("joules"), name),
            stacked=True,
            width=24,
        ),
        lines(
            "Power by component",
            "Of the chosen workloads together.",
            WATTS,
            *(
                (f"sum(rate(kepler_container_{part}_joules_total{{{_W}}}{_R}))", part)
                for part in ("package", "dram", "gpu")
            ),
            stacked=True,
        ),
        lines(
            "Peak power",
            "Highest single sample of each publication interval.",
            WATTS,
            (f"max by (namespace, pod, container) (kepler_container_power_max_watts{{{_W}}})", name),
        ),
        lines("CPU", "Cores in use: CPU seconds per second.", COUNT, (rate("cpu_time_seconds"), name)),
        lines("CPU cycles", "Per second; absent on machines without a PMU.", HERTZ, (rate("cpu_cycles"), name)),
        lines(
            "Memory working set",
            "Usage less inactive file pages, as the kubelet counts it.",
            BYTES,
            (f"sum by (namespace, pod, container) (kepler_container_memory_working_set_bytes{{{_W}}})", name),
        ),
        lines(
            "Processes",
            "Of the chosen workloads, as far as they are among the node's largest.",
            WATTS,
            (
                f'topk(10, kepler_process_power_watts{{{_N},pid!="other"}} * on (node, container_id)'
                f' group_left (pod, container) (0 * kepler_container_joules_total{{{_W},container_id!=""}} + 1))',
                "{{node}} {{pod}}/{{container}} {{comm}} {{pid}}",
            ),
        ),
        rows(
            "Pods",
            "In the chosen time range.",
            [
                ("Power", WATTS, f"sum by (namespace, pod) (kepler_pod_power_watts{{{_W}}})"),
                ("Energy", JOULES, f"sum by (namespace, pod) (increase(kepler_pod_joules_total{{{_W}}}[$__range]))"),
                (
                    "CPU time",
                    SECONDS,
                    f"sum by (namespace, pod) (increase(kepler_pod_cpu_time_seconds_total{{{_W}}}[$__range]))",
                ),
            ],
            hidden=(),
        ),
    ]
    about = "Pods and containers: power, energy, and what it is spent on."
    return make("kepler-ebpf-workload", "Energy / Workload", about, (NODES, NAMESPACES, PODS), panels)


def gpu() -> Dashboard:
    rate = f"rate(kepler_node_gpu_joules_total{{{_N}}}{_R})"
    panels = [
        number(
            "GPU power", "All GPUs of the chosen nodes.", WATTS, f"sum(kepler_node_gpu_power_watts{{{_N}}})", width=6
        ),
        number("GPUs", "That report.", PLAIN, f"count(kepler_node_gpu_joules_total{{{_N}}})", width=6),
        number(
            "Energy",
            "In the chosen time range.",
            KWH,
            f"sum(increase(kepler_node_gpu_joules_total{{{_N}}}[$__range])) / 3.6e6",
            width=6,
            decimals=3,
        ),
        number("Idle floor", "Of all GPUs together.", WATTS, f"sum(kepler_node_gpu_idle_power_watts{{{_N}}})", width=6),
        lines(
            "Power by GPU",
            "From each GPU's energy counter, or its power where it has none.",
            WATTS,
            (rate, "{{node}} {{gpu}} {{gpu_name}}"),
            stacked=True,
            width=24,
        ),
        lines(
            "GPU power by container",
            "Shared out by what each process had the GPU do.",
            WATTS,
            (
                f"sum by (namespace, pod, container) (rate(kepler_container_gpu_joules_total{{{_N}}}{_R})) > 0",
                "{{namespace}}/{{pod}}/{{container}}",
            ),
            stacked=True,
        ),
        lines(
            "Where the GPUs' power goes",
            "The parts sum to the whole.",
            WATTS,
            (f"sum(rate(kepler_container_gpu_joules_total{{{_N}}}{_R}))", "workloads"),
            (f'sum(rate(kepler_node_idle_joules_total{{{_N},component="gpu"}}{_R}))', "idle"),
            (f'sum(rate(kepler_node_unattributed_joules_total{{{_N},component="gpu"}}{_R}))', "nobody's"),
            stacked=True,
        ),
        rows(
            "GPUs",
            "Energy in the chosen time range.",
            [
                ("Power", WATTS, f"sum by (node, gpu, gpu_uuid, gpu_name, source) ({rate})"),
                (
                    "Energy",
                    JOULES,
                    "sum by (node, gpu, gpu_uuid, gpu_name, source)"
                    f" (increase(kepler_node_gpu_joules_total{{{_N}}}[$__range]))",
                ),
            ],
            hidden=(),
        ),
    ]
    about = "GPUs: what each draws, and for whom."
    return make("kepler-ebpf-gpu", "Energy / GPU", about, (NODES,), panels)


def collector() -> Dashboard:
    by_version = " * on (node) group_left (version) kepler_ebpf_build_info"
    panels = [
        number("Collectors up", "Targets of job kepler that answer.", PLAIN, f'sum(up{{job="kepler",{_N}}})'),
        number("Samples", "Per collector.", PER_SECOND, f"avg(rate(kepler_ebpf_samples_total{{{_N}}}{_R}))"),
        number(
            "Late samples",
            "Left out because the one before took too long.",
            PLAIN,
            f"sum(increase(kepler_ebpf_late_samples_total{{{_N}}}[$__range]))",
            decimals=0,
        ),
        number(
            "Failed samples",
            "By a fault of ours.",
            PLAIN,
            f"sum(increase(kepler_ebpf_failed_samples_total{{{_N}}}[$__range]))",
            decimals=0,
        ),
        number(
            "Books' largest gap",
            "Relative; more than 1e-6 is an alert.",
            PLAIN,
            f"max(kepler_ebpf_books_gap_ratio{{{_N}}})",
        ),
        number(
            "Table use",
            "The fullest kernel table.",
            RATIO,
            f"max(kepler_ebpf_rows_used{{{_N}}} / kepler_ebpf_rows_capacity{{{_N}}})",
        ),
        heat(
            "Sample duration",
            "How long samples take.",
            SECONDS,
            (f"sum by (le) (increase(kepler_ebpf_sample_seconds_bucket{{{_N}}}{_R}))", "{{le}}"),
            buckets=True,
        ),
        lines(
            "Sample interval",
            "Longer than configured where samples cost more than the CPU budget.",
            SECONDS,
            (f"kepler_ebpf_sample_interval_seconds{{{_N}}}", "{{node}}"),
            (f"kepler_ebpf_configured_sample_interval_seconds{{{_N}}}", "{{node}} configured"),
        ),
        lines(
            "Errors of energy sources",
            "Readings that a source could not give; absent while there were none.",
            PER_SECOND,
            (f"rate(kepler_ebpf_source_errors_total{{{_N}}}{_R})", "{{node}} {{source}} {{reason}}"),
        ),
        lines(
            "Errors of names",
            "Look-ups that failed; absent while there were none.",
            PER_SECOND,
            (f"rate(kepler_ebpf_name_errors_total{{{_N}}}{_R})", "{{node}} {{provider}} {{reason}}"),
        ),
        lines("Kernel tables", "Rows in use.", COUNT, (f"kepler_ebpf_rows_used{{{_N}}}", "{{node}} {{table}}")),
        lines(
            "Overflow",
            "Slices booked to a table's overflow row: raise its size.",
            PER_SECOND,
            (f"rate(kepler_ebpf_overflow_slices_total{{{_N}}}{_R})", "{{node}} {{table}}"),
        ),
        lines(
            "Scrapes",
            "Time that Prometheus needed for one.",
            SECONDS,
            (f'scrape_duration_seconds{{job="kepler",{_N}}}', "{{node}}"),
        ),
        lines(
            "Series per scrape",
            "What one node adds to Prometheus.",
            COUNT,
            (f'scrape_samples_post_metric_relabeling{{job="kepler",{_N}}}', "{{node}}"),
        ),
        rows(
            "Versions",
            "With the samples taken since the start, and what loading the programs took.",
            [
                ("Samples", COUNT, f"kepler_ebpf_samples_total{{{_N}}}{by_version}"),
                ("Loader time", SECONDS, f"kepler_ebpf_loader_seconds{{{_N}}}{by_version}"),
                ("Loader peak memory", BYTES, f"kepler_ebpf_loader_peak_bytes{{{_N}}}{by_version}"),
            ],
            hidden=("instance",),
        ),
    ]
    about = "The collectors themselves: are they up, on time, and do their books close."
    return make("kepler-ebpf-collector", "Energy / Collector health", about, (NODES,), panels)


def host() -> Dashboard:
    """For a laptop or one server: programs by name rather than pods, and no choice of nodes."""
    top = 'topk(8, sum by (comm) (rate(kepler_process_joules_total{pid!="other"}[$__rate_interval])))'
    kwh = "increase(kepler_node_energy_joules_total[$__range]) / 3.6e6"
    panels = [
        number("Power", "Mean over the publication interval.", WATTS, "kepler_node_power_watts"),
        number("Peak", "Highest sample of the interval.", WATTS, "kepler_node_power_max_watts"),
        number("CPU utilisation", "0 to 100 %.", RATIO, "kepler_node_cpu_utilization"),
        number("Energy", "In the chosen time range.", KWH, kwh, decimals=3),
        number(
            "Cost",
            "Of that energy, at kepler:electricity_price:per_kwh (deploy/prometheus/kepler-parameters.yaml).",
            PLAIN,
            f"{kwh} * on () group_left () kepler:electricity_price:per_kwh",
            decimals=4,
        ),
        number(
            "A model's figures",
            "1 where there is no meter that answers: read the watts as a model's.",
            PLAIN,
            'count(kepler_node_info{power_source=~"model.*"}) or vector(0)',
        ),
        lines(
            "Power by part",
            "Packages, DRAM and GPUs, as far as they are metered.",
            WATTS,
            ("kepler_node_cpu_power_watts", "processors"),
            ("kepler_node_dram_power_watts", "DRAM"),
            ("kepler_node_gpu_power_watts", "GPUs"),
            stacked=True,
        ),
        lines(
            "Programs that draw most", "By name, all processes of that name.", WATTS, (top, "{{comm}}"), stacked=True
        ),
        bars("Programs now", "By name, all processes of that name.", WATTS, (top, "{{comm}}")),
        pie(
            "Where the power goes",
            "The parts sum to the whole: the books close.",
            WATTS,
            *((query.replace(f"{{{_N},", "{").replace(f"{{{_N}}}", ""), name) for query, name in _books("")),
        ),
        lines(
            "Containers",
            "And virtual machines; those of no runtime go by their ids.",
            WATTS,
            (
                'topk(8, sum by (container) (rate(kepler_container_joules_total{container_id!=""}[$__rate_interval])))',
                "{{container}}",
            ),
            stacked=True,
        ),
        lines(
            "CPU time of programs",
            "In CPUs; beside their power it shows who draws much for little time.",
            COUNT,
            (
                'topk(8, sum by (comm) (rate(kepler_process_cpu_time_seconds_total{pid!="other"}[$__rate_interval])))',
                "{{comm}}",
            ),
        ),
        rows(
            "Processes",
            "Those that have series of their own.",
            [
                ("Power", WATTS, 'sum by (pid, comm) (kepler_process_power_watts{pid!="other"})'),
                ("CPU time", SECONDS, 'sum by (pid, comm) (kepler_process_cpu_time_seconds_total{pid!="other"})'),
            ],
            hidden=(),
        ),
    ]
    about = "One laptop or server: what it draws, and which programs draw it."
    return make("kepler-ebpf-host", "Energy / This host", about, (), panels)


def dashboards() -> dict[str, str]:
    """JSON of each dashboard by file name."""
    made = {"fleet": fleet, "node": node, "workload": workload, "gpu": gpu, "collector": collector, "host": host}
    encoder = JSONEncoder(sort_keys=True, indent=2)
    return {f"{name}.json": encoder.encode(function()) + "\n" for name, function in made.items()}
