"""The HTTP endpoint: connections, TLS, passwords, and what stands behind each address."""
