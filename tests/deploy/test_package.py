"""The Debian package on a machine with nothing but Debian's own packages, started by systemd with its hardening."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.deploy.image import Images
from tests.deploy.overlays import DEPLOY
from tests.e2e.conftest import free_port
from tests.needs import require

MACHINE = "localhost/machine"
DOCKERFILE = """
ARG BASE
FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends systemd systemd-sysv
COPY kepler-ebpf.deb /
RUN apt-get install -y --no-install-recommends /kepler-ebpf.deb
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require(shutil.which("dpkg-deb"), "needs dpkg-deb")
    folder = tmp_path_factory.mktemp("package")
    subprocess.run([DEPLOY / "debian/build", folder], check=True, stdout=subprocess.DEVNULL)
    (path,) = folder.glob("*.deb")
    return path


def test_the_same_input_gives_the_same_package(package: Path, tmp_path: Path) -> None:
    subprocess.run([DEPLOY / "debian/build", tmp_path], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / package.name).read_bytes() == package.read_bytes()


def test_it_has_every_file_of_the_source(package: Path) -> None:
    listing = subprocess.run(["dpkg-deb", "--contents", package], check=True, capture_output=True, text=True).stdout
    shipped = {line.split("dist-packages/")[1] for line in listing.splitlines() if "dist-packages/kepler_ebpf/" in line}
    source = DEPLOY.parent / "src"
    files = {
        str(path.relative_to(source))
        for folder in (source / "kepler_ebpf", source / "kepler_ebpf/bpf")  # the second is a link
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in shipped if not name.endswith("/")} == files
    assert "kepler_ebpf/bpf/slices.c" in files


def test_completions_are_where_the_shells_look(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path], check=True)
    for shell, place in {
        "bash": "bash-completion/completions/kepler-ebpf",
        "zsh": "zsh/vendor-completions/_kepler-ebpf",
        "fish": "fish/vendor_completions.d/kepler-ebpf.fish",
    }.items():
        assert (tmp_path / "usr/share" / place).read_text() == (DEPLOY / f"debian/kepler-ebpf.{shell}").read_text()


def test_debians_own_checker_finds_nothing(package: Path) -> None:
    require(shutil.which("lintian"), "lintian is not installed")
    found = subprocess.run(["lintian", "--allow-root", package], capture_output=True, text=True)
    assert found.stdout == ""
    assert found.returncode == 0, found.stderr


@pytest.mark.kernel
def test_systemd_runs_it_with_its_hardening(package: Path, images: Images, tmp_path: Path) -> None:
    port = free_port()
    shutil.copy(package, tmp_path / "kepler-ebpf.deb")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    images.build_from(tmp_path / "Dockerfile", tmp_path, MACHINE)
    settings = tmp_path / "settings"
    settings.write_text(f"KEPLER_LISTEN=127.0.0.1:{port}\nKEPLER_METRICS_INTERVAL=1s\n")
    flags = ["--privileged", "--systemd=always", "--network=host", f"--volume={settings}:/etc/default/kepler-ebpf:ro"]
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096"]
    images.podman("run", "--detach", "--name=machine", *limits, *flags, MACHINE, "/sbin/init")

    def inside(*command: str) -> str:
        return images.podman("exec", "machine", *command)

    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                assert "ok" in inside("kepler-ebpf", "health", "--listen", f"127.0.0.1:{port}")
                break
            except AssertionError as error:
                assert time.monotonic() < deadline, f"{error}\n{images.logs('machine')}"
                time.sleep(0.5)
        pid = inside("systemctl", "show", "--property=MainPID", "--value", "kepler-ebpf").strip()
        status = dict(line.split(":", 1) for line in inside("cat", f"/proc/{pid}/status").splitlines())
        assert status["NoNewPrivs"].strip() == "1"
        assert status["Seccomp"].strip() == "2"
        held = 1 << 38 | 1 << 39  # PERFMON, BPF
        assert int(status["CapPrm"], 16) == held
        assert int(status["CapBnd"], 16) & ~(held | 1 << 24 | 1 << 21) == 0, "and little else could ever be had"
        assert inside("stat", "--format=%a %U", "/var/lib/kepler-ebpf").strip() == "700 root"
        assert "no state is kept" not in inside("journalctl", "--unit=kepler-ebpf", "--no-pager")
        level = inside("systemd-analyze", "security", "--no-pager", "kepler-ebpf").splitlines()[-1]
        assert "OK" in level
        # What was disabled stays so; the same package once more is an upgrade for its scripts.
        inside("systemctl", "disable", "--now", "kepler-ebpf")
        inside("dpkg", "--install", "/kepler-ebpf.deb")
        assert inside("sh", "-c", "systemctl is-enabled kepler-ebpf || true").strip() == "disabled"
        assert inside("sh", "-c", "systemctl is-active kepler-ebpf || true").strip() == "inactive"
        inside("dpkg", "--remove", "kepler-ebpf")
        assert inside("sh", "-c", "command -v kepler-ebpf || echo gone").strip() == "gone"
        assert inside("sh", "-c", "ls /usr/lib/python3/dist-packages/kepler_ebpf 2>&1 || true").startswith("ls: cannot")
    finally:
        images.podman("rm", "--force", "--time=0", "machine")
