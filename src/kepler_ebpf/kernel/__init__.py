"""The kernel side: loading the BPF programs and reading the rows they keep."""
