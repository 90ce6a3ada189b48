"""A cluster of one node: etcd, API server, controller manager, scheduler, containerd and kubelet, each the real one.

All of it lives in a network namespace and a mount namespace of its own, whose /run, /var/lib and /var/log are empty
file systems in memory, and below a cgroup of its own: a kubelet kills what it does not know below its root of pods.
What the namespaces cannot hold apart are the machine-wide settings that a kubelet writes: it gets files in their place.
Its pods reach the node's address; there is no kube-proxy and no DNS.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.cluster.credentials import Credentials
from tests.deploy.overlays import KUBECTL
from tests.needs import require
from tests.runtimes import busybox_rootfs, import_image, pause_rootfs, remove_cgroups

PROGRAMS = Path(os.environ.get("KUBERNETES", "~/.cache/kepler-ebpf/kubernetes")).expanduser()
"""What tests/cluster/build-kubernetes made: bin, and the Prometheus Operator's kinds in crds."""
CGROUP = "kepler-cluster"
ADDRESS, SERVER = "192.0.2.10", "https://192.0.2.10:6443"
MACHINE_WIDE = (
    *("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"),
    *("kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"),
)
_GATES = "--feature-gates=BoundServiceAccountTokenVolume=true"
_CONTAINERD = """
version = 2
root = "{folder}/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  sandbox_image = "localhost/pause:1"
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
"""
_BRIDGE = {
    "type": "bridge",
    "bridge": "cni0",
    "isGateway": True,
    "hairpinMode": True,
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "198.51.100.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    },
}
T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """Ask once a second until the answer is true; what it was."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}"
        time.sleep(1.0)
    return answer


class Node:
    """The running cluster. ``folder``: all it writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        command = ["unshare", "--mount", "--net", "--propagation", "private", "sleep", "infinity"]
        self._holder = subprocess.Popen(command)
        until(lambda: self._namespace(self._holder.pid) != self._namespace(os.getpid()), 10, "a namespace of its own")

    @property
    def inside(self) -> tuple[str, ...]:
        """What a command begins with to run on the node, in :attr:`folder`."""
        return ("nsenter", f"--target={self._holder.pid}", "--mount", "--net", f"--wdns={self.folder}", "--")

    def run(self, *command: str) -> str:
        """Run a command on the node; its output."""
        done = subprocess.run([*self.inside, *command], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def shell(self, lines: str, folder: Path, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run shell lines as the cluster's administrator, where this kubectl and the node's network are."""
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.folder / "keys/admin.kubeconfig"),
            "HOME": str(self.folder),
            "PATH": f"{KUBECTL.parent}:{os.environ['PATH']}",
        }
        command = ["nsenter", f"--target={self._holder.pid}", "--net", "--", "bash", "-euc", lines]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds)

    def kubectl(self, arguments: str, stdin: str = "") -> str:
        """Run kubectl; its output."""
        done = self.shell(f"kubectl {arguments} <<'END_OF_INPUT'\n{stdin}\nEND_OF_INPUT\n", self.folder)
        assert done.returncode == 0, f"kubectl {arguments}: {done.stderr}"
        return done.stdout

    def get(self, arguments: str) -> Any:
        """What ``kubectl get`` says, as JSON."""
        return json.loads(self.kubectl(f"get {arguments} --output=json"))

    def ctr(self, *arguments: str) -> str:
        return self.run("ctr", "--namespace=k8s.io", *arguments)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def start(self, name: str, *command: str) -> None:
        """Start a daemon on the node."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*self.inside, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self, name: str) -> None:
        """Stop a daemon; a kubelet's pods go on."""
        daemon = self._running.pop(name)
        daemon.terminate()
        daemon.wait(60)

    def up(self) -> None:
        """Start everything; the node is Ready after."""
        self._isolate()
        self._control_plane()
        (self.folder / "containerd.toml").write_text(_CONTAINERD.format(folder=self.folder))
        (self.folder / "cni").mkdir()
        network = {"cniVersion": "0.4.0", "name": "it", "plugins": [_BRIDGE]}
        (self.folder / "cni/10-bridge.conflist").write_text(json.dumps(network))
        self.start("containerd", "containerd", f"--config={self.folder}/containerd.toml")
        asked = [*self.inside, "ctr", "version"]
        until(lambda: subprocess.run(asked, capture_output=True).returncode == 0, 60, "containerd answers")
        self.import_image(pause_rootfs(self.folder / "pause"), "localhost/pause:1", {"Entrypoint": ["/pause"]})
        self.import_image(busybox_rootfs(self.folder / "busybox"), "localhost/busybox:1")
        self.start_kubelet(signed=False)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the node is Ready; it is not even there before its kubelet has said so."""
        until(lambda: self.shell("kubectl get node node1", self.folder).returncode == 0, 120, "the kubelet registers")
        self.kubectl("wait --for=condition=Ready node/node1 --timeout=180s")

    def import_image(self, rootfs: Path, name: str, config: dict[str, Any] | None = None) -> None:
        import_image(self.ctr, self.folder, rootfs, name, config)

    def sign_kubelet(self) -> None:
        """Have the cluster sign the kubelet's certificate, as docs/deployment.md says under names of pods."""
        self.stop("kubelet")
        self.start_kubelet(signed=True)
        for request in until(lambda: self.get("csr")["items"], 120, "the kubelet asks for its certificate"):
            self.kubectl(f"certificate approve {request['metadata']['name']}")

    def start_kubelet(self, signed: bool) -> None:
        """Start the kubelet. Its certificate is its own as kubeadm leaves it, or one that the cluster is to sign."""
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.folder / "keys/ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{CGROUP}",
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%"},
            "failSwapOn": False,
            "imageGCHighThresholdPercent": 100,
            "makeIPTablesUtilChains": False,
            "maxOpenFiles": 20000,
            "oomScoreAdj": 0,
            "resolvConf": "",
            "serverTLSBootstrap": signed,
        }
        (self.folder / "kubelet.json").write_text(json.dumps(config))
        self.start(
            "kubelet",
            *("env", "AWS_EC2_METADATA_DISABLED=true", f"{PROGRAMS}/bin/kubelet", _GATES),
            *(f"--config={self.folder}/kubelet.json", f"--kubeconfig={self.folder}/keys/node1.kubeconfig"),
            *("--container-runtime=remote", "--container-runtime-endpoint=unix:///run/containerd/containerd.sock"),
            *(f"--root-dir={self.folder}/kubelet", f"--cert-dir={self.folder}/kubelet/pki"),
            *("--hostname-override=node1", f"--node-ip={ADDRESS}", "--pod-infra-container-image=localhost/pause:1"),
        )

    def down(self) -> None:
        """End everything on the node by what is its own: its cgroups and its mount namespace. Both go, too."""
        ours = self._namespace(self._holder.pid)
        deadline = time.monotonic() + 60
        while pids := {*_below(CGROUP), *self._sharers(ours)} - {self._holder.pid}:
            assert time.monotonic() < deadline, f"cannot end processes {sorted(pids)}"
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for daemon in self._running.values():
                daemon.poll()
            time.sleep(0.1)
        self._holder.kill()
        self._holder.wait()
        remove_cgroups(CGROUP)
        assert [root for root in _hierarchies() if (root / CGROUP).exists()] == []

    def _isolate(self) -> None:
        for place in ("/run", "/var/lib", "/var/log"):
            self.run("mount", "-t", "tmpfs", "tmpfs", place)
        stand_ins = self.folder / "sysctl"
        stand_ins.mkdir()
        for name in MACHINE_WIDE:
            copy = stand_ins / name.replace("/", ".")
            copy.write_text(Path("/proc/sys", name).read_text())
            self.run("mount", "--bind", str(copy), f"/proc/sys/{name}")
        self.run("mount", "--make-rshared", "/")
        self.run("sysctl", "--quiet", "--write", "net.ipv4.ip_forward=1")
        link = f"link add kepler0 type veth peer name kepler1\nlink set kepler1 up\naddr add {ADDRESS}/32 dev kepler0"
        for line in ("link set lo up", *link.splitlines(), "link set kepler0 up"):
            self.run("ip", *line.split())
        for root in _hierarchies():
            (root / CGROUP).mkdir()
            for name in ("cpuset.cpus", "cpuset.mems"):
                # Empty in a new cgroup of v1, which then takes no process; not there in the root of v2.
                if (root / name).exists():
                    (root / CGROUP / name).write_text((root / name).read_text())

    def _control_plane(self) -> None:
        keys = self.folder / "keys"
        made = Credentials(keys, SERVER)
        made.sign("apiserver", "/CN=kube-apiserver", f"IP:{ADDRESS},IP:10.96.0.1,DNS:kubernetes.default.svc")
        made.sign("to-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet-client")
        made.kubeconfig("admin", "/O=system:masters/CN=admin")
        made.kubeconfig("node1", "/O=system:nodes/CN=system:node:node1")
        manager = made.kubeconfig("manager", "/CN=system:kube-controller-manager")
        scheduler = made.kubeconfig("scheduler", "/CN=system:kube-scheduler")
        self.start("etcd", "etcd", f"--data-dir={self.folder}/etcd")
        self.start(
            "apiserver",
            *("env", "AWS_EC2_METADATA_DISABLED=true", f"{PROGRAMS}/bin/kube-apiserver", _GATES),
            *("--etcd-servers=http://127.0.0.1:2379", f"--bind-address={ADDRESS}", f"--advertise-address={ADDRESS}"),
            *(f"--tls-cert-file={keys}/apiserver.crt", f"--tls-private-key-file={keys}/apiserver.key"),
            *(f"--client-ca-file={keys}/ca.crt", "--kubelet-preferred-address-types=InternalIP"),
            *(f"--kubelet-client-certificate={keys}/to-kubelet.crt", f"--kubelet-client-key={keys}/to-kubelet.key"),
            *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
            *("--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.96.0.0/24"),
            *(f"--service-account-key-file={keys}/accounts.pub", "--allow-privileged=true"),
            f"--service-account-signing-key-file={keys}/accounts.key",
        )
        until(
            lambda: self.shell("kubectl get --raw /readyz", self.folder).returncode == 0, 120, "the API server answers"
        )
        self.start(
            "manager",
            *(f"{PROGRAMS}/bin/kube-controller-manager", f"--kubeconfig={manager}", _GATES, "--port=0"),
            *("--leader-elect=false", "--use-service-account-credentials=true", f"--root-ca-file={keys}/ca.crt"),
            f"--service-account-private-key-file={keys}/accounts.key",
            *(f"--cluster-signing-cert-file={keys}/ca.crt", f"--cluster-signing-key-file={keys}/ca.key"),
            "--controllers=*,-cloud-node-lifecycle,-service,-route,-ttl",
        )
        command = (f"{PROGRAMS}/bin/kube-scheduler", f"--kubeconfig={scheduler}", "--port=0", "--leader-elect=false")
        self.start("scheduler", *command)

    @staticmethod
    def _namespace(pid: int) -> str:
        return os.readlink(f"/proc/{pid}/ns/mnt")

    def _sharers(self, namespace: str) -> Iterator[int]:
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self._namespace(int(place.name)) == namespace:
                    yield int(place.name)


def _hierarchies() -> list[Path]:
    """Where cgroups are mounted, of both versions."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(place) for _, place, kind, *_ in mounts if kind in ("cgroup", "cgroup2")]


def _below(cgroup: str) -> Iterator[int]:
    """Processes in this cgroup and all below it, of every hierarchy."""
    for root in _hierarchies():
        for procs in (root / cgroup).glob("**/cgroup.procs"):
            with contextlib.suppress(OSError):
                yield from map(int, procs.read_text().split())


@contextmanager
def cluster(folder: Path) -> Iterator[Node]:
    """A cluster, up; nothing of it is left after, and the machine's settings are as before."""
    require(os.geteuid() == 0, "a cluster needs root")
    for program in ("etcd", "containerd", "ctr", "runc", "openssl", "ip", "nsenter"):
        require(shutil.which(program), f"needs {program}")
    require((PROGRAMS / "bin/kubelet").exists(), f"needs tests/cluster/build-kubernetes {PROGRAMS}")
    settings = {name: Path("/proc/sys", name).read_text() for name in MACHINE_WIDE}
    node = Node(folder)
    try:
        node.up()
        yield node
    finally:
        node.down()
    assert {name: Path("/proc/sys", name).read_text() for name in MACHINE_WIDE} == settings
