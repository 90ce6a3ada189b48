"""The image built from deploy/Dockerfile by podman, on a base that debootstrap makes from this machine's mirror."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kepler_ebpf import __version__
from tests.ahead import ahead
from tests.deploy.overlays import DEPLOY
from tests.needs import require
from tests.runtimes import unmount_below

BASE = "localhost/debian:base"
IMAGE = f"localhost/kepler-ebpf:{__version__}"
# How this machine reaches its package registries is its own affair; the build is told where it has to be.
_MACHINES_OWN = ("/etc/pip.conf", "/root/.config/pip", "/etc/ssl/certs", "/usr/share/ca-certificates", "/etc/hosts")


class Images:
    """podman with a store of its own."""

    def __init__(self, root: Path) -> None:
        for program in ("podman", "debootstrap", "runc"):
            require(shutil.which(program), f"needs {program}")
        require(os.geteuid() == 0, "building an image needs root")
        self.root = root
        self._runroot = tempfile.mkdtemp(prefix="podman-")  # podman takes at most 50 characters
        self.command = (
            "podman",
            *("--root", str(root / "images"), "--runroot", self._runroot),
            *("--cgroup-manager=cgroupfs", "--events-backend=file", "--runtime=runc"),
        )

    def podman(self, *arguments: str, seconds: float = 600) -> str:
        """Run podman; its output. Its own words are the failure's."""
        command = [*self.command, *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        assert answer.returncode == 0, f"{' '.join(command)}: {answer.stderr[-4000:]}"
        return answer.stdout

    def logs(self, name: str) -> str:
        """Both of a container's streams."""
        command = [*self.command, "logs", name]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout

    def build(self) -> None:
        """Make the base, then the image."""
        base = self.root / "base"
        source, suite = mirror()
        command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", suite, str(base), source]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
        archive = self.root / "base.tar"
        subprocess.run(["tar", "-C", base, "-cf", archive, "."], check=True)
        shutil.rmtree(base)
        self.podman("import", str(archive), BASE)
        archive.unlink()
        self.build_from(DEPLOY / "Dockerfile", DEPLOY.parent, IMAGE)

    def build_from(self, dockerfile: Path, context: Path, tag: str) -> None:
        """Build an image on the base."""
        shared = [f"--volume={path}:{path}:ro" for path in (*_MACHINES_OWN, "/etc/resolv.conf") if Path(path).exists()]
        self.podman(
            *("build", "--isolation=chroot", "--network=host", "--format=docker", "--ulimit=nofile=1024:1024"),
            *(f"--build-arg=BASE={BASE}", f"--file={dockerfile}", f"--tag={tag}", *shared),
            str(context),
        )

    def size_bytes(self) -> int:
        """What the image adds to its base."""
        sizes = [int(self.podman("image", "inspect", "--format={{.Size}}", name)) for name in (IMAGE, BASE)]
        return sizes[0] - sizes[1]

    def close(self) -> None:
        """Remove every container and mount, and the store."""
        self.podman("rm", "--all", "--force", "--time=0")
        self.podman("image", "unmount", "--all", "--force")
        unmount_below(self.root)
        unmount_below(Path(self._runroot))
        for place in (self.root, Path(self._runroot)):
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def stored() -> Iterator[Images]:
    """podman with the base and our image in its store."""
    images = built()
    try:
        yield images
    finally:
        images.close()


@ahead("images")
def built() -> Images:
    """The store, which is the caller's to close; nothing is left of one that could not be made."""
    images = Images(Path(tempfile.mkdtemp(prefix="kepler-image-", dir="/var/tmp")))
    try:
        images.build()
    except BaseException:
        images.close()
        raise
    return images


def mirror() -> tuple[str, str]:
    """Where this machine's own packages come from, and its release."""
    release = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    places = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*.sources")]
    text = "\n".join(path.read_text() for path in places if path.exists())
    found = re.search(r"^(?:URIs:|deb(?: \[.*\])?)\s+(http\S+)", text, re.MULTILINE)
    require(release and found, "cannot tell this machine's Debian mirror")
    return str(found and found[1]), str(release and release[1])
