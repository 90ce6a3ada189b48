"""Random readings at every source: nothing falls, no more is booked than can be drawn, what is refused is counted."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.energy.discovery import Discovering
from kepler_ebpf.energy.hwmon import HwmonSource
from kepler_ebpf.energy.meter import Meter
from kepler_ebpf.energy.model import ModelSource, PowerSpec
from kepler_ebpf.energy.perf_rapl import PerfRaplSource
from kepler_ebpf.energy.places import Places
from kepler_ebpf.energy.powercap import PowercapSource
from kepler_ebpf.energy.source import Taking
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.topology import Topology
from tests.energy.processors import proc_of
from tests.fakes import FakeTables
from tests.needs import examples

PLACES = Places(Topology((0,), (0,), (0,), (0,)))
MOST_WATTS = 2000.0
UNIT = 1e-6
RANGE = 65_532_610_987
FAILS = None
"""A reading that the kernel refuses."""


@dataclass
class World:
    """A source of one counter, and its clock. ``say``: what the next reading is to see.

    ``together``: how many readings are worked out at once.
    """

    source: Discovering
    say: Callable[[str | None], None]
    now_ns: int = 10**9
    together: int = 1
    waiting: list[Taking] = field(default_factory=list)

    def tick(self, seconds: float, text: str | None) -> None:
        self.now_ns += round(seconds * 1e9)
        self.say(text)
        self.waiting.append(self.source.look())
        if len(self.waiting) >= self.together:
            self.work_out()

    def work_out(self) -> None:
        for taking in self.waiting:
            taking()
        self.waiting = []


@contextmanager
def powercap(first: int = 0) -> Iterator[World]:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        zone = root / "class/powercap/intel-rapl:0"
        zone.mkdir(parents=True)
        for name, text in {"name": "package-0", "max_energy_range_uj": RANGE, "energy_uj": first}.items():
            (zone / name).write_text(f"{text}\n")
        said: list[str | None] = [str(first)]

        def pread(fd: int, size: int, offset: int) -> bytes:
            if said[0] is FAILS:
                raise OSError(5, "injected")
            return said[0].encode()[:size]

        world = World(None, lambda text: said.__setitem__(0, text))  # type: ignore[arg-type]
        fs = HostFS(proc=proc_of(root / "proc"), sys=root)
        world.source = PowercapSource(fs, PLACES, lambda: world.now_ns, pread)
        yield world
        world.source.close()


@contextmanager
def hwmon_energy(first: int = 0) -> Iterator[World]:
    with _chip("energy1_input", first) as world:
        yield world


@contextmanager
def hwmon_power(first: int = 0) -> Iterator[World]:
    with _chip("power1_input", first) as world:
        yield world


@contextmanager
def _chip(file: str, first: int) -> Iterator[World]:
    with TemporaryDirectory() as folder:
        chip = Path(folder) / "class/hwmon/hwmon0"
        chip.mkdir(parents=True)
        for name, text in {"name": "smpro", file.partition("_")[0] + "_label": "CPU power", file: str(first)}.items():
            (chip / name).write_text(text + "\n")

        def say(text: str | None) -> None:
            # An empty file reads as nothing, which is no number: as good as a refusal.
            (chip / file).write_text("" if text is FAILS else text + "\n")

        world = World(None, say)  # type: ignore[arg-type]
        world.source = HwmonSource(HostFS(sys=Path(folder)), places=PLACES, clock_ns=lambda: world.now_ns)
        yield world
        world.source.close()


@contextmanager
def perf(first: int = 0) -> Iterator[World]:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        power = root / "bus/event_source/devices/power"
        (power / "events").mkdir(parents=True)
        for name, text in {
            "type": "21",
            "cpumask": "0",
            "events/energy-pkg": "event=0x02",
            "events/energy-pkg.scale": "1e-6",
            "events/energy-pkg.unit": "Joules",
        }.items():
            (power / name).write_text(text + "\n")
        ends: list[int] = []

        def open_event(event_type: int, config: int, cpu: int) -> int:
            for end in ends:
                os.close(end)
            here, there = os.pipe2(os.O_NONBLOCK)
            ends[:] = [there]
            os.write(there, struct.pack("=Q", first))
            return here

        def say(text: str | None) -> None:
            if text is not FAILS:
                try:
                    os.write(ends[0], struct.pack("=Q", int(text)))
                except (ValueError, struct.error):
                    os.write(ends[0], b"nonsense"[:3])

        world = World(None, say)  # type: ignore[arg-type]
        fs = HostFS(proc=proc_of(root / "proc"), sys=root)
        world.source = PerfRaplSource(fs, open_event, PLACES, lambda: world.now_ns)
        yield world
        world.source.close()
        os.close(ends[0])


REOPENED = 48
"""The reading, the second tick's being the first, after which an event that fails is opened anew (five seconds)."""
SOURCES = [powercap, hwmon_energy, hwmon_power, perf]
COUNTERS = [powercap, hwmon_energy, perf]

_texts = st.one_of(
    st.integers(-(2**63), 2**64 - 1).map(str),
    st.integers(0, 10**9).map(str),
    st.sampled_from(("0", "-1", "1", str(RANGE), str(RANGE + 1), str(2**32 - 1), str(2**63), str(2**64 - 1))),
    st.sampled_from(("many", "1e9", "0x10", "\x00", "nan", "  ")),
    st.just(FAILS),
)


@pytest.mark.parametrize("make", SOURCES)
@settings(max_examples=examples(40), deadline=None)
@given(readings=st.lists(st.tuples(st.floats(0.001, 200.0), _texts), min_size=1, max_size=25))
def test_nothing_falls_and_nothing_is_booked_that_cannot_be_drawn(
    make: Callable[[int], AbstractContextManager[World]], readings: list[tuple[float, str | None]]
) -> None:
    with make(0) as world:
        meter = Meter([world.source])
        began_ns, refused = world.now_ns, 0
        for seconds, text in readings:
            faults, joules, time_ns = (
                _count(world),
                world.source.joules.copy(),
                world.source.time_ns.copy(),
            )
            world.now_ns += round(seconds * 1e9)
            world.say(text)
            interval = meter.read()
            assert min(interval.joules) >= 0
            assert min(interval.seconds) >= 0
            assert np.isfinite(interval.joules).all()
            assert (world.source.joules >= joules).all()
            assert (world.source.time_ns >= time_ns).all()
            if text is FAILS or not _is_number(text):
                refused += 1
                assert _count(world) > faults, "a reading that could not be had is counted"
                assert (world.source.joules == joules).all()
        elapsed = (world.now_ns - began_ns) * 1e-9
        # A refresh may lie up to a second before the first reading.
        assert world.source.joules.sum() <= MOST_WATTS * (elapsed + 1.0) + 1e-3
        assert _count(world) >= refused


def _count(world: World) -> int:
    return sum(world.source.faults.values())


def _is_number(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("make", COUNTERS)
@settings(max_examples=examples(40), deadline=None)
@given(
    watts=st.lists(st.floats(1, 400), min_size=6, max_size=50),
    below=st.integers(0, 500_000_000),
    failing=st.sets(st.integers(0, 49), max_size=20),
    refresh=st.sampled_from([1, 1, 2, 5, 10]),
    together=st.sampled_from([1, 1, 3, 10]),
)
def test_wraps_gaps_and_slow_refreshes_lose_nothing(
    make: Callable[[int], AbstractContextManager[World]],
    watts: list[float],
    below: int,
    failing: set[int],
    refresh: int,
    together: int,
) -> None:
    """Ten readings a second of a counter that is refreshed every so many of them, some of which fail."""
    if make is perf:
        failing = failing - {REOPENED}  # it is then opened anew, and what it counted meanwhile cannot be known
    span = RANGE + 1 if make is powercap else 1 << 64
    raw = span - 1 - below  # it wraps soon
    with make(raw) as world:
        world.tick(0.1, str(raw))
        world.tick(0.1, str(raw))
        before, used, shown = float(world.source.joules[0]), 0, 0
        world.together = together
        power = watts[0]
        for number in range(len(watts) * refresh):
            power = 0.5 * power + 0.5 * watts[number % len(watts)]  # no leaps: those have tests of their own
            used += round(power * 0.1 / UNIT)
            if number % refresh == refresh - 1:
                shown = used
            world.tick(0.1, FAILS if number in failing else str((raw + shown) % span))
        world.tick(0.1, str((raw + used) % span))
        world.tick(0.1, str((raw + used + 1) % span))
        world.tick(0.1, str((raw + used + 2) % span))
        world.work_out()
        assert world.source.joules[0] - before == pytest.approx((used + 2) * UNIT, rel=1e-9, abs=3e-6)


@pytest.mark.parametrize("make", COUNTERS)
@settings(max_examples=examples(40), deadline=None)
@given(
    watts=st.floats(5, 400),
    readings=st.integers(12, 60),
    nonsense=st.dictionaries(st.integers(3, 55), st.integers(0, 2**64 - 1), max_size=4),
    together=st.sampled_from([1, 1, 3, 10]),
)
def test_the_error_is_bounded_by_the_stretches_around_nonsense(
    make: Callable[[int], AbstractContextManager[World]],
    watts: float,
    readings: int,
    nonsense: dict[int, int],
    together: int,
) -> None:
    with make(10**9) as world:
        world.together = together
        used = 10**9
        world.tick(0.1, str(used))
        begun = used
        strange = set()
        for number in range(readings):
            used += round(watts * 0.1 / UNIT)
            if number in nonsense and number < readings - 4:
                strange.add(number)
                world.tick(0.1, str(nonsense[number]))
            else:
                world.tick(0.1, str(used))
        world.work_out()
        truth = (used - begun) * UNIT
        # Around each: from the good reading before it until the second after it.
        doubtful = {near for number in strange for near in range(number - 1, number + 4)}
        error = abs(float(world.source.joules[0]) - truth)
        assert error <= MOST_WATTS * 0.1 * len(doubtful) + watts * 0.1 + 1e-3
        if not strange:
            assert error <= watts * 0.1 + 1e-3


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.floats(-1e6, 1e18)), max_size=25))
def test_a_model_of_any_cpu_time_stays_between_idle_and_full(steps: list[tuple[float, float]]) -> None:
    class Clock:
        now_ns = 10**9

    clock, tables = Clock(), FakeTables(1)
    spec = PowerSpec(10.0, 60.0, (0.0, 1.0), (0.0, 1.0), "test", 0.3)
    source = ModelSource(spec, 2, lambda: clock.now_ns)
    tables.clock_ns = lambda: clock.now_ns
    source.ask(tables)
    for seconds, busy in steps:
        joules = float(source.joules[0])
        clock.now_ns += round(seconds * 1e9)
        tables.busy_seconds = [busy]
        Meter([source]).read()
        added = float(source.joules[0]) - joules
        assert 20.0 * seconds - 1e-6 <= added <= 120.0 * seconds + 1e-6
