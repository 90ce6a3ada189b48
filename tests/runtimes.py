"""Real container runtimes on state of their own, for tests: containerd with CRI, runc and podman."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.needs import require

_PAUSE = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n"
_CONTAINERD = """
version = 2
root = "{root}/root"
state = "{root}/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{root}/containerd.sock"
[ttrpc]
  address = "{root}/containerd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  sandbox_image = "localhost/pause:1"
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{root}/cni"
    conf_dir = "{root}/cni"
"""
BUSY = "while :; do :; done"


def busy(seconds: float) -> str:
    """A shell script that computes for so long, then sleeps until it is stopped."""
    return f"timeout {seconds} sh -c '{BUSY}'; exec sleep 1000"


def busybox_rootfs(place: Path) -> Path:
    """A root file system of one static busybox."""
    require(Path("/bin/busybox").exists(), "needs busybox-static")
    (place / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", place / "bin/busybox")
    for name in ("sh", "sleep", "timeout", "true", "cat", "id", "ls"):
        (place / "bin" / name).symlink_to("busybox")
    for name in ("proc", "sys", "dev", "tmp", "etc", "run"):
        (place / name).mkdir()
    return place


def pause_rootfs(place: Path) -> Path:
    """A root file system of one program that does nothing, for the sandboxes of pods."""
    place.mkdir()
    subprocess.run(["gcc", "-static", "-O2", "-x", "c", "-", "-o", place / "pause"], input=_PAUSE.encode(), check=True)
    return place


def oci_image(rootfs: Path, name: str, archive: Path, config: dict[str, Any] | None = None) -> None:
    """Write ``rootfs`` as an OCI image layout in a tar file, which ``ctr images import`` takes."""
    blobs: dict[str, bytes] = {}

    def put(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"digest": f"sha256:{digest}", "size": len(data)}

    def put_json(document: dict[str, Any]) -> dict[str, Any]:
        return put(json.dumps(document).encode())

    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(rootfs, arcname=".")
    media = "application/vnd.oci.image"
    layer_ref = put(layer.getvalue())
    config_ref = put_json(
        {
            "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], **(config or {})},
            "rootfs": {"type": "layers", "diff_ids": [layer_ref["digest"]]},
        }
    )
    manifest = put_json(
        {
            "schemaVersion": 2,
            "mediaType": f"{media}.manifest.v1+json",
            "config": {"mediaType": f"{media}.config.v1+json", **config_ref},
            "layers": [{"mediaType": f"{media}.layer.v1.tar", **layer_ref}],
        }
    )
    entry = {"mediaType": f"{media}.manifest.v1+json", **manifest, "annotations": {"io.containerd.image.name": name}}
    with tarfile.open(archive, "w") as tar:
        files = {f"blobs/sha256/{digest}": data for digest, data in blobs.items()}
        files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
        files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def import_image(
    ctr: Callable[..., str], folder: Path, rootfs: Path, name: str, config: dict[str, Any] | None = None
) -> None:
    """Give ``rootfs`` to a containerd as an image. ``ctr``: runs ctr for it. ``folder``: for the archive."""
    archive = folder / "image.tar"
    oci_image(rootfs, name, archive, config)
    ctr("images", "import", str(archive))
    archive.unlink()


@dataclass
class Pod:
    """A pod's sandbox and its containers' ids by name."""

    name: str
    namespace: str
    uid: str
    sandbox: str
    config: Any
    containers: dict[str, str] = field(default_factory=dict)

    @property
    def cgroup(self) -> str:
        return f"/kubepods/burstable/pod{self.uid}"


class Containerd:
    """A containerd of our own, spoken to as the kubelet does."""

    def __init__(self, root: Path) -> None:
        import grpc
        from cri_api.v1 import api_pb2, api_pb2_grpc

        self.root = root
        self.socket = root / "containerd.sock"
        self.api = api_pb2
        self._channel = grpc.insecure_channel(f"unix://{self.socket}")
        self.runtime = api_pb2_grpc.RuntimeServiceStub(self._channel)
        self.pods: list[Pod] = []

    def ctr(self, *arguments: str) -> str:
        command = ["ctr", "--address", str(self.socket), "-n", "k8s.io", *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert answer.returncode == 0, f"{' '.join(command)}: {answer.stderr}"
        return answer.stdout

    def import_image(self, rootfs: Path, name: str, config: dict[str, Any] | None = None) -> None:
        import_image(self.ctr, self.root, rootfs, name, config)

    def run_pod(self, name: str, namespace: str = "shop", annotations: dict[str, str] | None = None) -> Pod:
        """Start a pod's sandbox: on the host's network, in a cgroup as the kubelet would name it."""
        api, uid = self.api, str(uuid.uuid4())
        config = api.PodSandboxConfig(
            metadata=api.PodSandboxMetadata(name=name, uid=uid, namespace=namespace),
            annotations=annotations or {},
            labels={
                "io.kubernetes.pod.name": name[:63],
                "io.kubernetes.pod.namespace": namespace,
                "io.kubernetes.pod.uid": uid,
            },
            linux=api.LinuxPodSandboxConfig(
                cgroup_parent=f"/kubepods/burstable/pod{uid}",
                security_context=api.LinuxSandboxSecurityContext(
                    namespace_options=api.NamespaceOption(network=api.NamespaceMode.Value("NODE"))
                ),
            ),
        )
        answer = self.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=config), timeout=60)
        pod = Pod(name, namespace, uid, answer.pod_sandbox_id, config)
        self.pods.append(pod)
        return pod

    def run(self, pod: Pod, name: str, script: str, image: str = "localhost/busybox:1", **config: Any) -> str:
        """Start a container in a pod; its id."""
        api = self.api
        wanted = api.ContainerConfig(
            metadata=api.ContainerMetadata(name=name),
            image=api.ImageSpec(image=image),
            labels={"io.kubernetes.container.name": name[:63], **pod.config.labels},
            **{"command": ["sh", "-c", script], **config},
        )
        request = api.CreateContainerRequest(pod_sandbox_id=pod.sandbox, config=wanted, sandbox_config=pod.config)
        container_id = str(self.runtime.CreateContainer(request, timeout=60).container_id)
        self.runtime.StartContainer(api.StartContainerRequest(container_id=container_id), timeout=60)
        pod.containers[name] = container_id
        return container_id

    def remove(self, container_id: str) -> None:
        self.runtime.StopContainer(self.api.StopContainerRequest(container_id=container_id, timeout=0), timeout=60)
        self.runtime.RemoveContainer(self.api.RemoveContainerRequest(container_id=container_id), timeout=60)

    def remove_pod(self, pod: Pod) -> None:
        self.runtime.StopPodSandbox(self.api.StopPodSandboxRequest(pod_sandbox_id=pod.sandbox), timeout=60)
        self.runtime.RemovePodSandbox(self.api.RemovePodSandboxRequest(pod_sandbox_id=pod.sandbox), timeout=60)
        self.pods.remove(pod)

    def close(self) -> None:
        for pod in list(self.pods):
            self.remove_pod(pod)
        self._channel.close()


@contextmanager
def containerd(root: Path) -> Iterator[Containerd]:
    """Start containerd with its state below ``root``, and the images ``localhost/pause:1``, ``localhost/busybox:1``."""
    require(os.geteuid() == 0, "containers need root")
    for program in ("containerd", "ctr", "runc", "gcc"):
        require(shutil.which(program), f"needs {program}")
    root.mkdir(parents=True, exist_ok=True)
    config = root / "config.toml"
    config.write_text(_CONTAINERD.format(root=root, snapshotter="native"))
    with (root / "containerd.log").open("wb") as log:
        daemon = subprocess.Popen(["containerd", "--config", str(config)], stdout=log, stderr=log)
    try:
        _wait_for(root / "containerd.sock", daemon, root / "containerd.log")
        one = Containerd(root)
        one.import_image(pause_rootfs(root / "pause"), "localhost/pause:1", {"Entrypoint": ["/pause"]})
        one.import_image(busybox_rootfs(root / "busybox"), "localhost/busybox:1")
        try:
            yield one
        finally:
            one.close()
    finally:
        daemon.terminate()
        daemon.wait()
        unmount_below(root)
        remove_cgroups("kubepods")


def _wait_for(socket_path: Path, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if socket_path.exists():
            ready = subprocess.run(["ctr", "--address", str(socket_path), "version"], capture_output=True)
            if ready.returncode == 0:
                return
        assert daemon.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(f"containerd did not start: {log.read_text()}")


def unmount_below(root: Path) -> None:
    """Unmount everything below ``root``, once nobody works there any more: podman cleans up behind our back."""
    deadline = time.monotonic() + 10
    while any(b"podman" in line and str(root).encode() in line for line in _command_lines()):
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{root}/")]):
        subprocess.run(["umount", "-l", mount], capture_output=True)


def _command_lines() -> Iterator[bytes]:
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield place.read_bytes()


def remove_cgroups(name: str) -> None:
    """Remove an empty cgroup, and the empty ones below it, from every hierarchy."""
    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        for place, _, _ in os.walk(hierarchy / name, topdown=False):
            try:
                os.rmdir(place)
            except OSError:
                continue  # somebody else's, in use


@contextmanager
def runc(bundle: Path, container_id: str, cgroup: str, script: str) -> Iterator[None]:
    """A container of plain runc, at a cgroup path of our choice."""
    require(shutil.which("runc"), "needs runc")
    busybox_rootfs(bundle / "rootfs")
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    config = bundle / "config.json"
    spec = json.loads(config.read_text())
    spec["process"].update(args=["sh", "-c", script], terminal=False, rlimits=[])
    spec["process"].pop("oomScoreAdj", None)
    spec["linux"]["cgroupsPath"] = cgroup
    config.write_text(json.dumps(spec))
    root = ["runc", "--root", str(bundle / "state")]
    subprocess.run(
        [*root, "run", "--detach", container_id],
        cwd=bundle,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        subprocess.run([*root, "delete", "--force", container_id], check=True, capture_output=True)
        remove_cgroups(cgroup.strip("/").split("/")[0])


class Podman:
    """podman on state of its own; ``socket``: its API, once :meth:`service` runs."""

    def __init__(self, root: Path) -> None:
        require(shutil.which("podman"), "needs podman")
        self.rootfs = busybox_rootfs(root / "rootfs")
        self.socket = root / "podman.sock"
        self._root = root / "root"
        self._runroot = tempfile.mkdtemp(prefix="podman-")  # podman takes at most 50 characters
        self._command = [
            "podman",
            *("--root", str(self._root), "--runroot", self._runroot, "--cgroup-manager=cgroupfs"),
            *("--events-backend=file", "--runtime=runc"),
        ]
        self._names: list[str] = []

    def run(self, name: str, script: str) -> str:
        """Start a container; its id."""
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "--network=host", "--log-driver=none"]
        flags = [*limits, "--detach", "--name", name, "--rootfs", str(self.rootfs), "/bin/sh", "-c", script]
        answer = subprocess.run([*self._command, "run", *flags], capture_output=True, text=True, timeout=60)
        assert answer.returncode == 0, answer.stderr
        self._names.append(name)
        return answer.stdout.split()[-1]

    def remove(self, name: str) -> None:
        subprocess.run([*self._command, "rm", "--force", "--time=0", name], capture_output=True, check=True, timeout=60)
        self._names.remove(name)

    @contextmanager
    def service(self) -> Iterator[None]:
        """Run the API on :attr:`socket`."""
        command = [*self._command, "system", "service", "--time=0", f"unix://{self.socket}"]
        service = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            deadline = time.monotonic() + 20
            while not self.socket.exists():
                assert service.poll() is None, service.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield
        finally:
            service.terminate()
            service.wait()

    def close(self) -> None:
        for name in list(self._names):
            self.remove(name)
        unmount_below(self._root)
        unmount_below(Path(self._runroot))
        shutil.rmtree(self._runroot, ignore_errors=True)
        remove_cgroups("libpod_parent")
