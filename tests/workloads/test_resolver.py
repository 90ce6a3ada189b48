"""The facade: from a hinted path to a workload with its names, and back to nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from kepler_ebpf.host.hierarchy import Hierarchy
from kepler_ebpf.workloads.names.provider import ContainerName
from kepler_ebpf.workloads.resolver import WorkloadResolver
from kepler_ebpf.workloads.workload import SYSTEM, Workload
from tests.needs import require

pytestmark = pytest.mark.usefixtures("names_without_pauses")

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
    workloads = WorkloadResolver(Hierarchy(tmp_path), [Known()])
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
    known = Known()
    workloads = WorkloadResolver(Hierarchy(tmp_path), [known])
    uid = known.pod_uid = "0a1b2c3d-1111-2222-3333-444455556666"
    for number, container_id in ((1, ID), (2, "d" * 64)):
        workloads.learn_path(number, f"/kubepods/burstable/pod{uid}/{container_id}")
    assert wait_for_name(workloads, workloads.identify(1)).container == "app"
    lost = wait_for_name(workloads, workloads.identify(2))
    assert (lost.container, lost.pod, lost.namespace, lost.pod_uid) == ("", "web-1", "shop", uid)
    workloads.close()


def test_labels_of_a_plain_container_make_it_no_pod(tmp_path: Path) -> None:
    """Whoever may use docker's socket may give a container the kubelet's labels."""
    workloads = WorkloadResolver(Hierarchy(tmp_path), [Known()])
    workloads.learn_path(1, f"/docker/{ID}")
    workload = wait_for_name(workloads, workloads.identify(1))
    assert (workload.container, workload.pod, workload.namespace, workload.pod_uid) == ("app", "", "", "")
    workloads.close()


def test_a_path_too_long_for_the_event_is_nobodys(tmp_path: Path) -> None:
    workloads = WorkloadResolver(Hierarchy(tmp_path))
    workloads.learn_path(3, "")
    assert workloads.identify(3) is None
    assert workloads.identify(0) is SYSTEM
    workloads.close()


def test_host_processes_by_unit_where_asked(tmp_path: Path) -> None:
    for slices, name in ((False, "system"), (True, "nginx.service")):
        workloads = WorkloadResolver(Hierarchy(tmp_path), system_slices=slices)
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
        workloads = WorkloadResolver(Hierarchy(tmp_path))
        workloads.learn_path(1, first)
        workloads.learn_path(2, second)
        found = [workloads.identify(1), workloads.identify(2)]
        keys = {workload.key for workload in found if workload is not None}
        assert len(keys) == 2
        assert found[0 if first is real else 1] == Workload("container", ID, pod_uid=POD)
        workloads.close()


def resolver(tmp_path: Path, *providers: Known) -> WorkloadResolver:
    return WorkloadResolver(Hierarchy(tmp_path), providers)


def settled(workloads: WorkloadResolver, cgroup_id: int) -> Workload:
    deadline = time.monotonic() + 25
    while (found := workloads.identify(cgroup_id)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


USER = "/user.slice/user-1000.slice/user@1000.service/app.slice"


@pytest.mark.parametrize(
    "fake",
    [
        f"{USER}/kubepods/burstable/pod{POD}/{ID}",
        f"{USER}/kubepods.slice/kubepods-pod{POD.replace('-', '_')}.slice/crio-{ID}.scope",
        f"{USER}/crio-conmon-{ID}.scope",
        f"{USER}/kata_overhead/{ID}",
        f"{USER}/docker/{ID}",
        f"/docker/{'a' * 64}/kubepods/burstable/pod{POD}/{ID}",
        f"/docker/{'a' * 64}/kubepods/burstable/pod{POD}",
        f"/docker/{'a' * 64}/docker/{ID}",
        f"/docker/{'a' * 64}/crio-conmon-{ID}.scope",
        f"/lxc/101/ns/kubepods/pod{POD}/{ID}",
    ],
)
@pytest.mark.parametrize("order", ["first", "last", "after"])
def test_nobody_comes_into_a_pods_series_by_a_name(tmp_path: Path, fake: str, order: str) -> None:
    """The kubelet knows the real one, which may have come before, come after, or have gone."""
    workloads = resolver(tmp_path, Kubelet())
    real = f"/kubepods/burstable/pod{POD}/{ID}"
    if order == "first":
        workloads.learn_path(2, fake)
        workloads.identify(2)
    workloads.learn_path(1, real)
    own = wait_for_name(workloads, workloads.identify(1))
    assert (own.pod, own.namespace) == ("web-1", "shop")
    if order == "after":
        workloads.forget_cgroup(1)
        workloads.forget(own)
    workloads.learn_path(2, fake)
    impostor = settled(workloads, 2)
    assert impostor.key != own.key or order == "after", "a series that has ended may be followed by another"
    named = workloads.named(impostor)
    assert "shop" not in (named.pod, named.namespace)
    workloads.close()


def test_what_a_container_makes_inside_itself_is_its_own(tmp_path: Path) -> None:
    outer = "a" * 64
    workloads = resolver(tmp_path)
    inside = [
        "kubepods/x",
        "lxc/web",
        f"docker/{ID}",
        "machine.slice/machine-web.scope",
        "/".join("x" * 2000),
        "buildkit/y",
    ]
    for number, name in enumerate(inside, 1):
        workloads.learn_path(number, f"/docker/{outer}/{name}")
        found = workloads.identify(number)
        assert found is not None
        assert found.container_id == outer, name
    workloads.close()


def test_a_users_container_of_lxc_is_not_roots(tmp_path: Path) -> None:
    workloads = resolver(tmp_path)
    workloads.learn_path(1, f"{USER}/lxc.payload.web")
    workloads.learn_path(2, "/lxc.payload.web")
    users, roots = workloads.identify(1), workloads.identify(2)
    assert users is not None
    assert roots is not None
    assert (users.container_id, roots.container_id) == ("1000/lxc/web", "lxc/web")
    workloads.close()


def test_a_folder_that_a_user_owns_is_like_his_slice(tmp_path: Path) -> None:
    """A service with User= and Delegate= may make cgroups as well."""
    require(os.geteuid() == 0, "giving a folder away needs root")
    service = tmp_path / "system.slice/batch.service"
    home = service / f"kubepods/pod{POD}/{ID}"
    home.mkdir(parents=True)
    for place in (service, *service.rglob("*")):
        os.chown(place, 1000, 1000)
    workloads = resolver(tmp_path, Kubelet())
    workloads.learn_path(1, f"/kubepods/pod{POD}/{ID}")
    real = workloads.identify(1)
    workloads.learn_path(2, f"/{home.relative_to(tmp_path)}")
    assert settled(workloads, 2) == SYSTEM
    assert real is not None
    assert real.container_id == ID
    workloads.close()


def test_a_user_cannot_make_more_than_so_many_series(tmp_path: Path) -> None:
    workloads = resolver(tmp_path)
    for number in range(1, 1000):
        workloads.learn_path(number, f"{USER}/docker/{number:064x}")
    found = [workloads.identify(number) for number in range(1, 1000)]
    assert len({workload.key for workload in found if workload}) == 257, "256, and the host's"
    workloads.learn_path(1, f"/docker/{ID}")
    own = workloads.identify(1)
    assert own is not None
    assert own.container_id == ID
    workloads.close()


def test_hints_of_others_survive_a_flood(tmp_path: Path) -> None:
    workloads = resolver(tmp_path)
    workloads.learn_path(1, f"/docker/{ID}")
    for number in range(2, 40_000):
        workloads.learn_path(number, f"{USER}/x{number}")
    own = workloads.identify(1)
    assert own is not None
    assert own.container_id == ID
    workloads.close()


def test_what_is_not_known_is_asked_for_again_but_not_each_time(tmp_path: Path) -> None:
    now = [0.0]
    workloads = WorkloadResolver(Hierarchy(tmp_path), clock=lambda: now[0])
    asked: list[int] = []
    paths: dict[int, str] = {}

    def path(cgroup_id: int) -> str | None:
        asked.append(cgroup_id)
        return paths.get(cgroup_id)

    workloads._tree.path = path  # type: ignore[method-assign]
    for _ in range(100):
        assert workloads.identify(5) is None
        now[0] += 0.1
    assert 5 <= len(asked) <= 25
    paths[5] = f"/docker/{ID}"
    now[0] += 1
    found = workloads.identify(5)
    assert found is not None
    assert found.container_id == ID
    workloads.close()


def test_until_it_is_known_what_is_inside_a_container_counts_for_that(tmp_path: Path) -> None:
    workloads = resolver(tmp_path, Kubelet())
    node = "a" * 64
    workloads.learn_path(1, f"/docker/{node}")
    around = workloads.identify(1)
    workloads.learn_path(2, f"/docker/{node}/kubepods/pod{POD}/{'e' * 64}")
    assert workloads.identify(2) is None
    assert around is not None
    assert workloads.meanwhile(2).key == around.key
    assert workloads.meanwhile(3) is SYSTEM
    workloads.close()


def test_a_second_home_with_the_same_id_is_another_series(tmp_path: Path) -> None:
    workloads = WorkloadResolver(Hierarchy(tmp_path))
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
    workloads = WorkloadResolver(Hierarchy(tmp_path), [Kubelet()])
    workloads.learn_path(1, f"{nested}/{ID}")
    deadline = time.monotonic() + 20
    while (found := workloads.identify(1)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert found == Workload("container", ID, pod_uid=POD)
    workloads.close()
    alone = WorkloadResolver(Hierarchy(tmp_path))
    alone.learn_path(1, f"{nested}/{ID}")
    found = alone.identify(1)
    assert found is not None
    assert found.container_id == "a" * 64
    alone.close()
