"""A machine that is suspended to memory, and has a CPU off for a while: time and energy are what they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.conftest import samples_of
from tests.guests import asleep
from tests.guests.machine import Workshop, boot, our_package
from tests.needs import require


def test_a_machine_that_sleeps_uses_nothing_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require(os.geteuid() == 0, "making a root file system needs root")
    workshop = Workshop()
    disk = workshop.disk_with(our_package(tmp_path), Path(asleep.__file__).read_text())
    with boot(workshop.kernel("bookworm"), disk, tmp_path / "console") as guest:
        truth = guest.wait_for("TRUTH")
        found = samples_of(guest.metrics())
    assert truth["asleep"] > 0.5 * asleep.ASLEEP_SECONDS, "it was suspended"
    (seconds,) = (
        value
        for labels, value in found["kepler_container_cpu_time_seconds_total"]
        if labels["container"] == "worker.service"
    )
    with capsys.disabled():
        print(f"\n{truth['release']}: asleep for {truth['asleep']:.1f} s; worker {seconds / truth['used'] - 1:+.2%}")
    assert seconds == pytest.approx(truth["used"], rel=0.03)
    # On an emulated machine a sample takes long, and the CPU budget stretches their interval to seconds: one more
    # or less is in what is compared. Had the sleep been paid for, it were over three times as much.
    assert truth["samples"] >= 1, "samples go on"
    assert 0.2 < truth["joules"] / (truth["watts"] * truth["awake"]) < 2.5
    gaps = {labels["level"]: value for labels, value in found["kepler_ebpf_books_gap_ratio"]}
    assert max(gaps.values()) < 1e-9
    assert found["kepler_ebpf_failed_samples_total"] == [({}, 0.0)]
