"""The endpoint's tests once more, on the newest Python that Debian has: event loops change from one to the next.

Python 3.12 made asyncio.wait_for() await in place: what never waits no longer gave way to anything.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.ahead import ahead
from tests.deploy.image import mirror
from tests.needs import require

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build/newest-python"
PACKAGES = "python3-pytest,python3-hypothesis,python3-h11,python3-prometheus-client,python3-numpy,python3-cachetools,"
PACKAGES += "python3-bcrypt,python3-yaml,openssl"
# Unstable has the newest; on a day when its packages do not install, the stable release after 12 has one new enough.
SUITES = ("sid", "trixie")


@pytest.fixture(scope="module")
def newest() -> Path:
    """A Debian with its newest Python; made once, which takes about a minute."""
    return newest_debian()


@ahead("newest")
def newest_debian() -> Path:
    """Its root directory."""
    require(os.geteuid() == 0, "changing the root directory needs root")
    require(shutil.which("debootstrap"), "needs debootstrap")
    reasons = []
    for suite in SUITES:
        tree = KEPT / suite
        if (tree / "whole").exists():
            return tree
        shutil.rmtree(tree, ignore_errors=True)
        tree.parent.mkdir(parents=True, exist_ok=True)
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(tree), mirror()[0]]
        made = subprocess.run(command, capture_output=True, text=True, timeout=900)
        if made.returncode == 0:
            (tree / "whole").touch()
            return tree
        reasons.append(f"{suite}: {made.stdout[-1000:]}")
    raise AssertionError("\n".join(reasons))


def inside(tree: Path, *command: str) -> subprocess.CompletedProcess[str]:
    # No variable of this machine's Python may reach the other.
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "PYTHONPATH": "/project/src"}
    chroot = ["chroot", str(tree), "/usr/bin/env", "--chdir=/project", *command]
    return subprocess.run(chroot, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.kernel
def test_on_the_newest_python(newest: Path) -> None:
    tree = newest
    project = tree / "project"
    shutil.rmtree(project, ignore_errors=True)
    for folder in ("src", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / folder, project / folder, ignore=ignored, symlinks=False)
    shutil.copy(ROOT / "pyproject.toml", project)
    version = inside(tree, "python3", "-c", "import sys; print(sys.version_info >= (3, 12), sys.version)").stdout
    assert version.startswith("True"), version
    run = inside(
        tree,
        *("python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--ignore=tests/web/{Path(__file__).name}"),
        *("tests/web", "tests/views/test_negotiation.py", "tests/views/test_prometheus.py"),
    )
    assert run.returncode == 0, f"Python {version}\n{run.stdout[-6000:]}\n{run.stderr[-2000:]}"
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout.splitlines()[-1], run.stdout[-2000:]
