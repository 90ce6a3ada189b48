"""Real cgroup paths of every runtime, read as what they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kepler_ebpf.workloads.paths import parse
from kepler_ebpf.workloads.qemu import vm_name

A = "0f7e1c2d" * 8
B = "9b3a5d4e" * 8
UID = "2942c55c-c9cb-428a-93a4-eaf89c1f3ce0"
LOW = UID.replace("-", "_")
STATIC = "8b1e5f6c2d3a4b5c6d7e8f9a0b1c2d3e"

CONTAINERS = [
    (f"/docker/{A}", "docker", A, ""),
    (f"/system.slice/docker-{A}.scope", "docker", A, ""),
    (f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope", "docker", A, ""),
    (f"/kubepods/burstable/pod{UID}/{A}", "", A, UID),
    (f"/kubepods/besteffort/pod{UID}/{A}", "", A, UID),
    (f"/kubepods/pod{UID}/{A}", "", A, UID),
    (f"/kubepods/burstable/pod{STATIC}/{A}", "", A, STATIC),
    (f"/kubepods/pod{UID}/crio-{A}", "cri-o", A, UID),
    (
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{LOW}.slice/cri-containerd-{A}.scope",
        "containerd",
        A,
        UID,
    ),
    (
        f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{LOW}.slice/crio-{A}.scope/container",
        "cri-o",
        A,
        UID,
    ),
    (f"/kubepods.slice/kubepods-pod{LOW}.slice/docker-{A}.scope", "docker", A, UID),
    (f"/kubepods.slice/kubepods-pod{STATIC}.slice/cri-containerd-{A}.scope", "containerd", A, STATIC),
    (
        f"/system.slice/containerd.service/kubepods-burstable-pod{LOW}.slice:cri-containerd:{A}",
        "containerd",
        A,
        UID,
    ),
    (f"/docker/{B}/kubelet/kubepods/burstable/pod{UID}/{A}", "", A, UID),
    (
        f"/docker/{B}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
        f"kubelet-kubepods-burstable-pod{LOW}.slice/cri-containerd-{A}.scope",
        "containerd",
        A,
        UID,
    ),
    (f"/k3s/kubepods/besteffort/pod{UID}/{A}", "", A, UID),
    (f"/machine.slice/libpod-{A}.scope/container", "podman", A, ""),
    (f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope", "podman", A, ""),
    (f"/libpod_parent/libpod-{A}", "podman", A, ""),
    (f"/libpod_parent/{B}/libpod-{A}", "podman", A, ""),
    (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope", "podman", A, ""),
    (f"/system.slice/web.service/libpod-payload-{A}", "podman", A, ""),
    (f"/default/{A}", "", A, ""),
    (f"/system.slice/nerdctl-{A}.scope", "containerd", A, ""),
    (f"/lxc.payload.web1/system.slice/docker-{A}.scope", "docker", A, ""),
    # podman with Quadlet (--cgroups=split), rootless, in pods
    (f"/system.slice/web.service/libpod-payload-{A}/init.scope", "podman", A, ""),
    (f"/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-{A}", "podman", A, ""),
    (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container", "podman", A, ""),
    (
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_{B}.slice/libpod-{A}.scope",
        "podman",
        A,
        "",
    ),
    (f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope/container", "podman", A, ""),
    # k3s and RKE2: cgroupfs above, systemd below, rootless
    (f"/kubepods/besteffort/pod{STATIC}/{A}", "", A, STATIC),
    (f"/system.slice/rke2-server.service/kubepods-besteffort-pod{LOW}.slice:cri-containerd:{A}", "containerd", A, UID),
    (
        f"/user.slice/user-1000.slice/user@1000.service/app.slice/k3s-rootless.service/kubepods/burstable/pod{UID}/{A}",
        "",
        A,
        UID,
    ),
    # static pods on the systemd driver
    (
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{STATIC}.slice/crio-{A}.scope",
        "cri-o",
        A,
        STATIC,
    ),
    # what runs systemd inside, and docker in docker
    (f"/docker/{A}/system.slice/nginx.service", "docker", A, ""),
    (f"/system.slice/docker-{A}.scope/init.scope", "docker", A, ""),
    (f"/docker/{B}/docker/{A}", "docker", A, ""),
    # ECS
    (f"/ecs/1a2b3c4d5e6f708192a3b4c5d6e7f809/{A}", "", A, ""),
]


@pytest.mark.parametrize(("path", "runtime", "container_id", "pod_uid"), CONTAINERS)
def test_container_paths(path: str, runtime: str, container_id: str, pod_uid: str) -> None:
    identity = parse(path)
    assert (identity.runtime, identity.container_id, identity.pod_uid) == (runtime, container_id, pod_uid)
    assert path.startswith(identity.home)
    assert not identity.helper


@pytest.mark.parametrize(
    ("path", "container_id", "name", "virtual_machine"),
    [
        ("/lxc/101/ns/system.slice/ssh.service", "lxc/101", "101", False),
        ("/lxc.payload.web1/init.scope", "lxc/web1", "web1", False),
        ("/lxc.payload/web1", "lxc/web1", "web1", False),
        ("/lxc.payload.web1/lxc.payload.web2", "lxc/web1/lxc/web2", "web2", False),
        (f"/docker/{A}/lxc/web", f"{A}/lxc/web", "web", False),
        (r"/machine.slice/machine-deb\x2d12.scope/payload", "nspawn/deb-12", "deb-12", False),
        (r"/machine.slice/systemd-nspawn@deb\x2d12.service/payload", "nspawn/deb-12", "deb-12", False),
        (r"/machine.slice/machine-lxc\x2d3\x2dweb.scope", "libvirt-lxc/web", "web", False),
        (r"/machine.slice/machine-qemu\x2d3\x2dmail\x2d1.scope/libvirt/emulator", "libvirt/mail-1", "mail-1", True),
        ("/machine/qemu-3-mail.libvirt-qemu/vcpu0", "libvirt/mail", "mail", True),
    ],
)
def test_machines_have_names_and_ids_nobody_shares(
    path: str, container_id: str, name: str, virtual_machine: bool
) -> None:
    identity = parse(path)
    assert (identity.container_id, identity.name, identity.virtual_machine) == (container_id, name, virtual_machine)
    assert identity.runtime == container_id.split("/")[-2]


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/", ""),
        ("/init.scope", "init.scope"),
        ("/system.slice/nginx.service", "nginx.service"),
        ("/system.slice/system-postgresql.slice/postgresql@15-main.service", "postgresql@15-main.service"),
        ("/user.slice/user-1000.slice/session-4711.scope", "user-1000.slice"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-a.scope", "user-1000.slice"),
        ("/process_api/9684298303f0c5cb2c4060b97a054584", ""),
        (f"/libpod_parent/{A}", ""),
    ],
)
def test_host_paths(path: str, unit: str) -> None:
    identity = parse(path)
    assert (identity.container_id, identity.unit) == ("", unit)


@pytest.mark.parametrize(
    "path",
    [
        f"/kubepods.slice/kubepods-pod{LOW}.slice/crio-conmon-{A}.scope",
        f"/kubepods/burstable/pod{UID}/crio-conmon-{A}",
        f"/system.slice/crio-conmon-{A}.scope",
        f"/machine.slice/libpod-conmon-{A}.scope",
        f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-conmon-{A}.scope",
    ],
)
def test_monitors_work_for_their_container(path: str) -> None:
    assert parse(path).container_id == A
    assert parse(path).helper


def test_a_container_inside_a_pods_container_stays_in_the_pod() -> None:
    identity = parse(f"/kubepods/burstable/pod{UID}/{B}/docker/{A}")
    assert (identity.container_id, identity.pod_uid, identity.outer_id) == (A, UID, B)


@pytest.mark.parametrize("inner", ["podman", "podcast/x", f"pod{UID}", f"pod{UID}/{B}/x", "pod1/pod2"])
def test_directories_inside_a_container_make_no_pod(inner: str) -> None:
    identity = parse(f"/kubepods/burstable/pod{UID[:-1]}7/{A}/{inner}")
    assert identity.pod_uid == f"{UID[:-1]}7"
    assert A in (identity.container_id, identity.outer_id)


@pytest.mark.parametrize("path", [f"/kubepods/podman/{A}", f"/kubepods/burstable/podu1/{A}", f"/pod{UID}/{A}"])
def test_what_is_no_pods_directory(path: str) -> None:
    assert parse(path).pod_uid == ""
    assert parse(path).container_id == A


def test_a_kubelet_inside_a_pods_container_makes_pods_again() -> None:
    inner = f"kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{STATIC}.slice/cri-containerd-{A}.scope"
    identity = parse(f"/kubepods/burstable/pod{UID}/{B}/{inner}")
    assert (identity.container_id, identity.pod_uid, identity.outer_id) == (A, STATIC, "")


def test_what_kata_keeps_beside_a_pods_containers_is_that_pods() -> None:
    identity = parse(f"/kubepods/burstable/pod{UID}/kata_overhead")
    assert (identity.container_id, identity.pod_uid) == (f"{UID}/kata_overhead", UID)


@given(st.lists(st.text(max_size=300), max_size=30).map("/".join))
def test_any_text_is_survived_and_bounded(path: str) -> None:
    identity = parse("/" + path)
    assert len(identity.container_id) <= 253
    assert len(identity.unit) <= 253


@pytest.mark.parametrize(
    ("cmdline", "name"),
    [
        (b"/usr/bin/qemu-system-x86_64\0-name\0guest=web,debug-threads=on\0-S\0", "web"),
        (b"qemu-system-aarch64\0-name\0db\0", "db"),
        (b"/usr/libexec/qemu-kvm\0-m\x001024\0-name\0guest=a,,b\0", "a,b"),
        (b"/usr/bin/qemu-system-x86_64\0-m\x001024\0", ""),
        (b"/usr/bin/cat\0-name\0x\0", None),
        (b"", None),
    ],
)
def test_virtual_machine_names(cmdline: bytes, name: str | None) -> None:
    assert vm_name(cmdline) == name
