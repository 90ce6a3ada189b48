"""Pods: what their containers used, and never less than before."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.snapshot.pods import REMEMBERED_SECONDS, Pods
from kepler_ebpf.workloads.workload import Workload
from tests.needs import examples


def container(name: str, pod: str) -> Workload:
    return Workload("container", name, name, pod, "shop", f"uid-{pod}")


def test_a_restart_is_no_reset_of_the_pods_counters() -> None:
    pods = Pods()
    first, other, second = container("a1", "web"), container("b", "web"), container("a2", "web")
    (pod,) = pods.publish(
        [first, other], np.array([30.0, 5.0]), np.array([3.0, 1.0]), np.array([7.0, 2.0]), [9.0, 8.0], 0.0
    )
    assert (pod.pod, pod.joules, pod.watts, pod.seconds, pod.began) == ("web", 35.0, 4.0, 9.0, 8.0)
    pods.settle(first, 30.0, 7.0)
    (pod,) = pods.publish(
        [other, second], np.array([5.0, 1.0]), np.array([1.0, 1.0]), np.array([2.0, 0.5]), [8.0, 12.0], 5.0
    )
    assert (pod.joules, pod.watts, pod.seconds, pod.began) == (36.0, 2.0, 9.5, 8.0)


def test_nor_is_one_that_takes_long() -> None:
    """The kubelet waits for five minutes before it starts a crashed container again."""
    pods, one, none = Pods(), np.ones(1), np.empty(0)
    first = container("a", "web")
    pods.publish([first], 30 * one, one, one, [1.0], 0.0)
    pods.settle(first, 30.0, 1.0)
    assert pods.publish([], none, none, none, [], 5.0) == ()
    (pod,) = pods.publish([container("a2", "web")], one, one, one, [1.0], 310.0)
    assert (pod.joules, pod.seconds) == (31.0, 2.0)


def test_a_pod_is_forgotten_in_the_end_and_the_host_is_no_pod() -> None:
    pods, one = Pods(), np.ones(1)
    host = Workload("system", container="system")
    first = container("a", "web")
    pods.publish([first], one, one, one, [1.0], 0.0)
    pods.settle(first, 30.0, 7.0)
    pods.settle(host, 30.0, 7.0)
    assert pods.publish([host], one, one, one, [1.0], REMEMBERED_SECONDS + 1) == ()
    (pod,) = pods.publish([container("a2", "web")], one, one, one, [1.0], REMEMBERED_SECONDS + 2)
    assert pod.joules == 1.0


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=20), st.randoms(use_true_random=False))
def test_sums_do_not_fall_by_a_rounding_either(used: list[float], chance: random.Random) -> None:
    """Containers that use nothing any more go one by one: the same sum in another order, which to Prometheus is a reset
    where it is less by a bit."""
    pods, before = Pods(), (0.0, 0.0)
    alive = dict(enumerate(used))
    while alive:
        figures = np.array(list(alive.values()))
        (pod,) = pods.publish(
            [container(str(n), "web") for n in alive], figures, figures, figures / 3, [1.0] * len(alive), 0.0
        )
        assert (pod.joules, pod.seconds) >= before
        assert pod.seconds >= before[1]
        before = pod.joules, pod.seconds
        gone = chance.choice(list(alive))
        pods.settle(container(str(gone), "web"), alive[gone], alive.pop(gone) / 3)
