"""The DaemonSet's pod beside other pods: their names, their CPU time, and a kubelet that goes away and comes back."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cgroups import cgroup_root
from tests.cluster.conftest import NAMESPACE, clear
from tests.cluster.node import CGROUP, Node, until
from tests.cluster.test_lines import ready
from tests.deploy.overlays import DEPLOY
from tests.e2e.conftest import samples_of
from tests.e2e.test_kubelet import OFTEN
from tests.kernel.workloads import in_cgroup, usage_seconds
from tests.runtimes import BUSY, busy

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("image")]

JOBS = 20
BUSY_SECONDS = 20
Page = dict[str, list[tuple[dict[str, str], float]]]


def container(script: str) -> dict[str, Any]:
    """What a pod runs."""
    one = {"name": "app", "image": "localhost/busybox:1", "imagePullPolicy": "Never", "command": ["sh", "-c", script]}
    return {"containers": [one], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0}


class Collector:
    """The DaemonSet's pod, as it is installed: with its own account, arguments, limits and interval of 30 s."""

    def __init__(self, node: Node, pod: str) -> None:
        self.node, self.pod = node, pod

    def page(self) -> Page:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{self.pod}:9102/proxy/metrics"
        return samples_of(self.node.kubectl(f"get --raw {path}"))

    def log(self) -> str:
        return self.node.kubectl(f"logs -n {NAMESPACE} {self.pod}")

    def restarts(self) -> int:
        (status,) = self.node.get(f"pod -n {NAMESPACE} {self.pod}")["status"]["containerStatuses"]
        return int(status["restartCount"])


@pytest.fixture(scope="module")
def collector(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Collector:
    """Installed by a kustomization of one's own, which joins two overlays as docs/deployment.md says."""
    node.sign_kubelet()
    clear(node)
    node.kubectl(f"create namespace {NAMESPACE}")
    place = tmp_path_factory.mktemp("own")
    (place / "kepler-ebpf").symlink_to(DEPLOY.parent)
    components = [f"kepler-ebpf/deploy/kustomize/components/{name}" for name in ("nodes-proxy", "without-operator")]
    own = {"resources": ["kepler-ebpf/deploy/k8s"], "components": components}
    (place / "kustomization.yaml").write_text(yaml.safe_dump(own))
    node.kubectl(f"apply -k {place}")
    return Collector(node, ready(node))


@pytest.fixture
def namespace(node: Node) -> Iterator[str]:
    """One for the pods of a test."""
    name = f"shop-{secrets.token_hex(3)}"
    node.kubectl(f"create namespace {name}")
    account = f"kubectl get serviceaccount default -n {name}"
    until(lambda: node.shell(account, node.folder).returncode == 0, 60, "its account")
    yield name
    node.kubectl(f"delete namespace {name} --timeout=180s")


def run(node: Node, namespace: str, name: str, script: str) -> str:
    """Start a pod; its container's id."""
    metadata = {"name": name, "namespace": namespace}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": container(script)}
    node.kubectl("create -f -", yaml.safe_dump(pod))
    node.kubectl(f"wait --for=condition=Ready pod/{name} -n {namespace} --timeout=120s")
    (status,) = node.get(f"pod {name} -n {namespace}")["status"]["containerStatuses"]
    return str(status["containerID"].partition("://")[2])


def of(page: Page, family: str, container_id: str) -> tuple[dict[str, str], float] | None:
    """A container's series."""
    return next((one for one in page.get(family, ()) if one[0]["container_id"] == container_id), None)


def place_of(container_id: str) -> Path:
    """A container's cgroup in the hierarchy of v2, whose cpu.stat is the kernel's own account."""
    (place,) = (cgroup_root() / CGROUP).glob(f"**/{container_id}")
    return place


def test_short_jobs_are_all_named(collector: Collector, namespace: str) -> None:
    node = collector.node
    template = {"spec": container(f"timeout 1 sh -c '{BUSY}'; true")}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "short", "namespace": namespace},
        "spec": {"completions": JOBS, "parallelism": 4, "template": template},
    }
    node.kubectl("create -f -", yaml.safe_dump(job))
    seen: dict[str, dict[str, str]] = {}

    def look() -> bool:
        """Take in what the page shows; whether the last publication was after the last pod's end."""
        for labels, _ in collector.page().get("kepler_container_joules_total", ()):
            if labels["container_id"]:
                seen[labels["container_id"]] = labels
        return all(container_id in seen for container_id in ids())

    def ids() -> dict[str, str]:
        """The pods' containers so far, with the pods' names."""
        pods = node.get(f"pods -n {namespace} -l job-name=short")["items"]
        statuses = [(pod, pod["status"].get("containerStatuses", [])) for pod in pods]
        return {
            one["containerID"].partition("://")[2]: pod["metadata"]["name"]
            for pod, found in statuses
            for one in found
            if one.get("containerID")
        }

    def over() -> bool:
        look()
        return bool(node.get(f"job short -n {namespace}")["status"].get("succeeded") == JOBS)

    until(over, 300, "all jobs done")
    until(look, 120, "a series for each of their containers")
    names = {container_id: (namespace, pod, "app") for container_id, pod in ids().items()}
    assert len(names) == JOBS
    found = {one: (seen[one]["namespace"], seen[one]["pod"], seen[one]["container"]) for one in names}
    print(f"\n{sum(found[one] == names[one] for one in names)} of {JOBS} short pods named")
    assert found == names


def test_a_busy_pod_has_the_cpu_time_that_the_kernel_counts(collector: Collector, namespace: str) -> None:
    one = run(collector.node, namespace, "busy", busy(BUSY_SECONDS))
    place = place_of(one)

    def at_rest() -> bool:
        before = usage_seconds(str(place))
        time.sleep(5)
        return usage_seconds(str(place)) == before > 1

    until(at_rest, 180, "its work is over")
    taken = samples_taken(collector.page())
    # Published every 300 samples.
    until(lambda: samples_taken(collector.page()) > taken + 400, 180, "a publication of all of it")
    page = collector.page()
    found, truth = of(page, "kepler_container_cpu_time_seconds_total", one), usage_seconds(str(place))
    assert found is not None
    labels, seconds = found
    gaps = [gap for _, gap in page["kepler_ebpf_books_gap_ratio"]]
    print(
        f"\n{seconds:.3f} s of CPU time, cpu.stat has {truth:.3f} s: {seconds / truth - 1:+.2%}; books {max(gaps):.1e}"
    )
    assert (labels["namespace"], labels["pod"], labels["container"]) == (namespace, "busy", "app")
    assert seconds == pytest.approx(truth, rel=0.02)
    assert max(gaps) < 1e-9


def samples_taken(page: Page) -> float:
    ((_, count),) = page["kepler_ebpf_samples_total"]
    return count


def test_a_kubelet_that_is_away_for_a_while(collector: Collector, namespace: str) -> None:
    """Faults are counted, nothing is restarted, those with names keep them, and the next pod has one again."""
    node = collector.node
    known = run(node, namespace, "known", OFTEN)
    until(lambda: of(collector.page(), "kepler_container_joules_total", known), 90, "its series")
    before = faults(collector.page())
    node.stop("kubelet")
    # What nobody can name meanwhile; a kubelet ends it once it is back, as it knows no such pod.
    stranger = place_of(known).parents[1] / f"pod{secrets.token_hex(16)}" / secrets.token_hex(32)
    stranger.mkdir(parents=True)
    with in_cgroup(str(stranger), ["/bin/sh", "-c", OFTEN]) as work:
        try:
            until(lambda: faults(collector.page()) > before, 120, "the fault is counted")
            assert of(collector.page(), "kepler_container_joules_total", known) is not None
        finally:
            node.start_kubelet(signed=True)
            work.kill()
    node.wait_ready()
    late = run(node, namespace, "late", OFTEN)
    until(lambda: of(collector.page(), "kepler_container_joules_total", late), 180, "a series of the new pod")
    found = of(collector.page(), "kepler_container_joules_total", late)
    assert found is not None
    assert (found[0]["namespace"], found[0]["pod"]) == (namespace, "late")
    said = collector.log()  # which itself takes a kubelet
    assert "no names of containers (refused): nothing listens there" in said
    assert "kubelet answers again after" in said
    page = collector.page()
    assert all(gap < 1e-9 for _, gap in page["kepler_ebpf_books_gap_ratio"])
    assert collector.restarts() == 0
    print(f"\n{faults(page) - before:.0f} faults counted, none restarted")


def faults(page: Page) -> float:
    """Requests to the kubelet that found nobody."""
    return sum(
        count
        for labels, count in page.get("kepler_ebpf_name_errors_total", ())
        if (labels["provider"], labels["reason"]) == ("kubelet", "refused")
    )
