"""A collector that was killed, and the one after it: the node's books go on as if nothing had been, or begin at 0."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.attribution.carry import BrokenOff, Carry, ZoneState, resume, take
from kepler_ebpf.attribution.ledger import Ledger
from kepler_ebpf.attribution.sampler import Sampler
from kepler_ebpf.energy.model import ModelSource, PowerSpec
from kepler_ebpf.energy.packages import PackageMeter
from kepler_ebpf.energy.perf_rapl import PerfRaplSource
from kepler_ebpf.energy.places import Places
from kepler_ebpf.energy.powercap import PowercapSource
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.topology import Topology
from kepler_ebpf.state import decode, encode
from tests.energy.processors import proc_of
from tests.fakes import FakeTables, sampler_over
from tests.needs import examples

RANGE = 65_532_610_987
ZONES = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:0:1": "dram"}
SPEC = PowerSpec(1.0, 11.0, (0.0, 1.0), (0.0, 1.0), "test", 0.3)
BOOT = "a-boot"


class Machine:
    """Counters in microjoules that run on whoever reads them: of the package, its cores, and DRAM."""

    def __init__(self, folder: Path, start: int = 0) -> None:
        self.folder = folder
        self.now_ns = 10**12
        self.used = np.zeros(3)
        self.counters = [start] * 3
        self.refused = False
        for zone, name in ZONES.items():
            place = folder / "class/powercap" / zone
            place.mkdir(parents=True)
            for file, text in {"name": name, "max_energy_range_uj": str(RANGE), "energy_uj": ""}.items():
                (place / file).write_text(text + "\n")
        self.fs = HostFS(proc=proc_of(folder / "proc"), sys=folder)

    def run(self, seconds: float, watts: float) -> None:
        """Time goes on at this power; the cores have half of it, DRAM a tenth."""
        self.now_ns += round(seconds * 1e9)
        for number, part in enumerate((1.0, 0.5, 0.1)):
            units = round(seconds * watts * part * 1e6)
            self.counters[number] = (self.counters[number] + units) % (RANGE + 1)
            self.used[number] += units * 1e-6


class Life:
    """A collector on that machine, from its start to its end."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

        def clock() -> int:
            return machine.now_ns

        places = Places(Topology((0,), (0,), (0,), (0,)))
        self.powercap = PowercapSource(machine.fs, places, clock, self._pread)
        parts = ("package", "core", "dram")
        self.files = {one.fd: parts.index(domain.component) for domain, one in self.powercap._counters.items()}
        self.powercap.read()
        self.kernel = FakeTables(1)
        model = ModelSource(SPEC, 2, clock)
        self.packages = PackageMeter([self.powercap], model)
        self.kernel.clock_ns = clock
        model.ask(self.kernel)
        self.sampler: Sampler = sampler_over(self.kernel, self.packages, clock=lambda: machine.now_ns * 1e-9)

    def _pread(self, fd: int, size: int, offset: int) -> bytes:
        return str(self.machine.counters[self.files[fd]]).encode()

    @property
    def ledger(self) -> Ledger:
        return self.sampler.ledger

    def sample(self, seconds: float, watts: float) -> None:
        self.machine.run(seconds, watts)
        self.kernel.run(10, 1, 0, round(seconds * 1e9))
        self.sampler.sample()

    def take(self) -> Carry:
        """What the state file of this moment gives to the next collector."""
        self.sampler.begin_publication()
        carry = take(self.ledger, self.sampler.meter, self.packages)
        assert carry is not None
        return decode(encode(carry, BOOT), BOOT)

    def resume(self, carry: Carry) -> None:
        self.between = resume(self.ledger, self.sampler.meter, self.packages, carry)


@contextmanager
def machine(start: int = 0) -> Iterator[Machine]:
    with TemporaryDirectory() as folder:
        yield Machine(Path(folder), start)


def test_the_books_go_on_with_what_was_used_in_between() -> None:
    with machine() as box:
        first = Life(box)
        for _ in range(50):
            first.sample(0.1, 50.0)
        carry = replace(first.take(), zones={k: replace(z, floor_watts=20.0) for k, z in first.take().zones.items()})
        used = first.ledger.measured.copy()
        charged = first.ledger.levels["container"].total()
        box.run(30.0, 50.0)
        second = Life(box)
        second.resume(carry)
        ledger = second.ledger
        assert (ledger.measured - used)[:2] == pytest.approx([1500.0, 150.0])
        assert second.between.joules == pytest.approx(1650.0)
        assert second.between.seconds == pytest.approx(30.0)
        # Up to the floor it is idle energy, beyond it nobody's: DRAM draws 5 W and is below its floor.
        assert (ledger.idle - first.ledger.idle)[:2] == pytest.approx([600.0, 150.0])
        assert (ledger.unattributed - first.ledger.unattributed)[:2] == pytest.approx([900.0, 0.0])
        assert ledger.levels["container"].total() == pytest.approx(charged)
        # No power shows it: not the mean of the publication, not its peak.
        second.sample(0.1, 50.0)
        second.sample(0.1, 50.0)
        ledger.end_publication()
        assert 0 < ledger.watts.sum() < 55.1
        assert 0 < ledger.peak_watts < 55.1
        for level in ledger.levels:
            assert ledger.relative_gap(level) < 1e-12
        found = zip(second.sampler.meter.domains, ledger.domains)
        domains = {domain.component: joules for domain, joules in found if domain.source != "model"}
        assert domains["package"] == pytest.approx(box.used[0])
        assert domains["core"] == pytest.approx(box.used[1])


@settings(max_examples=examples(40), deadline=None)
@given(
    st.integers(0, RANGE),
    st.lists(
        st.tuples(
            st.integers(1, 30),  # samples
            st.floats(0.05, 25.0),  # seconds without a collector
            st.floats(1.0, 400.0),  # watts
        ),
        min_size=2,
        max_size=6,
    ),
)
def test_any_number_of_lives_is_one_life(start: int, lives: list[tuple[int, float, float]]) -> None:
    """Killed at any moment, over any wraps: what is measured is what the counters told, and all books close."""
    with machine(start) as box:
        carry, before = None, np.zeros(3)
        for samples, gap, watts in lives:
            life = Life(box)
            if carry is not None:
                life.resume(carry)
                assert (life.ledger.idle >= 0).all()
                assert (life.ledger.unattributed >= 0).all()
                assert (life.ledger.measured >= before).all(), "a counter fell"
            else:
                began = box.used.copy()
            for _ in range(samples + 1):
                life.sample(0.1, watts)
            assert life.ledger.measured[:2] == pytest.approx((box.used - began)[[0, 2]], rel=1e-9, abs=1e-5)
            for level in life.ledger.levels:
                assert life.ledger.relative_gap(level) < 1e-9
            carry, before = life.take(), life.ledger.measured.copy()
            box.run(gap, watts)


def _gone_back(box: Machine) -> None:
    box.counters[0] = 5
    box.now_ns += 10**9


def _wrapped_unseen(box: Machine) -> None:
    box.run(600.0, 50.0)


def _leapt(box: Machine) -> None:
    box.run(1.0, 50.0)
    box.counters[0] += 20_000_000_000


def _another_range(box: Machine) -> None:
    for zone in ZONES:
        (box.folder / "class/powercap" / zone / "max_energy_range_uj").write_text("262143328850\n")
    box.run(1.0, 50.0)


def _clock_went_back(box: Machine) -> None:
    box.now_ns -= 10**11


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (_gone_back, "package/0 used in between is not known: reset"),
        (_wrapped_unseen, "package/0 used in between is not known: gap"),
        (_leapt, "package/0 used in between is not known: jump"),
        (_another_range, "package/0 used in between is not known: range"),
        (_clock_went_back, "package/0 used in between is not known: ahead of the clock"),
    ],
)
def test_what_cannot_be_known_is_not_invented(happens: Callable[[Machine], None], reason: str) -> None:
    with machine(10**9) as box:
        first = Life(box)
        for _ in range(10):
            first.sample(0.1, 50.0)
        carry = first.take()
        happens(box)
        second = Life(box)
        with pytest.raises(BrokenOff, match=reason):
            second.resume(carry)
        assert not second.ledger.measured.any()
        assert not second.ledger.domains.any()
        assert not second.ledger.levels["process"].total().any()
        second.sample(0.1, 50.0)
        second.sample(0.1, 50.0)
        assert second.ledger.relative_gap("container") < 1e-12


def test_another_meter_or_another_zone_is_another_story() -> None:
    with machine() as box:
        first = Life(box)
        for _ in range(10):
            first.sample(0.1, 50.0)
        carry = first.take()
        second = Life(box)
        with pytest.raises(BrokenOff, match="hwmon counted then, rapl-powercap does now"):
            second.resume(replace(carry, source="hwmon"))
        with pytest.raises(BrokenOff, match="the counter of package/1 is not there"):
            second.resume(replace(carry, zones={**carry.zones, "package/1": carry.zones["package/0"]}))
        assert not second.ledger.measured.any()


def test_nothing_is_kept_while_the_model_counts() -> None:
    with machine() as box:
        life = Life(box)
        for _ in range(10):
            life.sample(0.1, 50.0)
        for _ in range(80):
            life.machine.now_ns += 10**8  # the counters stand still
            life.kernel.run(10, 1, 0, 10**8)
            life.sampler.sample()
        assert life.packages.name == "model"
        assert take(life.ledger, life.sampler.meter, life.packages) is None


def test_counts_of_perf_go_on_by_the_zones_counter() -> None:
    """Perf counts begin with whoever opens them, so only the powercap tree knows what was used in between."""
    with machine() as box:
        power = box.folder / "bus/event_source/devices/power"
        (power / "events").mkdir(parents=True)
        files = {"type": "21", "cpumask": "0", "events/energy-pkg": "event=0x02"}
        for name, text in {**files, "events/energy-pkg.scale": "1e-6", "events/energy-pkg.unit": "Joules"}.items():
            (power / name).write_text(text + "\n")
        places = Places(Topology((0,), (0,), (0,), (0,)))

        def open_event(event_type: int, config: int, cpu: int) -> int:
            here, there = os.pipe()
            os.write(there, b"".join(struct.pack("=Q", 1000 * number) for number in range(9)))
            os.close(there)
            return here

        perf = PerfRaplSource(box.fs, open_event, places, lambda: box.now_ns)
        life = Life(box)
        meter = PackageMeter([perf, life.powercap], ModelSource(SPEC, 2, lambda: box.now_ns))
        assert meter.name == "rapl-perf"
        ((domain, mark),) = meter.marks().items()
        assert (domain.source, domain.component) == ("rapl-perf", "package")
        assert mark == next(mark for zone, mark in life.powercap.marks().items() if zone.component == "package")
        perf.close()


@settings(max_examples=examples(100), deadline=None)
@given(
    st.integers(0, 2**64),
    st.integers(0, 2**64),
    st.sampled_from((RANGE + 1, RANGE + 1, 0, 5, 2**64)),
    st.floats(0, 1.7e308),
    st.floats(0, 1.7e308) | st.just(float("nan")),
)
def test_a_state_that_lies_is_refused_or_bounded(
    value: int, time_ns: int, span: int, joules: float, floor: float
) -> None:
    """It cannot stop a collector from starting, nor give it more than can have been drawn since the boot."""
    with machine() as box:
        first = Life(box)
        for _ in range(3):
            first.sample(0.1, 50.0)
        carry = first.take()
        life = Life(box)
        try:
            life.resume(replace(carry, zones={"package/0": ZoneState(value, time_ns, span, joules, floor)}))
        except BrokenOff:
            assert not life.ledger.measured.any()
        else:
            assert 0 <= life.between.joules <= 2000.0 * box.now_ns * 1e-9
        life.sample(0.1, 50.0)
        assert life.ledger.relative_gap("process") < 1e-9
