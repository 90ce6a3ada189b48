"""What the setup guide runs, from its folder, and what it asks of Prometheus, word by word."""

COMMANDS = (
    "kubectl create namespace newmonitoring",
    "kubectl apply -f k8s/kepler-daemonset.yaml",
    "kubectl apply -f k8s/kepler-service.yaml",
    "kubectl apply -f k8s/kepler-servicemonitor.yaml",
    "kubectl get pods -n newmonitoring -l app=kepler-exporter",
    "kubectl get pods -n newmonitoring -o yaml | grep -c privileged || true",
)
FORWARDED = (
    "kubectl port-forward -n newmonitoring svc/kepler-exporter 9102:9102",
    "curl http://localhost:9102/metrics | grep kepler_",
    'curl -s http://localhost:9102/metrics | grep -E "(kepler_node_power|kepler_container_joules)"',
)
QUESTIONS = {
    "kubectl cluster-info": (0, "is running at"),
    "kubectl get nodes -o wide": (0, " Ready "),
    "kubectl auth can-i create pods/privileged --as=system:serviceaccount:newmonitoring:kepler-sa": (1, "no"),
    "kubectl get pods -n newmonitoring -l app=kepler-exporter": (0, "1/1     Running"),
    "kubectl logs -n newmonitoring -l app=kepler-exporter": (0, "kubelet: "),
    "kubectl describe daemonset kepler-exporter -n newmonitoring": (
        0,
        "Number of Nodes Scheduled with Available Pods: 1",
    ),
    "kubectl get pods -n newmonitoring -o yaml | grep privileged": (0, "privileged: true"),
    "kubectl describe nodes | grep Taints": (0, "<none>"),
    "kubectl exec -n newmonitoring <kepler-pod> -- ls -la /sys/fs/cgroup/": (0, "total "),
    "kubectl get servicemonitor -n newmonitoring -o yaml": (1, "doesn't have a resource type"),
    "kubectl get prometheus -o yaml | grep namespaceSelector": (1, "doesn't have a resource type"),
    "kubectl top pods -n newmonitoring": (1, "Metrics API not available"),
}
"""Exit status and a part of the answer on a cluster that has neither the Prometheus Operator nor metrics-server."""
ENERGY = "kubectl exec -n newmonitoring <kepler-pod> -- cat /sys/class/powercap/intel-rapl/intel-rapl:0/energy_uj"
"""Answers on machines with RAPL alone."""
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
