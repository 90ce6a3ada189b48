"""Pods: what their containers used, and never less than before."""

from __future__ import annotations

import numpy as np

from kepler_ebpf.pods import Pods
from kepler_ebpf.workloads.identity import Workload


def container(name: str, pod: str) -> Workload:
    return Workload("container", name, name, pod, "shop", f"uid-{pod}")


def test_a_restart_is_no_reset_of_the_pods_counters() -> None:
    pods = Pods()
    first, other, second = container("a1", "web"), container("b", "web"), container("a2", "web")
    values = [np.array([30.0, 5.0]), np.array([3.0, 1.0]), np.array([7.0, 2.0])]
    (pod,) = pods.publish([first, other], *values)
    assert (pod.pod, pod.joules, pod.watts, pod.seconds) == ("web", 35.0, 4.0, 9.0)
    pods.expire(first, 30.0, 7.0)
    (pod,) = pods.publish([other, second], np.array([5.0, 1.0]), np.array([1.0, 1.0]), np.array([2.0, 0.5]))
    assert (pod.joules, pod.watts, pod.seconds) == (36.0, 2.0, 9.5)


def test_a_pod_without_containers_is_forgotten_and_the_host_is_no_pod() -> None:
    pods = Pods()
    pods.expire(container("a", "web"), 30.0, 7.0)
    one = np.ones(1)
    assert pods.publish([Workload("system", container="system")], one, one, one) == ()
    (pod,) = pods.publish([container("a2", "web")], one, one, one)
    assert pod.joules == 1.0
