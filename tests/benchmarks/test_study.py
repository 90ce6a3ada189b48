"""The accuracy study shows what the page says it shows, and the page says what the study prints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks import study
from benchmarks.simulation import IDLE, Machine, collect, worst_error

PAGE = Path(__file__).parents[2] / "docs/accuracy.md"


@pytest.mark.parametrize("section", [study.sockets, study.hyperthreads, study.frequencies, study.wraps])
def test_the_page_holds_what_is_printed(section: object) -> None:
    # Errors at the limit of floating point may differ between machines in their last digit.
    printed = [line for line in section().splitlines() if "e-1" not in line]  # type: ignore[operator]
    page = PAGE.read_text()
    assert all(line in page for line in printed)


def test_sockets_apart_are_exact_and_summed_are_not() -> None:
    schedule = np.full((4, 900), IDLE)
    schedule[0], schedule[2, :300] = 0, 1
    machine = Machine(np.array([60.0, 15.0]), schedule, packages=2, unit_joules=1e-12, span=2**62)
    assert worst_error(collect(machine, 900).joules, machine.truth()) < 1e-9
    assert worst_error(collect(machine, 900, sum_first=True).joules, machine.truth()) > 0.3


def test_hyperthreads_corrected_and_not() -> None:
    assert study._hyperthreads(1.1, 1.1) < 1e-6
    assert study._hyperthreads(1.1, 2.0) > 0.1
    assert study._hyperthreads(1.8, 1.1) > study._hyperthreads(1.8, 2.0), "where it harms"


def test_short_samples_tell_turns_apart() -> None:
    found = study._resolution()
    errors = [error for error, _ in found.values()]
    peaks = [peak for _, peak in found.values()]
    assert errors == sorted(errors)
    assert errors[0] < 0.05 < 0.9 < errors[-1]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[0] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("start", [0, 2**32 - 50_000])
def test_a_simulated_counter_wraps_and_nothing_is_lost(start: int) -> None:
    schedule = np.full((2, 2000), IDLE)
    schedule[0] = 0
    machine = Machine(np.array([30.0]), schedule, start=start)
    assert worst_error(collect(machine, 100).joules, machine.truth()) < 1e-3
