"""The facade: from a hinted path to a workload with its names, and back to nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.hierarchy import Hierarchy
from kepler_ebpf.workloads.names.provider import ContainerName
from kepler_ebpf.workloads.resolver import WorkloadResolver
from kepler_ebpf.workloads.workload import SYSTEM, Workload

ID = "0f7e1c2d" * 8
POD = "0a1b2c3d-9999-2222-3333-444455556666"


class Known:
    name = "known"
    lists_sandboxes = True

    pod_uid = "api-uid"

    def fetch(self) -> Mapping[str, ContainerName]:
        return {ID: ContainerName("app", "web-1", "shop", self.pod_uid)}


def wait_for_name(workloads: WorkloadResolver, workload: Workload | None) -> Workload:
    assert workload is not None
    until = time.monotonic() + 20
    while (current := workloads.current(workload)) is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    return current


def test_a_hinted_container_gets_its_names_and_is_forgotten(tmp_path: Path) -> None:
    workloads = WorkloadResolver(HostFS(cgroup=tmp_path), Hierarchy(tmp_path), [Known()])
    assert workloads.identify(7) is None
    workloads.learn_path(7, f"/kubepods/burstable/pod{POD}/{ID}/inner")
    workload = workloads.identify(7)
    assert workload is not None
    assert (workload.kind, workload.container_id, workload.pod_uid) == ("container", ID, POD)
    current = wait_for_name(workloads, workload)
    assert (current.container, current.pod, current.namespace, current.pod_uid) == ("app", "web-1", "shop", POD)
    assert current.key == workload.key
    workloads.forget_cgroup(7)
    assert workloads.identify(7) is None
    workloads.close()


def test_a_container_that_nobody_lists_any_more_is_its_pods_all_the_same(tmp_path: Path) -> None:
    workloads = WorkloadResolver(HostFS(cgroup=tmp_path), Hierarchy(tmp_path), [Known()])
    uid = "0a1b2c3d-1111-2222-3333-444455556666"
    Known.pod_uid = uid
    for number, container_id in ((1, ID), (2, "d" * 64)):
        workloads.learn_path(number, f"/kubepods/burstable/pod{uid}/{container_id}")
    assert wait_for_name(workloads, workloads.identify(1)).container == "app"
    lost = wait_for_name(workloads, workloads.identify(2))
    assert (lost.container, lost.pod, lost.namespace, lost.pod_uid) == ("", "web-1", "shop", uid)
    workloads.close()


def test_labels_of_a_plain_container_make_it_no_pod(tmp_path: Path) -> None:
    """Whoever may use docker's socket may give a container the kubelet's labels."""
    workloads = WorkloadResolver(HostFS(cgroup=tmp_path), Hierarchy(tmp_path), [Known()])
    workloads.learn_path(1, f"/docker/{ID}")
    workload = wait_for_name(workloads, workloads.identify(1))
    assert (workload.container, workload.pod, workload.namespace, workload.pod_uid) == ("app", "", "", "")
    workloads.close()


def test_a_path_too_long_for_the_event_is_nobodys(tmp_path: Path) -> None:
    workloads = WorkloadResolver(HostFS(cgroup=tmp_path), Hierarchy(tmp_path))
    workloads.learn_path(3, "")
    assert workloads.identify(3) is None
    assert workloads.identify(0) is SYSTEM
    workloads.close()


def test_host_processes_by_unit_where_asked(tmp_path: Path) -> None:
    for slices, name in ((False, "system"), (True, "nginx.service")):
        workloads = WorkloadResolver(HostFS(cgroup=tmp_path), Hierarchy(tmp_path), system_slices=slices)
        workloads.learn_path(9, "/system.slice/nginx.service")
        found = workloads.identify(9)
        assert found is not None
        assert found.container == name
        workloads.close()


class Kubelet(Known):
    """Knows two containers: one in a pod of a kind node, and one of a pod of the host."""

    def fetch(self) -> Mapping[str, ContainerName]:
        return {id_: ContainerName("app", "web-1", "shop", POD) for id_ in (ID, "d" * 64)}


def test_a_users_cgroup_called_like_a_pods_container_is_the_users(tmp_path: Path) -> None:
    """A session has a delegated cgroup, and may make any path below it; the id is a real one, seen before or after."""
    user = "/user.slice/user-1000.slice/user@1000.service/app.slice"
    real = f"/kubepods/burstable/pod{POD}/{ID}"
    for first, second in ((real, user + real), (user + real, real)):
        workloads = WorkloadResolver(HostFS(cgroup=tmp_path), Hierarchy(tmp_path))
        workloads.learn_path(1, first)
        workloads.learn_path(2, second)
        found = [workloads.identify(1), workloads.identify(2)]
        keys = {workload.key for workload in found if workload is not None}
        assert len(keys) == 2
        assert found[0 if first is real else 1] == Workload("container", ID, pod_uid=POD)
        workloads.close()


def test_a_second_home_with_the_same_id_is_another_series(tmp_path: Path) -> None:
    workloads = WorkloadResolver(HostFS(cgroup=tmp_path), Hierarchy(tmp_path))
    workloads.learn_path(1, f"/docker/{ID}")
    workloads.learn_path(2, f"/elsewhere/docker/{ID}")
    one, other = workloads.identify(1), workloads.identify(2)
    assert one is not None
    assert other is not None
    assert one.key != other.key
    workloads.close()


def test_a_pod_inside_a_container_counts_if_somebody_vouches_for_it(tmp_path: Path) -> None:
    """kind: the node is a container, and the kubelet knows what runs in its pods. Others could make such paths too."""
    nested = f"/docker/{'a' * 64}/kubepods/besteffort/pod{POD}"
    workloads = WorkloadResolver(HostFS(cgroup=tmp_path), Hierarchy(tmp_path), [Kubelet()])
    workloads.learn_path(1, f"{nested}/{ID}")
    deadline = time.monotonic() + 20
    while (found := workloads.identify(1)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert found == Workload("container", ID, pod_uid=POD)
    workloads.close()
    alone = WorkloadResolver(HostFS(cgroup=tmp_path), Hierarchy(tmp_path))
    alone.learn_path(1, f"{nested}/{ID}")
    found = alone.identify(1)
    assert found is not None
    assert found.container_id == "a" * 64
    alone.close()
