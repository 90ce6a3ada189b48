"""Real cgroup paths of every runtime, read as what they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kepler_ebpf.workloads.paths import parse
from kepler_ebpf.workloads.vms import vm_name

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
    ("/lxc/101/ns/system.slice/ssh.service", "lxc", "101", ""),
    ("/lxc.payload.web1/init.scope", "lxc", "web1", ""),
    ("/lxc.payload/web1", "lxc", "web1", ""),
    (f"/lxc.payload.web1/system.slice/docker-{A}.scope", "docker", A, ""),
    (r"/machine.slice/machine-deb\x2d12.scope/payload", "nspawn", "deb-12", ""),
    (r"/machine.slice/systemd-nspawn@deb\x2d12.service/payload", "nspawn", "deb-12", ""),
    (r"/machine.slice/machine-qemu\x2d3\x2dmail\x2d1.scope/libvirt/emulator", "libvirt", "mail-1", ""),
    ("/machine/qemu-3-mail.libvirt-qemu/vcpu0", "libvirt", "mail", ""),
]


@pytest.mark.parametrize(("path", "runtime", "container_id", "pod_uid"), CONTAINERS)
def test_container_paths(path: str, runtime: str, container_id: str, pod_uid: str) -> None:
    identity = parse(path)
    assert (identity.runtime, identity.container_id, identity.pod_uid) == (runtime, container_id, pod_uid)
    assert path.startswith(identity.home)
    assert not identity.helper


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
        f"/machine.slice/libpod-conmon-{A}.scope",
    ],
)
def test_monitors_work_for_their_container(path: str) -> None:
    assert parse(path).container_id == A
    assert parse(path).helper


def test_a_container_inside_a_pods_container_stays_in_the_pod() -> None:
    identity = parse(f"/kubepods/burstable/pod{UID}/{B}/docker/{A}")
    assert (identity.container_id, identity.pod_uid, identity.outer_id) == (A, UID, B)


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
