"""Whose a container is: what root made has its id, whatever a user made before it, beside it or after it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kepler_ebpf.workloads.homes import MAX_PER_USER
from kepler_ebpf.workloads.owners import owner_above
from kepler_ebpf.workloads.workload import SYSTEM, Workload
from tests.needs import require
from tests.workloads.test_resolver import ID, POD, USER, Kubelet, resolver, settled, wait_for_name

pytestmark = pytest.mark.usefixtures("names_without_pauses")

SERVICE = "/system.slice/batch.service"
POSING = f"{SERVICE}/x/kubepods/burstable/pod{POD}/{ID}"


@pytest.mark.parametrize("known_at_start", [True, False])
@pytest.mark.parametrize("real", [f"/kubepods/burstable/pod{POD}/{ID}", f"/system.slice/docker-{ID}.scope"])
def test_the_id_is_roots_whoever_runs_first(tmp_path: Path, real: str, known_at_start: bool) -> None:
    """After a restart a user's cgroup may be busy while the container is idle, or not there yet."""
    if known_at_start:
        (tmp_path / real[1:]).mkdir(parents=True)
    workloads = resolver(tmp_path, Kubelet())
    workloads.learn_path(1, f"{USER}/docker-{ID}.scope")
    users = workloads.identify(1)
    workloads.learn_path(2, real)
    roots = wait_for_name(workloads, workloads.identify(2))
    assert users is not None
    assert (users.container_id, roots.container_id) == (f"1000/{ID}", ID)
    assert roots.container == "app", "it has its name as ever"
    assert workloads.named(users).container == ""
    workloads.close()


def test_what_is_in_roots_own_session_is_roots(tmp_path: Path) -> None:
    session = "user.slice/user-0.slice/session-3.scope"
    (tmp_path / session).mkdir(parents=True)
    workloads = resolver(tmp_path, Kubelet())
    workloads.learn_path(1, f"/{session}/libpod-payload-{ID}")
    found = wait_for_name(workloads, workloads.identify(1))
    assert (found.container_id, found.container) == (ID, "app")
    workloads.close()


@pytest.fixture
def service() -> Iterator[Path]:
    """A hierarchy with a service that has User= and Delegate=, whose user has made a folder like a pod's container."""
    require(os.geteuid() == 0, "giving a folder away needs root")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        for path in (POSING, f"{SERVICE}/x/docker/{ID}"):
            (root / path[1:]).mkdir(parents=True)
        for place in (root / SERVICE[1:], *(root / SERVICE[1:]).rglob("*")):
            os.chown(place, 1000, 1000)
        yield root


def test_a_name_in_a_folder_of_his_own_makes_nobody_another_user(service: Path) -> None:
    """Neither does he get places for series under each name, nor does he take those of the user of that name."""
    service_folder = service / SERVICE[1:]
    paths = [f"{SERVICE}/user-{2000 + number}.slice/docker-{number:064x}.scope" for number in range(300)]
    paths += [f"{SERVICE}/user.slice/user-1234.slice/user@1234.service/docker-{number:064x}.scope" for number in (1, 2)]
    for path in paths:
        (service / path[1:]).mkdir(parents=True)
    for place in service_folder.rglob("*"):
        os.chown(place, 1000, 1000)
    os.chown(service / paths[1][1:], 100001, 100001)  # a subordinate user of his, as unshare --map-users gives him
    os.chown((service / paths[1][1:]).parent, 100001, 100001)
    workloads = resolver(service, Kubelet())
    for number, path in enumerate(paths, 1):
        workloads.learn_path(number, path)
    found = [settled(workloads, number).container_id for number in range(1, len(paths) + 1)]
    assert {one.split("/")[0] for one in found if one} == {"1000"}
    assert len([one for one in found if one]) == MAX_PER_USER
    workloads.learn_path(9999, f"/user.slice/user-1234.slice/user@1234.service/docker-{'a' * 64}.scope")
    assert settled(workloads, 9999).container_id == f"1234/{'a' * 64}"
    workloads.close()


def test_a_users_folder_called_like_a_pod_makes_no_pods(service: Path) -> None:
    """Else the pods of a node that is a container would be nobody's: there would be some at the root already."""
    kind = f"/docker/{'b' * 64}/kubepods/burstable/pod{POD}/{ID}"
    workloads = resolver(service, Kubelet())
    workloads.learn_path(1, kind)
    assert settled(workloads, 1).pod_uid == POD
    workloads.close()


@contextlib.contextmanager
def without_capabilities() -> Iterator[None]:
    """As somebody who may not look where he is not let, like the collector under the unit that Debian's package has."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("how", ["gone", "all gone but the unit", "closed"])
def test_what_cannot_be_looked_at_is_not_taken_for_roots(service: Path, how: str) -> None:
    workloads = resolver(service, Kubelet())
    workloads.learn_path(1, f"/kubepods/burstable/pod{POD}/{ID}")
    real = wait_for_name(workloads, workloads.identify(1))
    workloads.learn_path(2, POSING)
    workloads.learn_path(3, f"{SERVICE}/x/docker/{ID}")
    if how == "closed":
        (service / SERVICE[1:] / "x").chmod(0o700)
    else:
        shutil.rmtree(service / SERVICE[1:] / ("x" if how == "all gone but the unit" else "x/kubepods"))
    with without_capabilities():
        posing, users = settled(workloads, 2), settled(workloads, 3)
    assert posing == SYSTEM
    assert (users.container_id, workloads.named(users).container) == (f"1000/{ID}", "")
    assert (real.container_id, real.pod) == (ID, "web-1")
    workloads.close()


def test_what_went_with_its_unit_is_not_taken_for_roots(tmp_path: Path) -> None:
    """The unit may have been a user's, and systemd has removed it. A pod's container needs the kubelet's word."""
    workloads = resolver(tmp_path, Kubelet())
    workloads.learn_path(1, POSING)
    assert settled(workloads, 1) == Workload("container", ID, pod_uid=POD), "the kubelet knows it, and no other pods"
    workloads.close()
    workloads = resolver(tmp_path, Kubelet())
    workloads.learn_path(2, f"/kubepods/burstable/pod{POD}/{'e' * 64}")
    workloads.identify(2)
    workloads.learn_path(1, POSING)
    assert settled(workloads, 1) == SYSTEM
    workloads.learn_path(3, f"{SERVICE}/docker-{ID}.scope")
    lost = wait_for_name(workloads, workloads.identify(3))
    assert (lost.container_id, lost.container) == (f"?/{ID}", "")
    workloads.close()


@pytest.mark.parametrize(
    "path",
    [
        f"/kubepods/burstable/pod{POD}/{ID}",
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD.replace('-', '_')}.slice/crio-{ID}.scope",
        f"/system.slice/docker-{ID}.scope",
        f"/machine.slice/machine-libpod_pod_{'b' * 64}.slice/libpod-{ID}.scope/container",
        f"/docker/{ID}",
    ],
)
def test_a_container_that_is_gone_is_roots_where_only_root_makes_folders(tmp_path: Path, path: str) -> None:
    """Most short-lived containers are looked at when they are gone, and their pod with them."""
    workloads = resolver(tmp_path)
    workloads.learn_path(1, path)
    found = workloads.identify(1)
    assert found is not None
    assert (found.container_id, found.pod_uid) == (ID, POD if "kubepods" in path else "")
    workloads.close()


def test_what_is_inside_a_users_posing_container_is_no_pods_either(tmp_path: Path) -> None:
    workloads = resolver(tmp_path, Kubelet())
    workloads.learn_path(1, f"/kubepods/burstable/pod{POD}/{ID}")
    wait_for_name(workloads, workloads.identify(1))
    workloads.learn_path(2, f"{USER}/kubepods/burstable/pod{POD}/{'e' * 64}/docker/{'f' * 64}")
    assert settled(workloads, 2) == SYSTEM
    workloads.close()


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_who_may_make_a_cgroup_is_told_by_the_first_folder_that_is_not_roots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    owners = {"": 0, "/a.service": 1000, "/a.service/x": 1000, "/a.service/y": 100001, "/machine.slice": 0}

    def stat(path: str) -> os.stat_result:
        owner = owners.get(path.removeprefix(str(tmp_path)))
        if owner is None:
            raise error(path)
        return os.stat_result((0, 0, 0, 0, owner, 0, 0, 0, 0, 0))

    told = {
        "/a.service/x/c": "1000",
        "/a.service/x/kubepods/pod/c": "1000",  # what is in a user's folder, a user made
        "/a.service/y/c": "1000",  # who has a range of subordinate users gets no places for each of them
        "/machine.slice/pod.slice/c": "",  # and root what is in root's
        "/docker/c": "",
        "/c.service": "",
        "/c.service/c": None,  # a unit may have been a user's
        "/c.scope/x/c": None,
    }
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat)
        found = {path: owner_above(tmp_path, path) for path in told}
        del owners[""]
        nothing = [owner_above(tmp_path, path) for path in ("/docker/c", "/c")]
    assert found == told
    assert nothing == [None, None]


def given_away(root: Path, folder: str, paths: list[str]) -> None:
    """Make these below a folder of root's that user 1000 has, who may make cgroups there."""
    require(os.geteuid() == 0, "giving a folder away needs root")
    for path in paths:
        (root / f"{folder}{path}"[1:]).mkdir(parents=True, exist_ok=True)
    for place in (root / folder[1:], *(root / folder[1:]).rglob("*")):
        os.chown(place, 1000, 1000)


@pytest.mark.parametrize("folder", ["/batch", "/system.slice/batch.service", "/a.slice/b.slice/c.slice/batch.service"])
def test_one_user_is_one_maker_whatever_he_calls_his_cgroups(tmp_path: Path, folder: str) -> None:
    """By a maker for each name he would have the kernel's table, and ours, to himself: whoever has most gives way."""
    names = ["/x", "/y", *(f"/docker-{number:064x}.scope" for number in range(3)), f"/user.slice/user-7.slice/{ID}"]
    given_away(tmp_path, folder, [*names, f"/z/{ID}"])
    (tmp_path / f"docker/{ID}/x").mkdir(parents=True)
    os.chown(tmp_path / f"docker/{ID}", 100000, 100000)  # as a runtime gives it to the container's user
    workloads = resolver(tmp_path, Kubelet())
    paths = [*(f"{folder}{name}" for name in (*names, f"/z/{ID}")), f"{USER}/x", f"/docker/{ID}/x", "/a/b/c", "/"]
    for number, path in enumerate(paths, 1):
        workloads.learn_path(number, path)
    *his, session, container, folders, root = (workloads.maker(number) for number in range(1, len(paths) + 1))
    assert {*his, session} == {"user 1000"}
    assert (container, folders, root) == (ID, "/a/b", "/")
    workloads.close()


def test_hints_of_others_survive_a_flood_of_ids_in_a_folder_of_his_own(tmp_path: Path) -> None:
    given_away(tmp_path, "/batch", ["/x"])
    workloads = resolver(tmp_path)
    workloads.learn_path(1, f"/docker/{ID}")
    for number in range(2, 20_000):
        workloads.learn_path(number, f"/batch/{number:064x}")
    own = workloads.identify(1)
    assert own is not None
    assert own.container_id == ID
    workloads.close()
