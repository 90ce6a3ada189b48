"""Containers of real runtimes: whose they are, what they used, and that they come and go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cgroups import cgroup_root
from tests.e2e.conftest import Running
from tests.kernel.workloads import usage_seconds
from tests.runtimes import Containerd, Podman, busy, containerd, runc

pytestmark = pytest.mark.kernel

Labels = dict[str, str]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    with containerd(tmp_path_factory.mktemp("containerd")) as runtime:
        yield runtime


@pytest.fixture
def watched(serve: Callable[..., Running], runtime: Containerd) -> Callable[..., Running]:
    """A collector that asks this containerd for names."""
    return lambda *flags: serve("--cri-socket", str(runtime.socket), *flags)


def labels_by_id(collector: Running) -> dict[str, Labels]:
    return {
        labels["container_id"]: labels for labels, _ in collector.samples().get("kepler_container_joules_total", ())
    }


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def used_seconds(cgroup: str) -> float:
    return usage_seconds(f"{cgroup_root()}{cgroup}")


def books(collector: Running) -> tuple[float, float]:
    """What containers, idle and unattributed energy add up to, and what the node used."""
    samples = collector.samples()
    parts = (
        "kepler_container_joules_total",
        "kepler_containers_exited_joules_total",
        "kepler_containers_pending_joules",
        "kepler_node_idle_joules_total",
        "kepler_node_unattributed_joules_total",
    )
    whole = sum(value for name in parts for _, value in samples[name])
    return whole, samples["kepler_node_energy_joules_total"][0][1]


def test_pods_of_containerd_from_birth_to_death(watched: Callable[..., Running], runtime: Containerd) -> None:
    collector = watched("--exit-hold", "4s")
    pods = [runtime.run_pod(f"web-{number}") for number in range(3)]
    for number, pod in enumerate(pods):
        runtime.run(pod, "app", busy(4 + number))
        runtime.run(pod, "sidecar", busy(3 + number))
    ids = {pod.containers[name]: (name, pod) for pod in pods for name in ("app", "sidecar")}
    wait_until(lambda: ids.keys() <= labels_by_id(collector).keys())
    time.sleep(6.5)  # all of them sleep by now

    seconds = collector.by_id("kepler_container_cpu_time_seconds_total")
    joules = collector.by_id("kepler_container_joules_total")
    memory = collector.by_id("kepler_container_memory_working_set_bytes")
    labels = labels_by_id(collector)
    for container_id, (name, pod) in ids.items():
        assert seconds[container_id] == pytest.approx(
            used_seconds(f"{pod.cgroup}/{container_id}"), rel=0.001, abs=0.001
        )
        assert labels[container_id].items() >= {"container": name, "pod": pod.name, "namespace": "shop"}.items()
        assert joules[container_id] > 0
        assert memory[container_id] > 0
    for pod in pods:
        assert labels[pod.sandbox].items() >= {"container": "POD", "pod": pod.name, "namespace": "shop"}.items()
        members = [pod.sandbox, *pod.containers.values()]
        assert pod_joules(collector, pod.uid) == pytest.approx(sum(joules[member] for member in members), rel=1e-9)
    assert books(collector)[0] == pytest.approx(books(collector)[1], rel=1e-2)  # two scrapes

    first, before = pods[0].containers["app"], pod_joules(collector, pods[0].uid)
    runtime.remove(first)
    second = runtime.run(pods[0], "app", busy(0.5))
    runtime.remove_pod(pods[2])
    wait_until(lambda: second in labels_by_id(collector))
    assert labels_by_id(collector)[second].items() >= {"container": "app", "pod": "web-0"}.items()
    wait_until(lambda: not {first, pods[2].sandbox} & labels_by_id(collector).keys())
    assert pod_joules(collector, pods[0].uid) >= before, "a restart is no reset of the pod's counter"
    assert all(labels["pod_uid"] != pods[2].uid for labels, _ in collector.samples()["kepler_pod_joules_total"])
    assert collector.value("kepler_containers_exited_joules_total") > 0
    whole, node = books(collector)
    assert whole == pytest.approx(node, rel=1e-2)


def pod_joules(collector: Running, uid: str) -> float:
    return next(value for labels, value in collector.samples()["kepler_pod_joules_total"] if labels["pod_uid"] == uid)


def test_two_hundred_short_containers_each_under_its_own_id(
    watched: Callable[..., Running], runtime: Containerd
) -> None:
    collector = watched("--metrics-interval", "5s")
    pod = runtime.run_pod("batch")

    def live(number: int) -> tuple[str, float]:
        seconds = 0.1 + 0.4 * (number % 20) / 19
        container_id = runtime.run(pod, f"job-{number}", f"timeout {seconds} sh -c 'while :; do :; done'")
        time.sleep(seconds)
        runtime.remove(container_id)
        return container_id, seconds

    with ThreadPoolExecutor(2) as workers:
        lives = dict(workers.map(live, range(200)))
    # Until it is clear that nobody knows the last of them by name.
    wait_until(lambda: lives.keys() <= collector.by_id("kepler_container_joules_total").keys(), 30)
    joules = collector.by_id("kepler_container_joules_total")
    seconds = collector.by_id("kepler_container_cpu_time_seconds_total")
    assert len(lives) == 200
    assert lives.keys() <= joules.keys()
    for container_id in lives:
        assert joules[container_id] > 0
        assert seconds[container_id] > 0
    # Two at a time on two CPUs; what others use meanwhile may leave little to one of them, not to all.
    assert sum(seconds[container_id] for container_id in lives) > 200 * 0.03
    page = collector.samples()
    members = [(labels, value) for labels, value in page["kepler_container_joules_total"] if labels["pod"] == "batch"]
    assert lives.keys() <= {labels["container_id"] for labels, _ in members}, "gone before they were asked about"
    (of_pod,) = [value for labels, value in page["kepler_pod_joules_total"] if labels["pod_uid"] == pod.uid]
    assert of_pod == pytest.approx(sum(value for _, value in members), rel=1e-9)
    whole = sum(value for _, value in page["kepler_container_joules_total"])
    for name in ("containers_exited_joules_total", "containers_pending_joules"):
        whole += page[f"kepler_{name}"][0][1]
    for name in ("idle", "unattributed"):
        whole += sum(value for _, value in page[f"kepler_node_{name}_joules_total"])
    assert whole == pytest.approx(page["kepler_node_energy_joules_total"][0][1], rel=1e-9)


def test_podman_and_plain_runc_beside_each_other(serve: Callable[..., Running], tmp_path: Path) -> None:
    podman = Podman(tmp_path / "podman")
    try:
        with podman.service():
            collector = serve("--podman-socket", str(podman.socket), "--cri-socket", "off")
            web = podman.run("web", busy(2.5))
            with runc(tmp_path / "runc", "plain", f"/docker/{'d' * 64}", busy(2)):
                wait_until(lambda: {web, "d" * 64} <= labels_by_id(collector).keys())
                time.sleep(3)
                seconds = collector.by_id("kepler_container_cpu_time_seconds_total")
                labels = labels_by_id(collector)
                assert labels[web]["container"] == "web"
                assert seconds[web] == pytest.approx(used_seconds(f"/libpod_parent/libpod-{web}"), rel=0.001, abs=0.001)
                assert labels["d" * 64]["container"] == ""
                assert seconds["d" * 64] == pytest.approx(used_seconds(f"/docker/{'d' * 64}"), rel=0.001, abs=0.001)
    finally:
        podman.close()


def test_hostile_names_come_out_escaped_and_bounded(watched: Callable[..., Running], runtime: Containerd) -> None:
    collector = watched()
    name = 'we"b\\\n{x="1"} 9\n# EOF'
    pod = runtime.run_pod(name, "sh\top", annotations={"note": "x" * 4096})
    container_id = runtime.run(pod, 'a"\n' + "y" * 500, busy(0.3))
    wait_until(lambda: container_id in labels_by_id(collector))
    labels = labels_by_id(collector)[container_id]
    assert (labels["pod"], labels["namespace"]) == (name, "sh\top")
    assert labels["container"] == 'a"\n' + "y" * 250
    runtime.remove_pod(pod)
