"""Loading: what fails is told whole, and nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from kepler_ebpf.errors import KeplerError
from kepler_ebpf.host.hierarchy import Hierarchy
from kepler_ebpf.kernel import btf
from kepler_ebpf.kernel.launch import load_programs
from kepler_ebpf.kernel.loader import cgroup_defines
from kepler_ebpf.kernel.tables import BpfTables
from tests.needs import require

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).parents[2]


def test_a_compile_error_is_shown_with_its_line_of_c() -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    with pytest.raises(KeplerError) as caught:
        load_programs({"ROWS": 64, "CGROUPS": 64, "CPUS": 2})
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert "bpf/slices.c:" in message
    assert "PACKAGES" in message
    assert "Traceback" not in message


def test_a_drifted_layout_does_not_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The offsets numpy uses are compiled in: a compiler that lays a struct out differently stops the start."""
    require(os.geteuid() == 0, "loading BPF programs needs root")
    code = (
        "import sys\n"
        "from kepler_ebpf.kernel import loader\n"
        "claim = '__builtin_offsetof(struct row, cycles) == 24'\n"
        "loader.assertions = lambda _: f'_Static_assert({claim}, \"row.cycles\");'\n"
        "try:\n"
        "    loader.load({'ROWS': 64, 'CGROUPS': 64, 'CPUS': 2, 'PACKAGES': 1}, {})\n"
        "except loader.LoadError:\n"
        "    sys.exit(3)\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 3
    assert "row.cycles" in answer.stderr


def test_several_packages_compile_and_load() -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    load_programs({"ROWS": 64, "CGROUPS": 64, "CPUS": 512, "PACKAGES": 8, "CYCLES": 1, "MISSES": 1}).close()


@pytest.mark.parametrize("controller", ["", "memory", "cpuacct"])
def test_the_kernel_tells_its_offsets(controller: str) -> None:
    require(btf.KERNEL.exists(), "needs a kernel with BTF")
    assert cgroup_defines(3, controller)["HIERARCHY"] == 3
    hierarchy = Hierarchy(Path("/"), 3, controller)
    loaded = load_programs({"ROWS": 64, "CGROUPS": 64, "CPUS": 2, "PACKAGES": 1}, hierarchy)
    loaded.close()
    assert loaded.sees_cgroups
    assert "cgroup_rmdir" in loaded.links


def test_a_kernel_without_type_information_loads_without_events_of_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run by hand as the loader's main() does: what it has loaded goes with its process."""
    require(os.geteuid() == 0, "loading BPF programs needs root")
    monkeypatch.setattr(btf, "KERNEL", Path("/nonexistent"))
    assert cgroup_defines(0, "") == {}
    code = (
        "from kepler_ebpf.kernel import loader\n"
        "print(*loader.load({'ROWS': 64, 'CGROUPS': 64, 'CPUS': 2, 'PACKAGES': 1}, {}))\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "link:sched_switch" in answer.stdout
    assert "cgroup" not in answer.stdout.replace("map:cgroup", "").replace("map:free_cgroups", "")


def test_closing_detaches(accounting: Callable[..., BpfTables]) -> None:
    books = accounting()
    fds = [*books.loaded.links.values(), *books.loaded.programs.values()]
    books.close()
    for fd in fds:
        with pytest.raises(OSError):
            os.fstat(fd)


def test_a_wheel_carries_the_bpf_sources(tmp_path: Path) -> None:
    """Built, installed elsewhere, and run from there: the doctor loads the programs."""
    require(os.geteuid() == 0, "loading BPF programs needs root")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("kepler_ebpf-*.whl")
    place = tmp_path / "venv"
    venv.create(place, system_site_packages=True, symlinks=True)
    site = next((place / "lib").glob("python*")) / "site-packages"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    # The libraries of this environment, but not its link to the source tree.
    libraries = next(path for path in sys.path if path.endswith("site-packages") and "venv" in path)
    answer = subprocess.run(
        [str(place / "bin/python"), "-m", "kepler_ebpf", "doctor"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{site}:{libraries}"},
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    where = subprocess.run(
        [str(place / "bin/python"), "-c", "import kepler_ebpf; print(kepler_ebpf.__file__)"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{site}:{libraries}"},
    )
    assert where.stdout.startswith(str(tmp_path))
