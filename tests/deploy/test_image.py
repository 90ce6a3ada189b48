"""The image in a real container, with exactly the mounts, capabilities and limits of each overlay.

Three of the host's directories are stand-ins. /sys/class and /sys/devices have a powercap tree that draws 50 W and the
machine's own CPUs. /sys/fs/cgroup is the machine's hierarchy of cgroup v2, as where there is no other: a hybrid machine
has those of v1 below it, which a read-only mount of the whole leaves writable (docs/deployment.md says so).
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cgroups import cgroup_root
from tests.deploy.image import IMAGE, Images
from tests.deploy.overlays import OVERLAYS, container, daemonset, overlay
from tests.e2e.conftest import free_port
from tests.kernel.workloads import spinner
from tests.needs import require
from tests.runtimes import BUSY, runc
from tests.workloads.names.kubelet import make_certificate

pytestmark = pytest.mark.kernel

WATTS = 50.0
KEPT = 1 << 2 | 1 << 38 | 1 << 39  # DAC_READ_SEARCH, PERFMON, BPF
SECRET = "open sesame"
CAPABILITIES = {"SYS_RESOURCE": 24, "PERFMON": 38, "BPF": 39}
PODS = [(name, which) for name in OVERLAYS for kind, which in overlay(name) if kind == "DaemonSet"]
DIFFERENT = sorted({str(container(*pod)): pod for pod in sorted(PODS)}.values())
"""Pods whose containers differ, by overlay and DaemonSet; the last by name of those that are alike."""
OURS = {"KEPLER_KUBELET_URL": "off", "KEPLER_METRICS_INTERVAL": "1s"}
"""What the test sets otherwise than the overlay: there is no kubelet here, and nobody wants to wait for 30 seconds."""


class Powercap:
    """A prepared /sys/class and /sys/devices: one package that draws 50 W, and the machine's own CPUs."""

    def __init__(self, root: Path) -> None:
        self.sys = root / "sys"
        zone = self.sys / "devices/virtual/powercap/intel-rapl/intel-rapl:0"
        zone.mkdir(parents=True)
        (self.sys / "devices/system").mkdir()
        link = self.sys / "class/powercap/intel-rapl:0"
        link.parent.mkdir(parents=True)
        link.symlink_to("../../devices/virtual/powercap/intel-rapl/intel-rapl:0")  # as the kernel makes it
        self._energy = zone / "energy_uj"
        for name, text in (("name", "package-0"), ("max_energy_range_uj", "262143328850"), ("energy_uj", "0")):
            (zone / name).write_text(text + "\n")
        self._energy.chmod(0o400)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Powercap:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        with self._energy.open("r+") as file:
            while not self._stop.wait(0.01):
                file.seek(0)
                file.write(f"{round((time.monotonic() - began) * WATTS * 1e6)}\n")
                file.flush()


def stand_in(place: Path, powercap: Powercap) -> Path:
    """What is mounted for one of the host's directories."""
    if place in (Path("/sys/class"), Path("/sys/devices")):
        return powercap.sys / place.name
    return cgroup_root() if place == Path("/sys/fs/cgroup") else place


def flags_of(daemonset: dict[str, Any], powercap: Powercap, secrets: Path, port: int) -> list[str]:
    """What a kubelet would make of the DaemonSet, for podman."""
    pod = daemonset["spec"]["template"]["spec"]
    (one,) = pod["containers"]
    security = one["securityContext"]
    flags = ["--network=host", f"--env=KEPLER_LISTEN=127.0.0.1:{port}"]
    flags += ["--pid=host"] if pod["hostPID"] else []
    flags += ["--read-only", "--read-only-tmpfs=false"] if security["readOnlyRootFilesystem"] else []
    if security["privileged"]:
        flags += ["--privileged", "--cgroupns=host"]
    else:
        assert security["seccompProfile"]["type"] == "RuntimeDefault"
        flags += ["--cgroupns=private", "--cap-drop=all", "--security-opt=no-new-privileges"]
        flags.append(f"--security-opt=seccomp={seccomp(secrets)}")
        flags += [f"--cap-add={name}" for name in security["capabilities"]["add"]]
    limits = one["resources"]["limits"]
    flags += [f"--memory={limits['memory'].replace('Mi', 'm')}", f"--cpus={int(limits['cpu'].rstrip('m')) / 1000}"]
    for variable in one["env"]:
        value = OURS.get(variable["name"], variable.get("value"))
        flags += [f"--env={variable['name']}={value}"] if value is not None else []
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in one["volumeMounts"]:
        volume, target = volumes[mount["name"]], mount["mountPath"]
        if "emptyDir" in volume:
            flags.append(f"--tmpfs={target}:size=16m")
        elif "secret" in volume:
            flags.append(f"--volume={secrets}:{target}:ro")
        else:
            assert mount["readOnly"]
            place = Path(volume["hostPath"]["path"])
            flags.append(f"--volume={stand_in(place, powercap)}:{target}:ro")
            flags += [f"--volume={place}/system:{target}/system:ro"] if place.name == "devices" else []
    return flags


def seccomp(directory: Path, bpf: str = "CAP_BPF") -> Path:
    """The default profile of today's containerd and docker: this podman's own, with what CAP_BPF and CAP_PERFMON allow.

    Sources: containerd pull request 7301, moby pull request 43987 (both 2022); containers/common followed later.
    """
    profile = json.loads(Path("/usr/share/containers/seccomp.json").read_text())
    for call, capability in (("bpf", bpf), ("perf_event_open", "CAP_PERFMON")):
        for rule in profile["syscalls"]:
            rule["names"] = [name for name in rule["names"] if name != call]
        profile["syscalls"].append({"names": [call], "action": "SCMP_ACT_ALLOW", "includes": {"caps": [capability]}})
    profile["syscalls"] = [rule for rule in profile["syscalls"] if rule["names"]]
    path = directory / "seccomp.json"
    path.write_text(json.dumps(profile))
    return path


@contextmanager
def collector(images: Images, flags: list[str]) -> Iterator[int]:
    """The collector in a container; its process id on the host."""
    args = container("privileged")["args"]
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096", "--no-healthcheck"]
    images.podman("run", "--detach", "--name=collector", *limits, *flags, IMAGE, *args)
    try:
        yield int(images.podman("inspect", "--format={{.State.Pid}}", "collector"))
    finally:
        images.podman("rm", "--force", "--time=0", "collector")


def ask(port: int, path: str, secure: bool) -> str:
    request = urllib.request.Request(f"{'https' if secure else 'http'}://127.0.0.1:{port}{path}")
    if secure:
        request.add_header("Authorization", "Basic " + b64encode(f"prometheus:{SECRET}".encode()).decode())
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(request, timeout=10, context=context if secure else None) as answer:
        return str(answer.read().decode())


def wait_ready(images: Images, port: int, secure: bool) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            ask(port, "/readyz", secure)
            return
        except (OSError, urllib.error.URLError):
            assert time.monotonic() < deadline, images.logs("collector")
            time.sleep(0.2)


def secrets(directory: Path) -> Path:
    directory.mkdir()
    make_certificate(directory)
    hashed = bcrypt.hashpw(SECRET.encode(), bcrypt.gensalt(4)).decode()
    (directory / "web.yml").write_text(
        f"tls_server_config:\n  cert_file: ca.pem\n  key_file: key.pem\nbasic_auth_users:\n  prometheus: {hashed}\n"
    )
    return directory


def peak_bytes(pid: int) -> int:
    """Most memory the container ever used, on either version of cgroups."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for file in (
            Path(f"/sys/fs/cgroup/memory{path}/memory.max_usage_in_bytes"),
            Path(f"/sys/fs/cgroup{path}/memory.peak"),
        ):
            if (not controllers or "memory" in controllers) and file.exists():
                return int(file.read_text())
    raise AssertionError("no cgroup tells the container's memory")


def assert_bounded(images: Images, pid: int, one: dict[str, Any]) -> None:
    """The container can be no more than its overlay says: its capabilities, and nothing of the host to write to."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    held = {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd")}
    for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert held[kind] & ~KEPT == 0, f"{kind}: nothing beyond the list is held after start-up"
    if one["securityContext"]["privileged"]:
        return
    granted = sum(1 << CAPABILITIES[name] for name in one["securityContext"]["capabilities"]["add"])
    assert held["CapEff"] == held["CapPrm"] == KEPT & granted
    assert held["CapBnd"] & ~granted == 0, "nothing else can ever be had"
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    host = {fields[4]: fields[5].split(",") for fields in mounts if fields[4].startswith("/host/")}
    paths = {mount["mountPath"] for mount in one["volumeMounts"]}
    assert host.keys() >= {path for path in paths if path.startswith("/host/")}
    assert [target for target, options in host.items() if "ro" not in options] == []
    # And so it is, for uid 0 with all that the container has: cgroups are neither made, killed nor frozen.
    attempts = ["mkdir /host/sys/fs/cgroup/mine", "echo 0 >/host/sys/fs/cgroup/cgroup.procs", "mkdir /mine"]
    for command in (*attempts, "echo 1 >/host/sys/devices/system/cpu/cpu1/online", "echo 1 >/proc/sys/vm/drop_caches"):
        said = images.podman("exec", "collector", "sh", "-c", f"({command}) 2>&1 || true")
        assert "Read-only file system" in said, command


@pytest.mark.parametrize(("name", "which"), DIFFERENT)
def test_the_collector_runs_as_the_overlay_says(
    name: str, which: str, images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require(shutil.which("openssl"), "needs the openssl command")
    secure, port = name == "auth", free_port()
    with ExitStack() as stack:
        powercap = stack.enter_context(Powercap(tmp_path))
        flags = flags_of(daemonset(name, which), powercap, secrets(tmp_path / "secrets"), port)
        stack.enter_context(runc(tmp_path / "other", "other", f"/docker/{'e' * 64}", BUSY))
        host = stack.enter_context(subprocess.Popen(spinner(600)))
        stack.callback(host.kill)
        began = time.monotonic()
        pid = stack.enter_context(collector(images, flags))
        wait_ready(images, port, secure)
        started = time.monotonic() - began
        time.sleep(5)
        samples = {
            (sample.name, *sample.labels.values()): (sample.labels, sample.value)
            for family in text_string_to_metric_families(ask(port, "/metrics", secure))
            for sample in family.samples
        }
        of = {name: [entry for key, entry in samples.items() if key[0] == name] for name in {key[0] for key in samples}}

        ((zone, _),) = of["kepler_node_package_joules_total"]
        assert zone["source"] == "rapl-powercap"
        ((_, watts),) = of["kepler_node_power_watts"]
        assert watts == pytest.approx(WATTS, rel=0.1)
        containers = {labels["container_id"]: value for labels, value in of["kepler_container_joules_total"]}
        assert containers["e" * 64] > 0, "other containers are seen"
        processes = {labels["pid"]: value for labels, value in of["kepler_process_joules_total"]}
        assert processes[str(host.pid)] > 0, "the host's processes are seen"

        peak = peak_bytes(pid)
        with capsys.disabled():
            print(f"\n{name}, {which}: ready after {started:.0f} s within its CPU limit", end="; ")
            print(f"peak memory {peak / 2**20:.0f} MiB of 256; image {images.size_bytes() / 2**20:.0f} MiB")
        assert peak < 256 << 20
        assert_bounded(images, pid, container(name, which))
        assert "ok" in images.podman("exec", "collector", "kepler-ebpf", "health")
        assert os.path.exists(f"/proc/{pid}")


def test_a_seccomp_profile_that_forbids_bpf_is_named(images: Images, tmp_path: Path) -> None:
    profile = seccomp(tmp_path, bpf="CAP_SYS_ADMIN")
    flags = ["--cap-drop=all", "--cap-add=BPF", "--cap-add=PERFMON", f"--security-opt=seccomp={profile}"]
    with collector(images, flags):
        images.podman("wait", "collector")
        (line,) = images.logs("collector").splitlines()
        assert "a seccomp profile forbids it" in line
        assert images.podman("inspect", "--format={{.State.ExitCode}}", "collector").strip() == "1"
