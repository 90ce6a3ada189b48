"""What a source says of its counters in the log: each fault once, and once that it is over."""

from __future__ import annotations

import logging

import pytest

from kepler_ebpf.energy.believe import Verdict
from kepler_ebpf.energy.figures import Figures
from kepler_ebpf.energy.source import Domain, Taking

GOOD, JUMP, RESET = Verdict(1.0, 0.1), Verdict(fault="jump"), Verdict(fault="reset")
BAD_NEWS = "energy of it is not known for now: "
GOOD_NEWS = "it can be read again"


class Told(Figures):
    """Of which nothing is read: the test says what a reading said."""

    def look(self) -> Taking:
        raise NotImplementedError


class Meter:
    """A source of one domain, read every ``spacing`` seconds."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.spacing = 0.1
        self.figures = Told(lambda: self.now_ns)
        self.figures.add(Domain("package", 0, "test"))

    def read(self, *verdicts: Verdict) -> None:
        for verdict in verdicts:
            self.now_ns += round(self.spacing * 1e9)
            self.figures.book(0, verdict, self.now_ns, "it")
            self.figures.end_reading(self.now_ns)


@pytest.fixture(autouse=True)
def all_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.mark.parametrize(("still", "spacing", "patience"), [(0, 0.1, 5), (7, 0.1, 17.5), (0, 10, 25), (30, 10, 75)])
def test_a_domain_is_live_for_a_few_refreshes_and_a_few_readings(still: float, spacing: float, patience: float) -> None:
    meter = Meter()
    meter.spacing = spacing
    meter.read(*[Verdict(1.0, 0.1, still_seconds=still)] * 3)
    while meter.figures.counted().live[0]:
        silent = meter.now_ns * 1e-9 - 3 * spacing
        assert silent < patience + spacing / 2
        meter.read(Verdict())
    assert meter.now_ns * 1e-9 - 3 * spacing == pytest.approx(patience, abs=1.01 * spacing)


def test_what_fails_and_works_by_turns_is_one_fault(caplog: pytest.LogCaptureFixture) -> None:
    meter = Meter()
    meter.read(*[JUMP, GOOD] * 200)
    assert caplog.messages == [BAD_NEWS + "jump"]
    assert meter.figures.faults == {"jump": 200}
    meter.read(*[GOOD] * 200)
    assert caplog.messages == [BAD_NEWS + "jump", GOOD_NEWS]


def test_reasons_by_turns_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    Meter().read(*[JUMP, GOOD, RESET, GOOD] * 100)
    assert caplog.messages == [BAD_NEWS + "jump", BAD_NEWS + "reset"]


def test_what_fails_whenever_zones_are_looked_for_is_one_fault(caplog: pytest.LogCaptureFixture) -> None:
    Meter().read(*[JUMP, *[GOOD] * 49] * 10)
    assert caplog.messages == [BAD_NEWS + "jump"]


def test_a_fault_that_comes_back_after_a_while_is_news(caplog: pytest.LogCaptureFixture) -> None:
    Meter().read(*[JUMP, *[GOOD] * 150] * 2)
    assert caplog.messages == [BAD_NEWS + "jump", GOOD_NEWS] * 2


def test_nothing_is_over_before_a_reading_was_good(caplog: pytest.LogCaptureFixture) -> None:
    Meter().read(JUMP, *[Verdict()] * 600)
    assert caplog.messages == [BAD_NEWS + "jump"]
