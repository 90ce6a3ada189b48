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
TASK = "1a2b3c4d5e6f708192a3b4c5d6e7f809"
GARDEN = "6f265890-5165-7fab-6b52-18d1"
STEP = "jdvb8w1cgfz7wtnb3bcpj9nyf"

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
    # ECS: cgroup v1, with the cluster's name, the older ids of tasks; cgroup v2
    (f"/ecs/{TASK}/{A}", "", A, ""),
    (f"/ecs/prod/{TASK}/{A}", "", A, ""),
    (f"/ecs/{UID}/{A}", "", A, ""),
    (f"/ecstasks.slice/ecstasks-{TASK}.slice/docker-{A}.scope", "docker", A, ""),
    # Fargate 1.4
    (f"/ecs/{TASK}-1234567890", "ecs", f"{TASK}-1234567890", ""),
    (f"/ecs/{TASK}/{TASK}-1234567890", "ecs", f"{TASK}-1234567890", ""),
    # steps of BuildKit: its own daemon, docker's with either driver, inside the container of docker buildx
    (f"/buildkit/{STEP}", "buildkit", STEP, ""),
    (f"/docker/buildkit/{STEP}", "buildkit", STEP, ""),
    (f"/system.slice/docker-{STEP}.scope", "buildkit", STEP, ""),
    (f"/docker/{A}/buildkit/{STEP}", "buildkit", STEP, ""),
    # steps of `podman build`: cgroupfs, systemd with runc or crun, rootless
    ("/buildah-buildah3941126258", "buildah", "buildah3941126258", ""),
    ("/system.slice/runc-buildah-buildah2754860408.scope", "buildah", "buildah2754860408", ""),
    ("/system.slice/crun-buildah-buildah2365838308.scope", "buildah", "buildah2365838308", ""),
    (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/crun-buildah-buildah1059824916.scope",
        "buildah",
        "buildah1059824916",
        "",
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/buildah-buildah106535269-1629075.scope",
        "buildah",
        "buildah106535269-1629075",
        "",
    ),
    # Garden: Cloud Foundry's, with CPU entitlement; Concourse
    (f"/garden/{GARDEN}", "garden", GARDEN, ""),
    (f"/system.slice/garden.service/garden/{GARDEN}", "garden", GARDEN, ""),
    (f"/system.slice/garden.service/garden/good/{GARDEN}", "garden", GARDEN, ""),
    (f"/garden/{UID}", "garden", UID, ""),
    # Nomad: 1.7 and later, 1.3, cgroup v1, docker's
    (f"/nomad.slice/share.slice/{UID}.web.scope", "nomad", f"{UID}/web", ""),
    (f"/nomad.slice/reserve.slice/{UID}.a.b-1.scope", "nomad", f"{UID}/a.b-1", ""),
    (f"/nomad.slice/{UID}.web.scope", "nomad", f"{UID}/web", ""),
    (f"/nomad/{UID}.web.2", "nomad", f"{UID}/web.2", ""),
    (f"/nomad.slice/share.slice/docker-{A}.scope", "docker", A, ""),
    # Kata: the sandbox, by containerd's and the kubelet's paths, and by docker's
    (f"/kubepods/burstable/pod{UID}/kata_{A}", "kata", A, UID),
    (f"/default/kata_{A}", "kata", A, ""),
    ("/default/kata_sandbox-1", "kata", "sandbox-1", ""),
    (f"/kata/{A}", "", A, ""),
    (f"/kubepods.slice/kubepods-pod{LOW}.slice/cri-containerd-{A}.scope/kata_{A}", "kata", A, UID),
    # runtimes whose ids are UUIDs; one directory for slice and container, as some write it
    (
        f"/kubepods/besteffort/pod{UID}/15aa6e53-b09a-40c7-8558-c6c31e36c88a",
        "",
        "15aa6e53-b09a-40c7-8558-c6c31e36c88a",
        UID,
    ),
    (f"/kuberuntime/containerd/kubepods-pod{LOW}:cri-containerd:{A}", "containerd", A, UID),
    # a scope without a prefix
    (f"/docker/{A}.scope", "docker", A, ""),
    (f"/system.slice/{A}.scope", "", A, ""),
    # actions runners, docker in a snap, Garden's daemon below systemd
    (f"/actions_job/{A}", "", A, ""),
    (f"/docker-ce/docker/{A}", "docker", A, ""),
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
        ("/machine.slice/auto_sirius.libvirt-lxc", "libvirt-lxc/auto_sirius", "auto_sirius", False),
        ("/machine/lxc-11111-web.libvirt-lxc", "libvirt-lxc/web", "web", False),
        (r"/machine.slice/machine-qemu\x2d3\x2dmail\x2d1.scope/libvirt/emulator", "libvirt/mail-1", "mail-1", True),
        ("/machine/qemu-3-mail.libvirt-qemu/vcpu0", "libvirt/mail", "mail", True),
        (
            "/machine.slice/machine-qemu\\x2d12\\x2dinstance\\x2d0000000f.scope",
            "libvirt/instance-0000000f",
            "instance-0000000f",
            True,
        ),
        ("/qemu.slice/100.scope", "proxmox/100", "100", True),
        ("/lxc/101", "lxc/101", "101", False),
        ("/lxc/101/ns/init.scope", "lxc/101", "101", False),
        ("/lxc.payload.default_c1/ns/system.slice", "lxc/default_c1", "default_c1", False),
        ("/lxc.slice/lxc.payload.c1/init.scope", "lxc/c1", "c1", False),
        ("/machine.slice/machine-fedora.scope/supervisor", "nspawn/fedora", "fedora", False),
        ("/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service", "nspawn/web", "web", False),
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
        ("/batch/user-1234.slice/x", ""),
        ("/batch/user-1234.slice/a.service/user-1235.slice", "a.service"),
        ("/qemu.slice/١٠٠.scope", "١٠٠.scope"),
        ("/system.slice/crun-buildah.scope", "crun-buildah.scope"),
        (f"/system.slice/snap.firefox.firefox-{UID}.scope", f"snap.firefox.firefox-{UID}.scope"),
        (f"/system.slice/{UID}.scope", f"{UID}.scope"),
        (f"/system.slice/{UID}.service", f"{UID}.service"),
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
        f"/kata_overhead/{A}",
        f"/kata_overhead/kubepods/besteffort/pod{UID}/{A}",
        f"/kata_overhead/kubepods/besteffort/pod{UID}/kata_{A}",
        f"/kata.slice/kata-overhead.slice/runtime-rs-{A}.scope",
    ],
)
def test_monitors_work_for_their_container(path: str) -> None:
    assert parse(path).container_id == A
    assert parse(path).helper


def test_a_process_beside_gardens_container_works_for_it() -> None:
    identity = parse(f"/system.slice/garden.service/garden/{GARDEN}-liveness-healthcheck-0")
    assert (identity.container_id, identity.helper) == (GARDEN, True)


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


def test_a_sandbox_of_kata_whose_id_is_short() -> None:
    """As Kata's own documentation writes it."""
    assert parse("/kata_overhead/12345678").container_id == parse("/kubepods/kata_12345678").container_id == "12345678"
    assert parse("/kata.slice/kata-overhead.slice/runtime-rs-12345678.scope").container_id == "12345678"


@pytest.mark.parametrize(
    ("path", "outer", "owner"),
    [
        (f"/docker/{B}/kubepods/besteffort/pod{UID}/{A}", B, ""),
        (f"/docker/{B}/kubepods/besteffort/pod{UID}", B, ""),
        (f"/docker/{B}/system.slice/nginx.service", "", ""),
        (f"/docker/{B}/lxc/web", B, ""),
        (f"/kubepods/burstable/pod{UID}/{B}/docker/{A}", B, ""),
        ("/lxc.payload.web1/lxc.payload.web2", "lxc/web1", ""),
        (f"/kubepods/burstable/pod{UID}/crio-{A}.scope/container", "", ""),
        (f"/user.slice/user-1000.slice/user@1000.service/kubepods/pod{UID}/{A}", "", "1000"),
        (f"/user.slice/user-1000.slice/user@1000.service/user-0.slice/docker/{A}", "", "1000"),
        (f"/docker/{B}/user.slice/user-1000.slice/kubepods/pod{UID}/{A}", B, ""),
        ("/user.slice/user-1000.slice/session-1.scope", "", "1000"),
        ("/user.slice/user-1000.slice", "", "1000"),
        (f"/user.slice/user-0.slice/session-3.scope/libpod-payload-{A}", "", "0"),
        (f"/user.slice/user-4294967294.slice/docker-{A}.scope", "", "4294967294"),
        # Names that whoever has a folder of his own can give, wherever that is.
        (f"/batch/user-1234.slice/docker-{A}.scope", "", ""),
        (f"/user-1234.slice/docker-{A}.scope", "", ""),
        (f"/system.slice/batch.service/user.slice/user-1234.slice/user@1234.service/docker-{A}.scope", "", ""),
        (f"/system.slice/user@1234.service/docker-{A}.scope", "", ""),
        (f"/user.slice/x/user-1234.slice/docker-{A}.scope", "", ""),
        (f"/machine.slice/user-1234.slice/docker-{A}.scope", "", ""),
        (f"/user.slice/user-{'9' * 200}.slice/docker-{A}.scope", "", ""),
        (f"/user.slice/user-١٢.slice/docker-{A}.scope", "", ""),
        ("/batch/user-1234.slice/x", "", ""),
    ],
)
def test_what_a_path_is_inside_of(path: str, outer: str, owner: str) -> None:
    identity = parse(path)
    assert (identity.outer.container_id if identity.outer else "") == outer
    assert identity.owner == owner


@pytest.mark.parametrize("levels", [5, 400, 4000])
@pytest.mark.parametrize("name", ["x", "kubepods", "kata_overhead", "lxc", "d" * 255, f"libpod-{'c' * 64}.scope"])
def test_a_container_cannot_nest_itself_out_of_sight(levels: int, name: str) -> None:
    identity = parse(f"/system.slice/docker-{A}.scope" + f"/{name}" * levels)
    assert (identity.outer or identity).container_id == A


def test_what_is_cut_off_a_long_path_makes_no_name() -> None:
    around = "/" + "/".join(["x" * 200] * 20)
    assert parse(f"{around}/{A}").container_id == A
    room = 4096 - len(around) - 1 - 64
    assert parse(f"{around}/{'y' * (room - 1)}/{A}").container_id == A
    assert parse(f"{around}/{'y' * (room - 1)}/{A}{A}").container_id == ""


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
