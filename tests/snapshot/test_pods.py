"""Pods: what their containers used, and never less than before."""

from __future__ import annotations

import numpy as np

from kepler_ebpf.snapshot.pods import REMEMBERED_SECONDS, Pods
from kepler_ebpf.workloads.workload import Workload


def container(name: str, pod: str) -> Workload:
    return Workload("container", name, name, pod, "shop", f"uid-{pod}")


def test_a_restart_is_no_reset_of_the_pods_counters() -> None:
    pods = Pods()
    first, other, second = container("a1", "web"), container("b", "web"), container("a2", "web")
    (pod,) = pods.publish([first, other], np.array([30.0, 5.0]), np.array([3.0, 1.0]), np.array([7.0, 2.0]), 0.0)
    assert (pod.pod, pod.joules, pod.watts, pod.seconds) == ("web", 35.0, 4.0, 9.0)
    pods.settle(first, 30.0, 7.0)
    (pod,) = pods.publish([other, second], np.array([5.0, 1.0]), np.array([1.0, 1.0]), np.array([2.0, 0.5]), 5.0)
    assert (pod.joules, pod.watts, pod.seconds) == (36.0, 2.0, 9.5)


def test_nor_is_one_that_takes_long() -> None:
    """The kubelet waits for five minutes before it starts a crashed container again."""
    pods, one, none = Pods(), np.ones(1), np.empty(0)
    first = container("a", "web")
    pods.publish([first], 30 * one, one, one, 0.0)
    pods.settle(first, 30.0, 1.0)
    assert pods.publish([], none, none, none, 5.0) == ()
    (pod,) = pods.publish([container("a2", "web")], one, one, one, 310.0)
    assert (pod.joules, pod.seconds) == (31.0, 2.0)


def test_a_pod_is_forgotten_in_the_end_and_the_host_is_no_pod() -> None:
    pods, one = Pods(), np.ones(1)
    host = Workload("system", container="system")
    first = container("a", "web")
    pods.publish([first], one, one, one, 0.0)
    pods.settle(first, 30.0, 7.0)
    pods.settle(host, 30.0, 7.0)
    assert pods.publish([host], one, one, one, REMEMBERED_SECONDS + 1) == ()
    (pod,) = pods.publish([container("a2", "web")], one, one, one, REMEMBERED_SECONDS + 2)
    assert pod.joules == 1.0
