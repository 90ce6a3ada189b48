"""Per-workload energy from eBPF: which pod, container and process uses the joules this machine draws."""

__version__ = "0.1.0"
