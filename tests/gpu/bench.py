"""A source of GPUs over the stand-in library, polled by hand, with a clock of its own."""

from __future__ import annotations

from kepler_ebpf.energy.nvml import NvmlSource
from tests.gpu.standin import Script


class Bench:
    def __init__(self, script: Script) -> None:
        self.script = script
        self.now_ns = 10**9
        self.source = NvmlSource(clock_ns=lambda: self.now_ns)

    def open(self) -> NvmlSource:
        self.source.recount()
        self.source.poll()
        self.source.read()
        return self.source

    def poll(self, *lines: str, seconds: float = 1.0) -> None:
        self.script.write(*lines)
        self.now_ns += round(seconds * 1e9)
        self.source.poll()

    def tick(self, *lines: str, seconds: float = 1.0) -> None:
        self.poll(*lines, seconds=seconds)
        self.poll(*lines, seconds=2.5)  # joules that nobody is known for wait for two seconds
        self.source.read()


def shares_of(source: NvmlSource, domain: int = 0) -> dict[int, float]:
    """Who used the latest joules, as fractions of 1."""
    pids, weights = source.shares(domain)
    whole = weights.sum() or 1.0
    return dict(zip(pids.tolist(), (weights / whole).tolist()))
