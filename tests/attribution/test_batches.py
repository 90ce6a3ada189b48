"""Samples that are booked at once are what they would have been one by one."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.attribution.frame import Frame
from kepler_ebpf.columns import NODE
from kepler_ebpf.kernel.source import CgroupEvent
from tests.needs import examples
from tests.node import DOMAINS, SECONDS, Node, package

SAMPLES = 60


def run(node: Node, seed: int, at_once: bool) -> list[Frame]:
    """Churn, silent meters, GPUs' users and idle samples; the same for the same seed."""
    chance = random.Random(seed)
    alive: dict[int, int] = {}
    born = 1
    frames: list[Frame] = []
    for _ in range(SAMPLES):
        for _ in range(chance.randrange(3)):
            alive[born] = chance.randrange(1, 9)
            born += 1
        for tgid in chance.choices(list(alive), k=chance.randrange(5)) if alive else ():
            node.kernel.run(tgid, alive[tgid], chance.randrange(2), chance.randrange(1, 10**8), chance.randrange(10**7))
        if alive and chance.random() < 0.3:
            doomed = chance.choice(list(alive))
            node.kernel.kill(doomed)
            del alive[doomed]
        for _ in range(chance.randrange(3)):
            node.source.fail(chance.randrange(len(DOMAINS)))
        node.source.users = {tgid: chance.random() for tgid in chance.sample(list(alive), min(len(alive), 2))}
        joules = np.array([chance.random() * 8 for _ in DOMAINS])
        frames += (node.look if at_once else node.tick)(joules) or ()
    frames += node.sampler.book() or ()
    return frames


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(("none", "proportional")), st.sampled_from((0.25, 0.6, 1.0)))
def test_frames_are_the_same_however_many_are_booked_at_once(seed: int, policy: str, batch_seconds: float) -> None:
    one_by_one, at_once = Node(policy=policy), Node(policy=policy, batch_seconds=batch_seconds)
    expected, found = run(one_by_one, seed, False), run(at_once, seed, True)
    assert len(found) == len(expected) == SAMPLES
    for mine, theirs in zip(found, expected):
        for name in ("seconds", "busy_seconds", "measured", "idle", "unattributed", "watts", "covered_seconds"):
            assert getattr(mine, name) == pytest.approx(getattr(theirs, name), rel=1e-9, abs=1e-9), name
        for name in ("joules", "dynamic", "idle", "watts", "floor_watts"):
            assert getattr(mine.reading, name) == pytest.approx(
                getattr(theirs.reading, name), rel=1e-9, abs=1e-9, nan_ok=True
            )
        for level in ("process", "container"):
            charged, wanted = getattr(mine, level), getattr(theirs, level)
            assert charged.joules.sum(axis=1) == pytest.approx(wanted.joules.sum(axis=1), rel=1e-9, abs=1e-9)
            assert charged.seconds.sum() == pytest.approx(wanted.seconds.sum(), abs=1e-12)
    ledgers = at_once.ledger, one_by_one.ledger
    assert ledgers[0].gap_exceeded == ledgers[1].gap_exceeded == {"process": 0, "container": 0}
    assert ledgers[0].peak_watts == pytest.approx(ledgers[1].peak_watts)
    for name, books in at_once.ledger.levels.items():
        assert books.total() == pytest.approx(one_by_one.ledger.levels[name].total(), rel=1e-9)
    for cgroup in {row.workload.container_id for row in one_by_one.table.rows.values()} - {""}:
        number = int(cgroup[1:])
        assert at_once.container(number) == pytest.approx(one_by_one.container(number), rel=1e-9, abs=1e-9)


def test_peaks_are_of_single_samples() -> None:
    node = Node((package(),), packages=1, batch_seconds=1.0)
    for joules in (1.0, 5.0, 2.0):
        node.kernel.run(10, 1, 0, 10**8)
        assert node.look(np.array([joules])) is None
    node.sampler.book()
    assert node.ledger.levels["container"].peak_watts[node.number(1)] == pytest.approx(50.0)
    assert node.ledger.peak_watts == pytest.approx(50.0)


def test_a_batch_that_fails_is_owed_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node((package(),), packages=1, batch_seconds=0.3)
    with monkeypatch.context() as broken:
        broken.setattr("kepler_ebpf.attribution.charging.bill", None)
        node.kernel.run(10, 1, 0, 10**8)
        node.look(np.array([5.0]))
        node.kernel.run(11, 2, 0, 3 * 10**8)
        node.look(np.array([3.0]))
        with pytest.raises(TypeError):
            node.sampler.book()
    for tgid in (10, 11):
        node.kernel.run(tgid, tgid - 9, 0, 10**8)
    frames = [*(node.look(np.array([2.0])) or node.sampler.book() or ())]
    assert [frame.seconds for frame in frames] == pytest.approx([0.3])
    assert node.process(10) + node.process(11) == pytest.approx(10.0)
    assert node.process(10) == pytest.approx(10.0 / 3)
    assert node.ledger.relative_gap("process") < 1e-12


def test_a_sample_that_fails_between_others_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node((package(),), packages=1, batch_seconds=1.0)
    node.kernel.run(10, 1, 0, 10**8)
    node.look(np.array([5.0]))
    with monkeypatch.context() as broken:
        broken.setattr(node.kernel, "cpus_per_package", None)
        node.kernel.run(10, 1, 0, 10**8)
        with pytest.raises(TypeError):
            node.look(np.array([5.0]))
    node.kernel.run(10, 1, 0, 10**8)
    node.look(np.array([5.0]))
    frames = node.sampler.book()
    assert frames is not None
    assert len(frames) == 2
    assert node.process(10) == pytest.approx(15.0)
    assert node.ledger.levels["process"].seconds.sum() == pytest.approx(0.3)


def test_gpus_whose_users_cannot_be_looked_for_cost_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(batch_seconds=1.0)
    node.source.users = {10: 0.5}
    joules = np.full(len(DOMAINS), 5.0)
    node.kernel.run(10, 1, 0, 10**8)
    node.look(joules)
    with monkeypatch.context() as broken:
        broken.setattr(node.sampler.lifecycle, "row_of", None)
        node.kernel.run(10, 1, 0, 10**8)
        with pytest.raises(TypeError):
            node.look(joules)
    node.kernel.run(10, 1, 0, 10**8)
    node.look(joules)
    frames = node.sampler.book()
    assert frames is not None
    assert frames.seconds.tolist() == pytest.approx([0.1, 0.2])
    assert frames.busy_seconds.sum() == pytest.approx(0.3)
    assert frames.measured.sum() == pytest.approx(3 * 5.0 * sum(domain.component in NODE for domain in DOMAINS))
    assert node.ledger.relative_gap("process") < 1e-12


def test_rows_are_given_back_only_when_all_is_booked() -> None:
    node = Node((package(),), packages=1, batch_seconds=0.5)
    node.kernel.run(10, 1, 0, 10**8)
    node.look(np.array([1.0]))
    node.kernel.kill(10)
    row = int(np.flatnonzero(node.kernel.processes.rows["tgid"])[0])
    for _ in range(8):
        node.look(np.array([1.0]))
        assert node.kernel.processes.rows["tgid"][row] == 10
    for _ in range(8):
        node.look(np.array([1.0]))
    assert node.kernel.processes.rows["tgid"][row] == 0
    assert node.ledger.levels["process"].exited[0] == pytest.approx(1.0)


def test_many_ends_are_booked_early() -> None:
    """A storm of forks must not fill the table while a batch is under way."""
    node = Node((package(),), packages=1, batch_seconds=10.0, rows=160)
    for tgid in range(1, 12):
        node.kernel.run(tgid, 1, 0, 10**6)
        node.kernel.kill(tgid)
    assert node.look(np.array([1.0])) is not None


def test_who_asks_who_is_there_is_charged_sample_by_sample() -> None:
    node = Node((package(),), packages=1, policy="equal", batch_seconds=1.0)
    node.kernel.run(10, 1, 0, 10**8)
    frames = node.look(np.array([1.0]))
    assert frames is not None
    assert len(frames) == 1


def test_containers_that_come_and_go_within_a_batch_have_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node((package(),), packages=1, batch_seconds=1.0)
    node.workloads.known[7] = None
    monkeypatch.setattr(node.workloads, "learn_path", lambda cgroup, path: node.workloads.known.pop(cgroup))
    node.kernel.events += [CgroupEvent(7, False, "/docker/7"), CgroupEvent(7, True, "")]
    node.kernel.run(10, 7, 0, 10**8)
    for _ in range(5):
        node.look(np.array([5.0]))
    node.sampler.book()
    assert node.container(7) == pytest.approx(5.0)


def test_a_user_of_a_gpu_that_moves_within_a_batch_was_where_it_was() -> None:
    node = Node(batch_seconds=1.0)
    node.source.users = {10: 1.0}
    gpu = next(place for place, domain in enumerate(DOMAINS) if domain.component == "gpu")
    joules = np.zeros(len(DOMAINS))
    joules[gpu] = 5.0
    for cgroup in (1, 2):
        node.kernel.run(10, cgroup, 0, 10**8)
        node.look(joules)
    node.sampler.book()
    dynamic = 5.0 - 2.0 * SECONDS
    assert (node.container(1), node.container(2)) == pytest.approx((dynamic, dynamic))
