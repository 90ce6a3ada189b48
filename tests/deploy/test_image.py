"""The image in a real container, with exactly the mounts and capabilities of each overlay."""

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

from tests.deploy.image import IMAGE, Images
from tests.deploy.overlays import OVERLAYS, overlay
from tests.e2e.conftest import free_port
from tests.kernel.workloads import spinner
from tests.needs import require
from tests.runtimes import BUSY, runc
from tests.workloads.kubelet import make_certificate

pytestmark = pytest.mark.kernel

WATTS = 50.0
KEPT = 1 << 2 | 1 << 38 | 1 << 39  # DAC_READ_SEARCH, PERFMON, BPF
SECRET = "open sesame"
PODS = {name: str(overlay(name)["DaemonSet"]) for name in OVERLAYS}
DIFFERENT = sorted({pod: name for name, pod in sorted(PODS.items())}.values())
"""Overlays whose containers differ; the last by name of those that are alike."""
OURS = {"KEPLER_KUBELET_URL": "off", "KEPLER_METRICS_INTERVAL": "1s"}
"""What the test sets otherwise than the overlay: there is no kubelet here, and nobody wants to wait for 30 seconds."""


class Powercap:
    """A prepared powercap tree below a /sys of its own: one package that draws 50 W."""

    def __init__(self, root: Path) -> None:
        self.sys = root / "sys"
        zone = self.sys / "class/powercap/intel-rapl:0"
        zone.mkdir(parents=True)
        for real in ("devices", "fs/cgroup", "kernel"):
            (self.sys / real).mkdir(parents=True)
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


@pytest.fixture
def tracefs() -> Iterator[None]:
    """Mounted, as every host with systemd has it."""
    mounted = Path("/sys/kernel/tracing/events").is_dir()
    if not mounted:
        subprocess.run(["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"], check=True)
    yield
    if not mounted:
        subprocess.run(["umount", "/sys/kernel/tracing"], check=True)


def flags_of(daemonset: dict[str, Any], powercap: Powercap, secrets: Path, port: int) -> list[str]:
    """What a kubelet would make of the DaemonSet, for podman."""
    pod = daemonset["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    security = container["securityContext"]
    flags = ["--network=host", f"--env=KEPLER_LISTEN=127.0.0.1:{port}"]
    flags += ["--pid=host"] if pod["hostPID"] else []
    flags += ["--read-only", "--read-only-tmpfs=false"] if security["readOnlyRootFilesystem"] else []
    if security["privileged"]:
        flags.append("--privileged")
    else:
        assert security["seccompProfile"]["type"] == "RuntimeDefault"
        flags += ["--cap-drop=all", "--security-opt=no-new-privileges", f"--security-opt=seccomp={seccomp(secrets)}"]
        flags += [f"--cap-add={name}" for name in security["capabilities"]["add"]]
    limits = container["resources"]["limits"]
    flags.append(f"--memory={limits['memory'].replace('Mi', 'm')}")
    for variable in container["env"]:
        value = OURS.get(variable["name"], variable.get("value"))
        flags += [f"--env={variable['name']}={value}"] if value is not None else []
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        volume, target = volumes[mount["name"]], mount["mountPath"]
        if "emptyDir" in volume:
            flags.append(f"--tmpfs={target}:size=16m")
        elif "secret" in volume:
            flags.append(f"--volume={secrets}:{target}:ro")
        elif volume["hostPath"]["path"] == "/sys":
            flags.append(f"--volume={powercap.sys}:{target}:ro")
            flags += [f"--volume=/sys/{real}:{target}/{real}:ro" for real in ("devices", "fs/cgroup", "kernel")]
        else:
            flags.append(f"--volume={volume['hostPath']['path']}:{target}" + (":ro" if mount["readOnly"] else ""))
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
    args = overlay("privileged")["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]["args"]
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


@pytest.mark.parametrize("name", DIFFERENT)
def test_the_collector_runs_as_the_overlay_says(
    name: str, images: Images, tmp_path: Path, tracefs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    require(shutil.which("openssl"), "needs the openssl command")
    daemonset, secure, port = overlay(name)["DaemonSet"], name == "auth", free_port()
    with ExitStack() as stack:
        powercap = stack.enter_context(Powercap(tmp_path))
        flags = flags_of(daemonset, powercap, secrets(tmp_path / "secrets"), port)
        stack.enter_context(runc(tmp_path / "other", "other", f"/docker/{'e' * 64}", BUSY))
        host = stack.enter_context(subprocess.Popen(spinner(600)))
        stack.callback(host.kill)
        pid = stack.enter_context(collector(images, flags))
        wait_ready(images, port, secure)
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

        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert int(status["CapEff"], 16) & ~KEPT == 0, "nothing beyond the list is held after start-up"
        assert int(status["CapPrm"], 16) & ~KEPT == 0
        peak = peak_bytes(pid)
        with capsys.disabled():
            print(f"\n{name}: peak memory {peak / 2**20:.0f} MiB of 256, image {images.size_bytes() / 2**20:.0f} MiB")
        assert peak < 256 << 20
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
