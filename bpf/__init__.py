"""The C sources, reachable as package data (``src/kepler_ebpf/bpf`` is a link to this folder)."""
