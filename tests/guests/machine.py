"""Whole machines under QEMU: Debian with systemd and our package, on kernels of several ages.

Software emulation, so no KVM is needed. What is slow to make (the root file system, kernels) is kept in
``build/guests`` between runs; every boot starts from the same image and throws away what it wrote.
"""

from __future__ import annotations

import json
import lzma
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.image import mirror
from tests.deploy.overlays import DEPLOY
from tests.e2e.conftest import free_port
from tests.needs import require

KEPT = DEPLOY.parent / "build/guests"
PROGRAMS = ("qemu-system-x86_64", "debootstrap", "mkfs.ext4", "depmod", "cpio", "busybox", "dpkg-deb")
PACKAGES = "systemd-sysv,dbus,udev,busybox-static,runc,iproute2,python3,ca-certificates"
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "crc32c_generic", "ext4")
_SUITE = "bookworm"
_BOOT_SECONDS = 600.0

_INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do /bin/busybox insmod "$module" || echo "cannot load $module"; done < /order
/bin/busybox ifconfig lo 127.0.0.1 up
for card in /sys/class/net/e*; do
    /bin/busybox ifconfig "${card##*/}" 10.0.2.15 netmask 255.255.255.0 up
done
until /bin/busybox mount -t ext4 -o noatime /dev/vda /root; do /bin/busybox sleep 0.2; done
/bin/busybox umount /proc /sys
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
"""


@dataclass(frozen=True)
class Kernel:
    """A kernel as Debian packages it: ``release`` (``uname -r``), and the files to boot."""

    release: str
    image: Path
    initrd: Path


class Workshop:
    """Makes kernels and the root file system."""

    def __init__(self, root: Path = KEPT) -> None:
        for program in PROGRAMS:
            require(shutil.which(program), f"needs {program}")
        self.root = root
        self._mirror = mirror()[0]
        root.mkdir(parents=True, exist_ok=True)

    def kernel(self, suite: str) -> Kernel:
        """The suite's newest cloud kernel."""
        place = self.root / suite
        if not (place / "initrd").exists():
            shutil.rmtree(place, ignore_errors=True)
            for package in self._download(suite, place):
                _run("dpkg-deb", "--extract", package, place / "files")
            self._initrd(place)
        (modules,) = _modules(place)
        image = next(
            path for path in (place / "files/boot" / f"vmlinuz-{modules.name}", modules / "vmlinuz") if path.exists()
        )
        return Kernel(modules.name, image, place / "initrd")

    def disk(self) -> Path:
        """An ext4 image of Debian with systemd and what our package depends on; our package itself is not in it."""
        image = self.root / "root.ext4"
        if not image.exists():
            tree = self.root / "tree"
            shutil.rmtree(tree, ignore_errors=True)
            _run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", _SUITE, tree, self._mirror)
            depends = _depends()
            _run("chroot", tree, "apt-get", "install", "-y", "--no-install-recommends", *depends)
            (tree / "etc/hostname").write_text("guest\n")
            (tree / "etc/fstab").write_text("")
            _run("chroot", tree, "apt-get", "clean")
            _make_ext4(tree, image)
            shutil.rmtree(tree)
        return image

    def disk_with(self, package: Path, script: str) -> Path:
        """The image with our package installed and ``script`` run by systemd once all is up."""
        image, mounted = self.root / "guest.ext4", self.root / "mounted"
        shutil.copy(self.disk(), image)
        mounted.mkdir(exist_ok=True)
        _run("mount", "-o", "loop", image, mounted)
        try:
            shutil.copy(package, mounted / "kepler-ebpf.deb")
            _run("chroot", mounted, "dpkg", "--install", "/kepler-ebpf.deb")
            (mounted / "etc/default/kepler-ebpf").write_text(
                "KEPLER_METRICS_INTERVAL=1s\nKEPLER_SYSTEM_SLICES=on\nKEPLER_EXIT_HOLD=10m\n"
            )
            (mounted / "guest.py").write_text(script)
            (mounted / "etc/systemd/system/guest.service").write_text(
                "[Unit]\nAfter=kepler-ebpf.service dbus.service\n[Service]\nType=oneshot\n"
                "ExecStart=/usr/bin/python3 /guest.py\nStandardOutput=journal+console\nStandardError=journal+console\n"
                "[Install]\nWantedBy=multi-user.target\n"
            )
            _run("chroot", mounted, "systemctl", "enable", "guest.service", "kepler-ebpf.service")
        finally:
            _run("umount", mounted)
        return image

    def _download(self, suite: str, place: Path) -> list[Path]:
        """With the machine's own apt, on lists of its own. Since Debian 14 image and modules are packages apart."""
        (place / "lists/partial").mkdir(parents=True)
        (place / "archives/partial").mkdir(parents=True)
        (place / "sources.list").write_text(f"deb [trusted=yes] {self._mirror} {suite} main\n")
        options = [
            *("-o", f"Dir::Etc::SourceList={place}/sources.list", "-o", "Dir::Etc::SourceParts=-"),
            *("-o", f"Dir::State::Lists={place}/lists", "-o", f"Dir::Cache={place}", "-o", "APT::Sandbox::User=root"),
        ]
        _run("apt-get", *options, "update")
        names = ["linux-image-cloud-amd64"]
        for name in names:
            depends = _run("apt-cache", *options, "depends", "--important", name)
            names += re.findall(r"Depends: (linux-(?:image|binary|modules)-\d\S+)", depends)
        _run("apt-get", *options, "download", *names[1:], folder=place)
        return list(place.glob("*.deb"))

    def _initrd(self, place: Path) -> None:
        tree, (modules,) = place / "initramfs", _modules(place)
        base = modules.parents[2]
        _run("depmod", "--basedir", base, modules.name)
        wanted = _order((modules / "modules.dep").read_text())
        (tree / "bin").mkdir(parents=True)
        shutil.copy("/bin/busybox", tree / "bin/busybox")
        order = []
        for number, name in enumerate(wanted):
            data = (modules / name).read_bytes()
            target = f"{number:02d}-{Path(name).name.removesuffix('.xz')}"
            (tree / target).write_bytes(lzma.decompress(data) if name.endswith(".xz") else data)
            order.append(f"/{target}")
        (tree / "order").write_text("\n".join(order) + "\n")
        (tree / "init").write_text(_INIT)
        (tree / "init").chmod(0o755)
        names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
        archive = subprocess.run(
            ["cpio", "--create", "--format=newc", "--quiet"], input=names.encode(), cwd=tree, stdout=subprocess.PIPE
        )
        (place / "initrd").write_bytes(archive.stdout)


def our_package(folder: Path) -> Path:
    """Our Debian package, built into this folder."""
    subprocess.run([DEPLOY / "debian/build", folder], check=True, stdout=subprocess.DEVNULL)
    (package,) = folder.glob("*.deb")
    return package


@dataclass
class Guest:
    """A running machine: its collector answers on ``port`` here; ``console`` has what it printed."""

    port: int
    console: Path
    process: subprocess.Popen[bytes]

    def metrics(self) -> str:
        """The collector's page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60) as answer:
            return str(answer.read().decode())

    def wait_for(self, word: str) -> dict[str, Any]:
        """The JSON that the guest prints behind this word."""
        deadline = time.monotonic() + _BOOT_SECONDS
        while time.monotonic() < deadline:
            text = self.console.read_text(errors="replace")
            if found := re.search(rf"\b{word} (\{{.*\}})\s*$", text, re.MULTILINE):
                document: dict[str, Any] = json.loads(found[1])
                return document
            assert self.process.poll() is None, f"the guest ended:\n{text[-4000:]}"
            assert "Kernel panic" not in text, text[-4000:]
            time.sleep(0.5)
        raise AssertionError(f"no {word!r} in {_BOOT_SECONDS:.0f} s:\n{text[-4000:]}")


@contextmanager
def boot(kernel: Kernel, disk: Path, console: Path, *arguments: str) -> Iterator[Guest]:
    """Run the machine; ``arguments`` go to its kernel. Nothing it writes is kept."""
    port = free_port()
    command: list[str | Path] = [
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"),
        *("-nographic", "-no-reboot", "-kernel", kernel.image, "-initrd", kernel.initrd),
        *("-append", " ".join(["console=ttyS0", "panic=-1", "quiet", "systemd.show_status=0", *arguments])),
        *("-drive", f"file={disk},format=raw,if=virtio,snapshot=on"),
        *("-nic", f"user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:9102"),
    ]
    with console.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield Guest(port, console, process)
        finally:
            process.kill()
            process.wait()


def _modules(place: Path) -> list[Path]:
    """Where a kernel's modules are; newer releases have them below /usr."""
    return [path for base in ("lib", "usr/lib") for path in (place / "files" / base / "modules").glob("*")]


def _order(dependencies: str) -> list[str]:
    """The files of MODULES and of all they need, each after those it needs (modules.dep(5))."""
    needs = {}
    for line in dependencies.splitlines():
        file, _, others = line.partition(":")
        needs[file] = others.split()
    found: list[str] = []
    for module in MODULES:
        wanted = [f for f in needs if re.fullmatch(rf"{module}\.ko(\.xz)?", Path(f).name)]
        for file in wanted[:1]:  # none where it is built into this kernel
            found += [f for f in [*reversed(needs[file]), file] if f not in found]
    return found


def _depends() -> list[str]:
    """What our Debian package depends on and recommends."""
    control = (DEPLOY / "debian/control").read_text()
    fields = re.findall(r"^(?:Depends|Recommends): (.*)$", control, re.MULTILINE)
    return [re.split(r"[ (]", name.strip())[0] for field in fields for name in field.split(",")]


def _make_ext4(tree: Path, image: Path) -> None:
    partial = image.with_suffix(".partial")
    _run("mkfs.ext4", "-q", "-F", "-d", tree, partial, "1536M")
    partial.rename(image)


def _run(*command: str | Path, folder: Path | None = None) -> str:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    answer = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=900, cwd=folder, env=environment
    )
    assert answer.returncode == 0, f"{' '.join(map(str, command))}: {answer.stdout[-2000:]}{answer.stderr[-4000:]}"
    return answer.stdout
