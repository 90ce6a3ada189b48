"""Loading: what fails is told whole, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from kepler_ebpf.errors import KeplerError
from kepler_ebpf.host.hierarchy import Hierarchy
from kepler_ebpf.kernel import btf, launch
from kepler_ebpf.kernel.launch import load_programs
from kepler_ebpf.kernel.offsets import offsets
from kepler_ebpf.kernel.tables import BpfTables
from tests.needs import require

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).parents[2]
SIZES = {"ROWS": 64, "CGROUPS": 64, "CPUS": 2, "PACKAGES": 1, "HINTS": 256}


def test_a_compile_error_is_shown_with_its_line_of_c() -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    with pytest.raises(KeplerError) as caught:
        load_programs({name: size for name, size in SIZES.items() if name != "PACKAGES"})
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert "bpf/slices.c:" in message
    assert "PACKAGES" in message
    assert "Traceback" not in message


def test_a_drifted_layout_does_not_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The offsets numpy uses are compiled in: a compiler that lays a struct out differently stops the start."""
    require(os.geteuid() == 0, "loading BPF programs needs root")
    code = (
        f"import sys\nSIZES = {SIZES}\n"
        "from kepler_ebpf.kernel import loader\n"
        "claim = '__builtin_offsetof(struct use, cycles) == 24'\n"
        "loader.assertions = lambda _: f'_Static_assert({claim}, \"use.cycles\");'\n"
        "try:\n"
        "    loader.load(SIZES)\n"
        "except loader.LoadError:\n"
        "    sys.exit(3)\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 3
    assert "use.cycles" in answer.stderr


@pytest.mark.parametrize("packages", [8, 64, 128])
def test_any_number_of_packages_loads(packages: int) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    events = {"CYCLES": 1, "MISSES": 1, "INSTRUCTIONS": 1}
    load_programs({**SIZES, "CPUS": 512, "PACKAGES": packages, **events}).close()


@pytest.mark.parametrize("controller", ["", "memory", "cpuacct"])
def test_the_kernel_tells_its_offsets(controller: str) -> None:
    require(btf.KERNEL.exists(), "needs a kernel with BTF")
    assert offsets(btf.kernel_types(), 3, controller)["HIERARCHY"] == 3
    loaded = load_programs(SIZES, Hierarchy(Path("/"), 3, controller))
    loaded.close()
    assert "cgroup_rmdir" in loaded.links


def test_a_kernel_without_type_information_is_refused_in_a_line() -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    code = (
        "import pathlib, sys\n"
        "from kepler_ebpf.kernel import btf, loader\n"
        "btf.KERNEL = pathlib.Path('/nonexistent')\n"
        "try:\n"
        f"    loader.load({SIZES})\n"
        "except loader.LoadError as error:\n"
        "    sys.exit(str(error))\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "CONFIG_DEBUG_INFO_BTF" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_without_the_right_to_read_strings_all_is_counted_the_same() -> None:
    """As under lockdown=confidentiality: no program calls a helper that reads the kernel's memory by address."""
    require(os.geteuid() == 0, "loading BPF programs needs root")
    code = (
        "from kepler_ebpf.kernel import loader\n"
        f"bpf = loader.compile_programs({{**{SIZES}, **loader.offsets(loader.types_of_kernel(), 0, '')}})\n"
        "for name in (*loader.TRACEPOINTS, loader.OPTIONAL):\n"
        "    code = bpf.dump_func(name.encode())\n"
        "    calls = {code[at + 4:at + 8] for at in range(0, len(code), 8) if code[at] == 0x85}\n"
        "    print(*(int.from_bytes(call, 'little') for call in calls))\n"
        f"print(*loader.load({SIZES}, strings=False))\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *calls, names = answer.stdout.splitlines()
    assert not {"4", "45", "112", "113", "114", "115"} & set(" ".join(calls).split()), calls
    assert "link:cgroup_mkdir" in names


def test_a_hostile_folder_is_not_imported_from(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    for name in ("bcc", "json", "kepler_ebpf", "socket"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    script = tmp_path.parent / "start.py"
    script.write_text(f"from kepler_ebpf.kernel.launch import load_programs\nload_programs({SIZES}).close()\n")
    subprocess.run([sys.executable, str(script)], cwd=tmp_path, check=True)
    assert not (tmp_path / "ran").exists()


def test_a_loader_that_is_killed_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_START", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(KeplerError, match="memory") as caught:
        load_programs(SIZES)
    assert "\n" not in str(caught.value)


STEPS = ("may_read_strings", "types_of_kernel", "compile_programs", "load_typed", "attach_program")
LAST = ("resource.getrusage", "socket.send_fds")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", [*STEPS, *LAST])
def test_a_loader_killed_at_any_step_is_said_and_leaves_nothing(
    step: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL before and after each of them; what was sent whole before it died counts."""
    require(os.geteuid() == 0, "loading BPF programs needs root")
    where, _, name = f"loader.{step}".rpartition(".")
    kill = "os.kill(os.getpid(), 9)"
    call = f"[{kill}, real(*a, **k)]" if moment == "before" else f"[real(*a, **k), {kill}]"
    replaced = f"real = {where}.{name}; {where}.{name} = lambda *a, **k: {call}"
    start = launch._START.replace(
        "from kepler_ebpf.kernel.loader import main; main()",
        f"import os; from kepler_ebpf.kernel import loader; {replaced}; loader.main()",
    )
    assert start != launch._START
    monkeypatch.setattr(launch, "_START", start)
    descriptors = len(os.listdir("/proc/self/fd"))
    if (step, moment) == (LAST[-1], "after"):
        load_programs(SIZES).close()
    else:
        with pytest.raises(KeplerError, match="the BPF loader") as caught:
            load_programs(SIZES)
        assert "Traceback" not in str(caught.value)
    # Programs, maps and links live as long as somebody has a descriptor of theirs: the loader is gone.
    assert len(os.listdir("/proc/self/fd")) == descriptors


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
    tree = tmp_path / "tree"  # what builds leave in a tree is in the way of another one
    shutil.copytree(ROOT, tree, symlinks=True, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.egg-info"))
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(tree)], check=True)
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
