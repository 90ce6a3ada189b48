"""What the setup guide runs, from its folder, and what it asks of Prometheus, word by word."""

COMMANDS = (
    "kubectl create namespace newmonitoring",
    "kubectl apply -f k8s/kepler-daemonset.yaml",
    "kubectl apply -f k8s/kepler-service.yaml",
    "kubectl apply -f k8s/kepler-servicemonitor.yaml",
    "kubectl get pods -n newmonitoring -l app=kepler-exporter",
    "kubectl get pods -n newmonitoring -o yaml | grep -c privileged || true",
)
CONTAINERS = (
    "kepler_container_joules_total",
    "kepler_container_cpu_cycles_total",
    "kepler_container_cpu_time_seconds_total",
    "kepler_container_memory_working_set_bytes",
)
NODES = (
    "kepler_node_power_watts",
    "kepler_node_energy_joules_total",
    "kepler_node_cpu_power_watts",
    "kepler_node_gpu_power_watts",
)
PROCESSES = ("kepler_process_power_watts", "kepler_process_cpu_cycles_total")
QUERIES = (
    "topk(10, rate(kepler_container_joules_total[5m]))",
    "kepler_node_power_watts",
    "avg by (pod) (kepler_container_joules_total)",
    "rate(http_requests_total[5m]) / rate(kepler_container_joules_total[5m])",
)
PANELS = {
    "Container Power Consumption": ("rate(kepler_container_joules_total[5m])", "{{container}}"),
    "Power Efficiency by Node": ("kepler_node_power_watts / kepler_node_cpu_utilization", ""),
}
INTEGRATION = (
    "(rate(kepler_container_joules_total[1h]) * 0.0001) * on(node) group_left(instance_type) kube_node_labels",
    "rate(kepler_node_power_watts[1h]) * 0.000233",
)
ALERTS = {
    "HighPowerConsumption": "kepler_node_power_watts > 200",
    "PowerConsumptionSpike": "increase(kepler_container_joules_total[10m]) > 1000",
}
EXPRESSIONS = (*CONTAINERS, *NODES, *PROCESSES, *QUERIES, *(query for query, _ in PANELS.values()), *INTEGRATION)
