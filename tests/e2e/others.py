"""Names and labels that boards and programs written for other versions of Kepler ask Prometheus for."""

from __future__ import annotations

_NODE_ZONE = ("job", "instance", "node_name", "zone")
_POD_ZONE = ("job", "pod_namespace", "pod_name", "zone")
_POD_0_9 = ("container_namespace", "pod_name")

ASKED: dict[str, dict[str, tuple[str, ...]]] = {
    "the default board of Kepler 0.10 and later": {
        "kepler_node_cpu_watts": _NODE_ZONE,
        "kepler_node_cpu_active_watts": _NODE_ZONE,
        "kepler_node_cpu_idle_watts": _NODE_ZONE,
        "kepler_node_cpu_info": ("job", "instance", "model_name"),
        "kepler_process_cpu_watts": ("job", "pid", "comm", "zone"),
        "kepler_container_cpu_watts": ("job", "container_name", "zone"),
        "kepler_pod_cpu_watts": _POD_ZONE,
        "kepler_vm_cpu_watts": ("job", "vm_name", "zone"),
    },
    "the console boards of its operator": {
        "kepler_node_cpu_watts": _NODE_ZONE,
        "kepler_node_cpu_active_watts": _NODE_ZONE,
        "kepler_node_cpu_idle_watts": _NODE_ZONE,
        "kepler_node_cpu_info": ("job", "instance", "model_name"),
        "kepler_pod_cpu_watts": _POD_ZONE,
    },
    "its page of metrics": {
        "kepler_build_info": ("version", "arch"),
        "kepler_node_cpu_joules_total": _NODE_ZONE,
        "kepler_node_cpu_active_joules_total": _NODE_ZONE,
        "kepler_node_cpu_idle_joules_total": _NODE_ZONE,
        "kepler_node_cpu_usage_ratio": ("node_name",),
        "kepler_container_cpu_joules_total": ("container_id", "container_name", "state", "zone", "node_name"),
        "kepler_process_cpu_joules_total": ("pid", "comm", "state", "container_id", "zone", "node_name"),
        "kepler_process_cpu_seconds_total": ("pid", "comm", "container_id", "node_name"),
        "kepler_vm_cpu_joules_total": ("vm_id", "vm_name", "hypervisor", "state", "zone", "node_name"),
        "kepler_pod_cpu_joules_total": ("pod_name", "pod_namespace", "state", "zone", "node_name"),
        "kepler_node_gpu_watts": ("gpu", "gpu_uuid", "gpu_name", "vendor", "node_name"),
        "kepler_node_gpu_idle_watts": ("gpu", "gpu_uuid", "gpu_name", "vendor", "node_name"),
        "kepler_node_gpu_active_watts": ("gpu", "gpu_uuid", "gpu_name", "vendor", "node_name"),
        "kepler_node_gpu_idle_joules_total": ("gpu", "gpu_uuid", "gpu_name", "vendor", "node_name"),
        "kepler_node_gpu_active_joules_total": ("gpu", "gpu_uuid", "gpu_name", "vendor", "node_name"),
        "kepler_node_gpu_joules_total": ("gpu", "gpu_uuid", "gpu_name"),
        "kepler_pod_gpu_joules_total": ("pod_name", "pod_namespace", "state", "node_name"),
        "kepler_container_gpu_watts": ("container_id", "container_name", "state", "node_name"),
        "kepler_pod_gpu_watts": ("pod_name", "pod_namespace", "state", "node_name"),
        "kepler_process_gpu_watts": ("pid", "comm", "state", "container_id", "node_name"),
    },
    "the board of Kepler 0.9": {
        "kepler_container_joules_total": _POD_0_9,
        "kepler_container_package_joules_total": (*_POD_0_9, "mode"),
        "kepler_container_dram_joules_total": (*_POD_0_9, "mode"),
        "kepler_container_other_joules_total": (*_POD_0_9, "mode"),
        "kepler_container_gpu_joules_total": (*_POD_0_9, "mode"),
    },
    "its board of recording rules": {
        "kepler:container_joules_total:increase:24h:by_ns_pod": _POD_0_9,
        "kepler:container_joules_total:increase:24h:by_ns": ("container_namespace",),
        "kepler:container_package_watts:2m:by_ns_pod": _POD_0_9,
        "kepler:container_dram_watts:2m:by_ns_pod": _POD_0_9,
        "kepler:container_other_watts:2m:by_ns_pod": _POD_0_9,
        "kepler_container_gpu_watts:2m:by_ns_pod": _POD_0_9,
    },
    "the console boards of its operator, up to 0.9": {
        "kepler:container_joules_total:consumed:24h:all": (),
        "kepler:container_joules_total:consumed:24h:by_ns": ("container_namespace",),
        "kepler:container_package_joules_total:consumed:1h:by_ns": ("container_namespace",),
        "kepler:container_dram_joules_total:consumed:1h:by_ns": ("container_namespace",),
        "kepler:container_other_joules_total:consumed:1h:by_ns": ("container_namespace",),
        "kepler:container_gpu_joules_total:consumed:1h:by_ns": ("container_namespace",),
        "kepler:container_package_watts:1m:by_ns_pod": _POD_0_9,
        "kepler:container_dram_watts:1m:by_ns_pod": _POD_0_9,
        "kepler:container_other_watts:1m:by_ns_pod": _POD_0_9,
        "kepler:container_gpu_watts:1m:by_ns_pod": _POD_0_9,
        "kepler:other_joules_watts:1m:by_ns_pod": _POD_0_9,
    },
    "its board of processes": {
        "kepler_process_package_joules_total": ("job", "mode", "pid", "command"),
        "kepler_process_dram_joules_total": ("job", "mode", "pid", "command"),
        "kepler_process_cpu_cycles_total": ("job", "pid", "command"),
        "kepler_process_bpf_cpu_time_ms_total": ("job", "pid", "command"),
    },
    "Turbonomic's mapping of queries": {
        "kepler_container_joules_total": ("container_id", "container_name", "pod_name", "container_namespace"),
    },
    "Grafana's Kubernetes Monitoring": {"kepler_exporter_build_info": ("version",)},
    "schedulers and scripts that ask 0.9's node families as its own ServiceMonitor had them": {
        "kepler_node_platform_joules_total": ("exported_instance",),
        "kepler_node_core_joules_total": ("exported_instance",),
    },
    "scripts for Kepler up to 0.7": {
        "kepler_container_bpf_cpu_time_us_total": _POD_0_9,
        "kepler_process_bpf_cpu_time_us_total": ("pid", "command"),
    },
    "Climatik's power capping operator": {"kepler_node_joules_total": ("instance",)},
    "compute-gardener-scheduler": {"kepler_node_component_power_watts": ("instance", "component")},
    "Intel's telemetry-aware scheduling": {"node_package_power_avg": ("node",)},
}
"""By who asks: names, and the labels that are asked for or grouped by."""

LEFT_OUT = (
    "kepler_platform_watts",
    "kepler_container_cache_miss_total",
    "kepler_container_cgroupfs_cpu_usage_us_total",
    "kepler_container_cpu_instructions_total",
    "kepler_container_other_host_components_joules_total",
    "kepler_container_platform_joules_total",
    "kepler_node_cpu_scaling_frequency_hertz",
    "kepler_node_energy_stat",
    "kepler_node_other_host_components_joules_total",
    "kepler_process_bpf_block_irq_total",
    "kepler_process_bpf_page_cache_hit_total",
    "kepler_process_cache_miss_total",
    "kepler_process_core_joules_total",
    "kepler_process_cpu_instructions_total",
    "kepler_process_other_joules_total",
    "kepler_process_platform_joules_total",
    "kepler_vm_package_joules_total",
)
"""Names that nothing here answers; docs/prometheus.md says why."""
