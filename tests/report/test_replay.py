"""Attribution again: under the rules of the recording the same, under others what these would have given live."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.recording.reader import read
from kepler_ebpf.report.book import Book, book, lines_of
from kepler_ebpf.report.replay import attribute_again
from kepler_ebpf.report.text import gaps
from tests.report.runs import STORMY, Recorded, opened, storm

pytest.importorskip("pyarrow")
POLICIES = ("none", "proportional", "equal", "requests")


def joules_of(told: Book) -> dict[tuple[str, object], np.ndarray]:
    """Joules by component of everybody, at both levels, and what is nobody's."""
    found: dict[tuple[str, object], np.ndarray] = defaultdict(lambda: np.zeros(3))
    for level, charges in told.levels.items():
        for who, joules in zip(charges.who.tolist(), charges.joules.T):
            found[level, charges.everyone[who]] += joules
    found["idle", None], found["unattributed", None] = told.idle.sum(axis=1), told.unattributed.sum(axis=1)
    return {key: joules for key, joules in found.items() if joules.any()}


def assert_same(some: Book, others: Book) -> None:
    ours, theirs = joules_of(some), joules_of(others)
    assert ours.keys() == theirs.keys()
    for key, joules in ours.items():
        assert joules == pytest.approx(theirs[key], rel=1e-9, abs=1e-12), key


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(POLICIES), st.sampled_from((1.0, 1.1, 2.0)), st.booleans())
def test_the_same_rules_give_the_same_joules(
    tmp_path_factory: pytest.TempPathFactory, seed: int, policy: str, ratio: float, cycles: bool
) -> None:
    path = tmp_path_factory.mktemp("replay") / "a"
    machine = Recorded(path, STORMY, 2, policy, ratio, rows=24, cycles=cycles)
    storm(machine, seed, 40)
    machine.close()
    recording = read(path)
    lines = lines_of(recording)
    again = attribute_again(recording, lines)
    assert_same(again, book(recording, lines))
    assert max(gaps(again).values()) < 1e-9
    for name, live in (("measured", again.measured), ("idle", again.idle), ("unattributed", again.unattributed)):
        told = np.array([getattr(frame, name) for frame in machine.frames]).T
        assert live == pytest.approx(told, rel=1e-9, abs=1e-12), name


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(POLICIES), st.sampled_from(POLICIES), st.sampled_from((1.0, 1.3)))
def test_other_rules_give_what_they_would_have_given_live(
    tmp_path_factory: pytest.TempPathFactory, seed: int, recorded: str, asked: str, ratio: float
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    for name, policy, used in (("a", recorded, 1.1), ("b", asked, ratio)):
        machine = Recorded(folder / name, STORMY, 2, policy, used)
        storm(machine, seed, 40)
        machine.close()
    recording = read(folder / "a")
    assert_same(attribute_again(recording, lines_of(recording), asked, ratio), opened(folder / "b"))


def test_a_process_that_never_ran_pays_its_equal_part_under_its_own_name(tmp_path: Path) -> None:
    machine = Recorded(tmp_path / "a")
    machine.node.kernel.run(1, 1, 0, 10**6)
    machine.node.kernel.run(2, 2, 0, 10**6)
    for _ in range(3):
        machine.tick(1.1)
        machine.node.kernel.run(1, 1, 0, 10**6)
    machine.close()
    recording = read(tmp_path / "a")
    equal = joules_of(attribute_again(recording, lines_of(recording), "equal"))
    of = {who.comm: joules.sum() for (level, who), joules in equal.items() if level == "process"}  # type: ignore[attr-defined]
    # 0.1 J idle and 1 J dynamic in each frame; the second ran in the first frame only.
    assert of["p2"] == pytest.approx(0.5 + 3 * 0.05)
    assert of["p1"] == pytest.approx(2.5 + 3 * 0.05)


def test_who_has_ended_pays_nothing_more_even_where_nobody_takes_its_row(tmp_path: Path) -> None:
    machine = Recorded(tmp_path / "a")
    kernel = machine.node.kernel
    kernel.run(2, 2, 0, 10**6)
    for sample in range(20):
        kernel.run(1, 1, 0, 10**6)
        machine.tick(1.1)
        if sample == 4:
            kernel.kill(2)
    machine.close()
    recording = read(tmp_path / "a")
    equal = joules_of(attribute_again(recording, lines_of(recording), "equal"))
    of = {who.comm: joules.sum() for (level, who), joules in equal.items() if level == "process"}  # type: ignore[attr-defined]
    # Half of 0.1 J idle while it was there: five frames, and two until its row is given back.
    assert of["p2"] == pytest.approx(0.5 + 7 * 0.05)
