"""Recordings of fake machines: the same script can be run live under any rules, and recorded."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np

from kepler_ebpf.attribution.frame import Frame
from kepler_ebpf.attribution.framing import Rules
from kepler_ebpf.energy.source import Domain
from kepler_ebpf.recording import schema
from kepler_ebpf.recording.reader import read
from kepler_ebpf.recording.writer import Recorder
from kepler_ebpf.report.book import Book, book, lines_of
from tests.node import Node

BEGAN_NS = 1_700_000_000 * 10**9
STORMY = (
    Domain("package", 0, "fake", "0", idle_watts=2.0),
    Domain("package", 1, "fake", "1", idle_watts=3.0),
    Domain("dram", 0, "fake", "0", idle_watts=0.5),
    Domain("core", 0, "fake", "0"),
    Domain("gpu", 0, "fake", uuid="GPU-0", idle_watts=2.0),
    Domain("gpu", 1, "fake", uuid="GPU-1", idle_watts=2.0),
    Domain("platform", 0, "fake", "0"),
)
PLAIN = (Domain("package", 0, "fake", "0", idle_watts=1.0),)


class Recorded:
    """A machine whose frames are recorded; everything is told on as it is in ``kepler-ebpf record``."""

    def __init__(
        self,
        path: Path | None,
        domains: tuple[Domain, ...] = PLAIN,
        packages: int = 1,
        policy: str = "none",
        ratio: float | None = None,
        **options: object,
    ) -> None:
        """``path``: where to; None records nothing. ``ratio``: of hyperthreads, where not the default."""
        self.node = Node(domains, packages, policy, **options)  # type: ignore[arg-type]
        if ratio is not None:
            self.node.sampler.rules = replace(self.node.sampler.rules, hyperthread_ratio=ratio)
        self.recorder = None
        if path is not None:
            self.recorder = Recorder(path, self.node.sampler, self.node.kernel, {"node": "fake", "cpu_model": "Fake 1"})
        self.frames: list[Frame] = []
        self._end_ns = BEGAN_NS

    @property
    def rules(self) -> Rules:
        return self.node.sampler.rules

    def tick(self, *joules: float, seconds: float = 0.1) -> Frame:
        """One sample."""
        frames = self.node.tick(np.array(joules), seconds)
        self._end_ns += round(seconds * 1e9)
        self.frames.append(frames.last)
        if self.recorder is not None:
            self.recorder.add(frames, self._end_ns)
        return frames.last

    def close(self) -> None:
        if self.recorder is not None:
            self.recorder.close()


def storm(machine: Recorded, seed: int, samples: int) -> None:
    """Two packages, births and deaths, silent meters, users of GPUs; the same for the same seed whatever the rules."""
    chance = random.Random(seed)
    node, alive, born = machine.node, {}, 1
    for _ in range(samples):
        for _ in range(chance.randrange(3)):
            alive[born] = chance.randrange(1, 6)
            born += 1
        for tgid in chance.choices(list(alive), k=min(len(alive), chance.randrange(5))) if alive else ():
            package, alone, shared, cycles = (chance.randrange(1, most) for most in (3, 10**8, 10**7, 10**9))
            node.kernel.run(tgid, alive[tgid], package - 1, alone, shared, cycles if node.kernel.cycles else 0)
        if alive and chance.random() < 0.4:
            doomed = chance.choice(list(alive))
            node.kernel.kill(doomed)
            del alive[doomed]
        for domain in range(len(STORMY)):
            if chance.random() < 0.1:
                node.source.fail(domain)
        users = chance.sample(list(alive), min(len(alive), 2))
        node.source.users = {tgid: chance.random() for tgid in users}
        machine.tick(*(chance.random() * 8 for _ in STORMY), seconds=0.05 + chance.random() / 10)


def opened(path: Path) -> Book:
    """The books of a recording, as they were recorded."""
    recording = read(path)
    return book(recording, lines_of(recording))


def header_alone(path: Path) -> None:
    """A recording that ends before its first batch."""
    burst(path, 1)
    with path.open("r+b") as file:
        schema.arrow().ipc.open_stream(file)
        file.truncate(file.tell())


def burst(path: Path, seconds: int = 6, domains: tuple[Domain, ...] = PLAIN) -> Recorded:
    """50 ms of work at full power in every second, at 10 ms a sample, beside a process that works a little always."""
    machine = Recorded(path, domains)
    for number in range(seconds * 100):
        working = 30 <= number % 100 < 35
        machine.node.kernel.run(10, 1, 0, 10**6)
        if working:
            machine.node.kernel.run(11, 2, 0, 9 * 10**6)
        machine.tick(*([0.2 if working else 0.02] * len(domains)), seconds=0.01)
    machine.close()
    return machine
