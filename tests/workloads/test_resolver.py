"""The facade: from a hinted path to a workload with its names, and back to nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from kepler_ebpf.hostfs import HostFS
from kepler_ebpf.workloads.names import ContainerName
from kepler_ebpf.workloads.resolver import SYSTEM, Workloads

ID = "0f7e1c2d" * 8


class Known:
    name = "known"
    lists_sandboxes = True

    def fetch(self) -> Mapping[str, ContainerName]:
        return {ID: ContainerName("app", "web-1", "shop", "api-uid")}


def test_a_hinted_container_gets_its_names_and_is_forgotten(tmp_path: Path) -> None:
    workloads = Workloads(HostFS(cgroup=tmp_path), [Known()])
    assert workloads.identify(7) is SYSTEM
    workloads.learn_path(7, f"/kubepods/burstable/podu1/{ID}/inner")
    workload = workloads.identify(7)
    assert (workload.kind, workload.container_id, workload.pod_uid) == ("container", ID, "u1")
    until = time.monotonic() + 20
    while (current := workloads.current(workload)) is None and time.monotonic() < until:
        time.sleep(0.01)
    assert current is not None
    assert (current.container, current.pod, current.namespace, current.pod_uid) == ("app", "web-1", "shop", "u1")
    assert current.key == workload.key
    workloads.forget_cgroup(7)
    assert workloads.identify(7) is SYSTEM
    workloads.close()


def test_host_processes_by_unit_where_asked(tmp_path: Path) -> None:
    for slices, name in ((False, "system"), (True, "nginx.service")):
        workloads = Workloads(HostFS(cgroup=tmp_path), system_slices=slices)
        workloads.learn_path(9, "/system.slice/nginx.service")
        assert workloads.identify(9).container == name
        workloads.close()
