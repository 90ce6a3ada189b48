"""Joules of a GPU wait for the samples that say who used them."""

from __future__ import annotations

import pytest

from kepler_ebpf.energy.gpu_use import HOLD_SECONDS, NOBODY, GpuUse

# pid, utilisation in per cent, stamp in microseconds: one sample a process, each with a stamp of its own, as a driver
# gave them (nvtop, issue 110), in the order of stamps.
DRIVER = (
    (7180, 9, 1623157632005826),
    (7044, 11, 1623157633175692),
    (7044, 4, 1623157637687768),
    (7180, 16, 1623157639191912),
    (7044, 1, 1623157639526261),
    (7180, 19, 1623157640194710),
)
TENTH = 100_000_000


def replay(watts: float, seconds: float) -> tuple[float, dict[int, float], float]:
    """Released joules, by process what it is charged with, and what nobody is."""
    use, start = GpuUse(), 1623157630_000_000
    released, of, nobody = 0.0, dict.fromkeys((7044, 7180), 0.0), 0.0
    samples = list(DRIVER)
    for step in range(1, round(seconds * 10) + 1):
        now_us = start + step * 100_000
        use.add(watts / 10, (step - 1) * TENTH, step * TENTH)
        while samples and samples[0][2] <= now_us:
            pid, per_cent, _ = samples.pop(0)
            use.sample(pid, per_cent / 100, step * TENTH)
        release = use.release(step * TENTH)
        if release is None:
            continue
        released += release.joules
        whole = sum(release.weights.values())
        assert whole == pytest.approx(release.joules)
        nobody += release.weights.get(NOBODY, 0.0)
        for pid in of:
            of[pid] += release.weights.get(pid, 0.0)
    return released, of, nobody


def test_two_processes_share_by_what_they_did() -> None:
    """12 s at 100 W: the busier process has more, by a factor of two at least, and nearly all is somebody's."""
    released, of, nobody = replay(100.0, 12.0)
    assert of[7044] + of[7180] >= 0.9 * 1200
    assert of[7180] >= 2 * of[7044]
    assert nobody == pytest.approx(released - sum(of.values()))


def test_a_slip_of_the_driver_costs_no_more_than_its_moment() -> None:
    """A process that cannot be, in three samples of ten a second: its ninth for those three tenths, and one more."""
    use, nobody = GpuUse(), 0.0
    for step in range(1, 200):
        use.add(10.0, (step - 1) * TENTH, step * TENTH)
        use.sample(100, 0.8, step * TENTH)
        if 90 <= step < 93:
            use.sample(NOBODY, 0.1, step * TENTH, awaited=False)
        release = use.release(step * TENTH)
        nobody += release.weights.get(NOBODY, 0.0) if release else 0.0
    assert 3 * 10 / 9 <= nobody <= 4.6 * 10 / 9


def test_a_user_that_never_has_a_name_keeps_its_part() -> None:
    """A sample a second of each, the nameless one half a second later: half of the joules are its own."""
    use, nobody = GpuUse(), 0.0
    for step in range(1, 300):
        use.add(10.0, (step - 1) * TENTH, step * TENTH)
        if step % 10 == 0:
            use.sample(100, 0.4, step * TENTH)
        if step % 10 == 5:
            use.sample(NOBODY, 0.4, step * TENTH, awaited=False)
        release = use.release(step * TENTH)
        nobody += release.weights.get(NOBODY, 0.0) if release else 0.0
    assert nobody == pytest.approx(1490, rel=0.05)


def test_without_any_process_joules_wait_for_a_first_sample_and_no_longer() -> None:
    use = GpuUse()
    use.add(5.0, 0, TENTH)
    assert use.release(19 * TENTH) is None
    release = use.release(21 * TENTH)
    assert release is not None
    assert release.joules == 5.0
    assert release.seconds == pytest.approx(0.1)
    assert release.weights == {NOBODY: 5.0}


def test_joules_wait_until_every_busy_process_has_told() -> None:
    use = GpuUse()
    released = 0.0
    for step in range(1, 41):
        use.add(1.0, (step - 1) * TENTH, step * TENTH)
        use.sample(1, 0.5, step * TENTH)
        if step == 1:
            use.sample(2, 0.5, step * TENTH)
        release = use.release(step * TENTH)
        released += release.joules if release else 0.0
    assert released == pytest.approx(1 + 20), "for two seconds the second one is taken to go on"
    use.sample(2, 1.0, 40 * TENTH)
    release = use.release(40 * TENTH)
    assert release is not None
    assert release.joules == pytest.approx(19.0)
    assert release.weights[2] == pytest.approx(2 * release.weights[1])


def test_a_process_that_says_no_more_is_not_waited_for_for_ever() -> None:
    use = GpuUse()
    use.add(1.0, 0, TENTH)
    use.sample(1, 1.0, TENTH)
    assert use.release(TENTH) is not None
    total = 0.0
    for step in range(2, 200):
        use.add(1.0, (step - 1) * TENTH, step * TENTH)
        release = use.release(step * TENTH)
        total += release.joules if release else 0.0
    assert total >= 198 - HOLD_SECONDS * 10 - 1
    assert len(use._processes) == 0
