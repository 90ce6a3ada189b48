"""What ``kepler-ebpf top`` shows: pure functions from steps of the history, and what was pressed, to lines of text."""
