"""Which of several providers names a container, and when waiting for a name ends."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from kepler_ebpf.config import OPTIONS
from kepler_ebpf.workloads.names.lookup import HOLD_SECONDS, PATIENCE, UNKNOWN_SECONDS, NameLookup
from kepler_ebpf.workloads.names.provider import ContainerName, ProviderError
from kepler_ebpf.workloads.names.remedies import remedy

POD = ContainerName("app", "web-1", "shop", "u1", 0.5)


class Provider:
    """Answers what it is told to; counts how often it is asked."""

    def __init__(self, name: str, known: dict[str, ContainerName], lists_sandboxes: bool = True) -> None:
        self.name, self.known, self.lists_sandboxes = name, known, lists_sandboxes
        self.failing, self.requests = False, 0
        self.error: Exception = ProviderError("500")

    def fetch(self) -> Mapping[str, ContainerName]:
        self.requests += 1
        if self.failing:
            raise self.error
        return self.known


class World:
    """Providers, the kubelet first, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.kubelet, self.cri = Provider("kubelet", {}, False), Provider("cri", {})
        self.naming = NameLookup([self.kubelet, self.cri], lambda: self.now, lambda: 0.0)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.naming.step()
            self.now += 1


def test_the_best_that_knows_it_names_it() -> None:
    world = World()
    world.kubelet.known["a"] = POD
    world.cri.known["a"] = ContainerName("app", "web-1", "shop", "u1")
    world.naming.want("a")
    world.run(1)
    assert world.naming.name("a") == POD
    assert world.cri.requests == 0


def test_what_is_wanted_while_the_answer_is_under_way_is_learned_from_it() -> None:
    """Else it waits for the next request, five seconds later, though its name was told."""
    world = World()
    world.kubelet.known.update(a=POD, b=POD)
    world.cri.known["c"] = POD

    def fetch() -> Mapping[str, ContainerName]:
        world.naming.want("b")
        world.naming.want("c")
        return world.kubelet.known

    world.kubelet.fetch = fetch  # type: ignore[method-assign]
    world.naming.want("a")
    world.naming.step()
    assert (world.naming.name("a"), world.naming.name("b")) == (POD, POD)
    assert world.naming.name("c") is None, "the kubelet, which knows best, was not asked for it"
    assert world.naming.pending("c")


def test_containers_that_are_found_one_after_the_other_are_asked_for_together() -> None:
    kubelet = Provider("kubelet", {str(number): POD for number in range(10)})
    naming = NameLookup([kubelet])
    naming.start()
    for number in range(10):
        naming.want(str(number))
        time.sleep(0.001)
    until = time.monotonic() + 60
    while not naming.name("9"):
        assert time.monotonic() < until
        time.sleep(0.01)
    naming.close()
    assert kubelet.requests <= 2


def test_the_next_is_asked_while_the_best_lags_or_fails() -> None:
    for failing in (False, True):
        world = World()
        world.kubelet.failing = failing
        world.cri.known["a"] = ContainerName("app", "web-1", "shop", "u1")
        world.naming.want("a")
        world.run(2)
        assert world.naming.name("a") == world.cri.known["a"]


def test_the_sandbox_is_the_oldest_that_the_kubelet_does_not_list() -> None:
    world = World()
    world.kubelet.known["a"] = POD
    world.naming.want("crashed", pod_uid="u1")
    world.naming.want("pause", pod_uid="u1", oldest=True)
    world.run(30)
    assert world.naming.name("pause") == ContainerName("POD", "web-1", "shop", "u1")
    assert world.naming.name("crashed") is None
    assert world.naming.pod("u1") == ("web-1", "shop"), "what pod it was of is known all the same"
    assert world.naming.pod("u2") is None
    world.naming.forget("pause")
    world.naming.want("pause-2", pod_uid="u1", oldest=True)
    world.run(30)
    assert world.naming.name("pause-2") == ContainerName("POD", "web-1", "shop", "u1")


def test_conmons_cgroup_is_seen_before_the_pods() -> None:
    world = World()
    world.kubelet.known["a"] = POD
    world.naming.want("pause")
    world.naming.want("pause", pod_uid="u1", oldest=True)
    world.run(30)
    assert world.naming.name("pause") == ContainerName("POD", "web-1", "shop", "u1")


def test_waiting_ends_though_the_name_may_still_come() -> None:
    world = World()
    world.kubelet.failing = world.cri.failing = True
    world.naming.want("a")
    assert world.naming.pending("a")
    world.run(HOLD_SECONDS + 1)
    assert not world.naming.pending("a")
    world.kubelet.failing, world.kubelet.known = False, {"a": POD}
    world.run(61)
    assert world.naming.name("a") == POD


def test_what_nobody_knows_is_not_asked_for_again() -> None:
    world = World()
    world.naming.want("a")
    world.run(60)
    world.naming.want("a")
    world.run(60)
    assert (world.kubelet.requests, world.cri.requests) == (PATIENCE, PATIENCE)
    assert world.naming.step() is None
    world.now += UNKNOWN_SECONDS
    world.kubelet.known["a"] = POD
    world.naming.want("a")
    world.run(1)
    assert world.naming.name("a") == POD, "but some time later it is"


def test_nothing_is_remembered_of_those_that_are_gone() -> None:
    world = World()
    for number in range(1000):
        world.naming.want(str(number))
    world.run(60)
    for number in range(1000):
        world.naming.forget(str(number))
        world.naming.want(str(number))
    assert world.naming.pending("0"), "as if it had never been asked for"


def test_a_providers_own_bug_costs_its_names_only() -> None:
    world = World()
    world.kubelet.failing, world.kubelet.error = True, KeyError("bug")
    world.cri.known["a"] = POD
    world.naming.want("a")
    world.run(2)
    assert world.naming.name("a") == POD
    assert world.naming.faults == {("kubelet", "KeyError"): 1}


def test_each_new_reason_of_a_run_of_failures_is_said_once_with_its_remedy(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.kubelet.failing = world.cri.failing = True
    world.naming.want("a")
    for reason in ("refused", "certificate", "certificate", "403", "refused"):
        world.kubelet.error = world.cri.error = ProviderError(reason)
        world.run(65)
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("kubelet")]
    assert [line.partition("(")[2].partition(")")[0] for line in said] == ["refused", "certificate", "403"]
    for line, word in zip(said, ("KEPLER_KUBELET_URL", "KEPLER_KUBELET_CA", "nodes-proxy")):
        assert word in line
        assert "docs/deployment.md" in line
        assert "\n" not in line
    world.kubelet.failing = world.cri.failing = False
    world.run(65)
    caplog.clear()
    world.kubelet.failing = True
    world.naming.want("b")
    world.run(10)
    assert [record.levelname for record in caplog.records] == ["WARNING"], "a new run is said again"


@pytest.mark.parametrize("provider", ["kubelet", "cri", "docker", "podman"])
def test_where_remedies_point_to_is_there(provider: str) -> None:
    page = (Path(__file__).parents[3] / "docs/deployment.md").read_text()
    for reason in ("401", "403", "permission", "network", "anything"):
        said = remedy(provider, reason)
        assert f"### {said.rpartition('docs/deployment.md, ')[2]}\n" in page
        for variable in re.findall(r"KEPLER_\w+", said):
            assert variable in {option.variable for option in OPTIONS}
