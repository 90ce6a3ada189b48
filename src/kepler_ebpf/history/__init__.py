"""The last minutes, step by step, in a bounded memory: what the page and ``top`` show."""
