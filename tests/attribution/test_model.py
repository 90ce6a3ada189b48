"""Who should have how many joules, by a slow model of plain sums: the program has the same, whatever happens.

The model knows nothing of columns, rows, batches or kept stretches. It remembers every slice there ever was, and shares
what each meter tells among those who ran since that meter told before.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from kepler_ebpf.attribution import charging
from kepler_ebpf.columns import GPU, NODE, Floats
from kepler_ebpf.energy.source import Domain
from kepler_ebpf.kernel.source import OVERFLOW_ROW, CgroupEvent
from tests.needs import examples
from tests.node import Node

PACKAGES, RATIO = 2, 1.1
LEVELS = ("process", "container")
OVERFLOW = -2
METERS = (
    Domain("package", 0, "fake", "0-die-0", idle_watts=2.0),
    Domain("package", 0, "fake", "0-die-1", idle_watts=3.0),
    Domain("package", 1, "fake", "1", idle_watts=5.0),
    Domain("dram", 0, "fake", "0", idle_watts=1.0),
    Domain("dram", -1, "fake", "all", idle_watts=0.5),
    Domain("package", 7, "fake", "7", idle_watts=1.0),
    Domain("platform", 0, "fake", "0"),
)
WITH_GPU = (*METERS, Domain("gpu", 0, "fake", uuid="GPU-0", idle_watts=2.0))
PAYERS = range(PACKAGES + 1)  # the last stands for all packages
Who = int


@dataclass(frozen=True)
class Slice:
    process: Who
    container: Who
    package: int
    alone_ns: int
    shared_ns: int


@dataclass
class Sample:
    """``told``: joules and seconds of each meter since it told before, or two noughts. ``gpu``: its users' parts; None
    where it told nothing."""

    slices: list[Slice]
    told: list[tuple[float, float]]
    gpu: list[tuple[Who, Who, float]] | None

    def plus(self, later: Sample) -> Sample:
        told = [(j + k, s + t) for (j, s), (k, t) in zip(self.told, later.told)]
        return Sample(self.slices + later.slices, told, self.gpu if later.gpu is None else later.gpu)


def floor_of(meter: Domain) -> float:
    assert not callable(meter.idle_watts)
    return meter.idle_watts or 0.0


def payer_of(meter: Domain) -> int:
    return meter.index if 0 <= meter.index < PACKAGES else PACKAGES


class Model:
    """``joules``, ``seconds``: by level and who. ``measured``, ``idle``, ``unattributed``: by component."""

    def __init__(self, meters: Sequence[Domain], idle_is_shared: bool) -> None:
        self.meters, self.idle_is_shared = meters, idle_is_shared
        self.measured, self.idle, self.unattributed = np.zeros((3, len(NODE)))
        self.joules: dict[str, dict[Who, Floats]] = {level: defaultdict(lambda: np.zeros(3)) for level in LEVELS}
        self.seconds: dict[str, dict[Who, float]] = {level: defaultdict(float) for level in LEVELS}
        self._waiting: list[Sample] = []
        self._owed: list[Sample] = []
        self._ran: list[Slice] = []
        self._since: dict[tuple[str, int], int] = defaultdict(int)
        self._known: set[int] = set()

    def look(self, sample: Sample) -> None:
        self._waiting.append(sample)

    def fail(self) -> None:
        """A booking fails: what it had is one sample with the next."""
        self._owed, self._waiting = [*self._owed, *self._waiting], []

    def book(self) -> None:
        if self._waiting:
            first, *others = self._waiting
            for sample in (reduce(Sample.plus, [*self._owed, first]), *others):
                self._book(sample)
            self._owed, self._waiting = [], []

    def _book(self, sample: Sample) -> None:
        self._ran += sample.slices
        self._known |= {n for n, (_, seconds) in enumerate(sample.told) if seconds > 0}
        for one in sample.slices:
            for level in self.seconds:
                self.seconds[level][getattr(one, level)] += (one.alone_ns + one.shared_ns) * 1e-9
        for component, name in enumerate(NODE):
            for payer in PAYERS:
                mine = [n for n, one in enumerate(self.meters) if (one.component, payer_of(one)) == (name, payer)]
                told = [(sample.told[n], floor_of(self.meters[n])) for n in mine]
                joules = sum(used for (used, _), _ in told)
                floor = sum(min(watts * seconds, used) for (used, seconds), watts in told)
                self.measured[component] += joules
                if component == GPU:
                    self._charge_gpu(sample.gpu or [], joules - floor)
                    self.idle[component] += floor
                else:
                    self._charge(component, payer, joules - floor, floor)
                    if all(sample.told[n][1] > 0 for n in mine if n in self._known):
                        self._since[name, payer] = len(self._ran)

    def _charge_gpu(self, users: list[tuple[Who, Who, float]], dynamic: float) -> None:
        for process, container, part in users:
            self.joules["process"][process][GPU] += dynamic * part
            self.joules["container"][container][GPU] += dynamic * part
        self.unattributed[GPU] += dynamic * (1.0 - sum(part for _, _, part in users))

    def _charge(self, component: int, payer: int, dynamic: float, floor: float) -> None:
        ran = self._ran[self._since[NODE[component], payer] :]
        ran = [one for one in ran if payer in (PACKAGES, one.package)]
        if not ran:
            self.unattributed[component] += dynamic
        if not ran or not self.idle_is_shared:
            self.idle[component] += floor
            floor = 0.0
        # What two threads of a core save each other is the core's energy, not the memory's.
        shared = RATIO / 2 if NODE[component] == "package" else 1.0
        weights = [one.alone_ns + shared * one.shared_ns for one in ran]
        for one, weight in zip(ran, weights):
            for level, joules in self.joules.items():
                joules[getattr(one, level)][component] += (dynamic + floor) * weight / sum(weights)


class World:
    """The program and the model, through one history."""

    def __init__(self, seed: int, policy: str, batch_seconds: float, rows: int, with_gpu: bool) -> None:
        self.chance = random.Random(seed)
        self.meters = WITH_GPU if with_gpu else METERS
        self.node = Node(self.meters, PACKAGES, policy, batch_seconds, rows=rows)
        self.model = Model(self.meters, policy == "proportional")
        self.alive: dict[int, int] = {}
        self.cgroups = [1, 2, 3]
        self.born = 0
        self.slices: list[Slice] = []
        self.silent = dict.fromkeys(range(len(self.meters)), 0)
        self.told = np.zeros((2, len(self.meters)))  # joules, and when

    def live(self) -> None:
        """Births, deaths, moves, cgroups that go, and slices. Process ids are never used twice; rows are."""
        chance, kernel = self.chance, self.node.kernel
        if chance.random() < 0.6:
            self.born += 1
            self.alive[self.born] = chance.choice(self.cgroups)
        if self.alive and chance.random() < 0.2:
            self.alive[chance.choice(list(self.alive))] = chance.choice(self.cgroups)
        for tgid in chance.choices(list(self.alive), k=chance.randrange(5)) if self.alive else ():
            package, alone_ns, shared_ns = (chance.randrange(1, most) for most in (PACKAGES + 1, 10**8, 10**7))
            kernel.run(tgid, self.alive[tgid], package - 1, alone_ns, shared_ns)
            process = OVERFLOW if kernel.row_of_process(tgid) is None else tgid
            self.slices.append(Slice(process, self.alive[tgid], package - 1, alone_ns, shared_ns))
        doomed = {tgid for tgid in self.alive if chance.random() < 0.05}
        if chance.random() < 0.05:
            gone = self.cgroups.pop(0)
            self.cgroups.append(max(self.cgroups) + 1)
            kernel.events.append(CgroupEvent(gone, True, ""))
            doomed |= {tgid for tgid, cgroup in self.alive.items() if cgroup == gone}
        for tgid in doomed:
            del self.alive[tgid]
            kernel.kill(tgid)

    def look(self) -> None:
        chance, node = self.chance, self.node
        rows = {tgid: node.kernel.row_of_process(tgid) for tgid in self.alive}
        homes = {tgid: int(node.kernel.processes.rows["cgroup_id"][row]) for tgid, row in rows.items() if row}
        users = node.source.users = {tgid: chance.uniform(0.1, 1.0) for tgid in list(homes)[-2:]}
        for meter, left in self.silent.items():
            self.silent[meter] = left - 1 if left else chance.choice((0,) * 29 + (20,))
            if self.silent[meter]:
                node.source.fail(meter)
        seconds = chance.choice((0.05, 0.1, 0.3))
        node.now += seconds
        node.source.use(np.array([chance.choice((0.0, chance.uniform(0, 50))) for _ in self.meters]), seconds)
        node.sampler.look()
        now = np.stack([node.source.truth, np.full(len(self.meters), node.now)])
        answers = np.array([not left for left in self.silent.values()])
        told = np.where(answers, now - self.told, 0.0)
        self.told = np.where(answers, now, self.told)
        whole = sum(users.values())
        parts = [(tgid, homes[tgid], weight / whole) for tgid, weight in users.items()] if answers[-1] else None
        self.model.look(Sample(self.slices, list(zip(*told.tolist())), parts))
        self.slices = []

    def book(self) -> None:
        self.node.sampler.book()
        self.model.book()

    def fail(self) -> None:
        with pytest.MonkeyPatch.context() as broken:
            broken.setattr(charging, "bill", None)
            with pytest.raises(TypeError):
                self.node.sampler.book()
        self.model.fail()

    def compare(self) -> None:
        ledger, model = self.node.ledger, self.model
        for name in ("measured", "idle", "unattributed"):
            same(getattr(ledger, name), getattr(model, name))
        kernel_rows = self.node.kernel.processes.rows
        processes = {int(tgid): row for row, tgid in enumerate(kernel_rows["tgid"].tolist()) if tgid}
        containers = {self.number_of(row.workload.container_id): number for number, row in self.node.table.rows.items()}
        for level, rows in (("process", {**processes, OVERFLOW: OVERFLOW_ROW}), ("container", containers)):
            books, joules, seconds = ledger.levels[level], model.joules[level], model.seconds[level]
            same(books.total()[: len(NODE)], sum(joules.values(), np.zeros(len(NODE))))
            same(books.total()[-2], sum(seconds.values()))
            assert not ledger.gap_exceeded[level]
            for who, row in rows.items():
                if row < books.rows:
                    same(books.joules[: len(NODE), row], joules[who])
                    same(books.seconds[row], seconds[who])

    @staticmethod
    def number_of(container_id: str) -> int:
        return int(container_id[1:] or -1) if container_id else -1


def same(found: ArrayLike, expected: ArrayLike) -> None:
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=examples(60), deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(("none", "proportional")),
    st.sampled_from((0.0, 0.35, 1.0)),
    st.sampled_from((512, 6)),
    st.booleans(),
)
def test_everybody_has_what_the_model_says(
    seed: int, policy: str, batch_seconds: float, rows: int, with_gpu: bool
) -> None:
    world = World(seed, policy, batch_seconds, rows, with_gpu)
    for number in range(60):
        world.live()
        world.look()
        chance = world.chance.random()
        if chance < 0.05:
            world.fail()
        elif chance < 0.2 or world.node.sampler.is_due or number == 59:
            world.book()
            world.compare()
