"""The Prometheus endpoint: a thin view over an immutable snapshot."""
