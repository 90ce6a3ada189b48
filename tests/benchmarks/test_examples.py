"""The examples are run as a reader would run them."""

from __future__ import annotations

import math
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from kepler_ebpf.report.groups import group
from kepler_ebpf.stat import export
from kepler_ebpf.stat.text import Measured
from tests.e2e.conftest import COMMAND
from tests.kernel.workloads import spinner
from tests.needs import require
from tests.report.runs import STORMY, Recorded, opened, storm
from tests.stat.test_text import usage

RECORDING_IN_PANDAS = Path(__file__).parents[2] / "benchmarks/examples/recording_in_pandas.py"
ENERGY_IN_CI = Path(__file__).parents[2] / "benchmarks/examples/energy_in_ci.py"


def run_over(
    tmp_path: Path, old: list[float | None], new: list[float | None], *words: str
) -> subprocess.CompletedProcess[str]:
    """The example, over runs that used so many joules each."""
    measured = [
        Measured("title", [usage(math.nan if joules is None else joules) for joules in runs], ["a", "|", "`b`"])
        for runs in (old, new)
    ]
    (tmp_path / "document").write_text(export.as_json(measured, {"power_source": "rapl"}))
    stat = f"import shutil, sys; shutil.copy({str(tmp_path / 'document')!r}, sys.argv[sys.argv.index('--json') + 1])"
    return subprocess.run(
        [sys.executable, str(ENERGY_IN_CI), *words, "old", "new | `x`"],
        env={**os.environ, "KEPLER_EBPF": shlex.join([sys.executable, "-c", stat])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("old", "new", "words", "code"),
    [
        ([1.0] * 7, [1.0] * 7, [], 0),
        ([1.0] * 7, [60.0] * 7, [], 1),
        ([1.0] * 6, [60.0] * 6, [], 2),
        ([1.0] * 6, [1.0] * 6, ["--max-joules", "0.5"], 1),
        ([1.0], [60.0], ["-r", "1"], 2),
        ([None] * 7, [1.0] * 7, [], 2),
        ([0.0] * 7, [1.0] * 7, [], 2),
        ([1.0] * 7, [1.0] * 7, ["--max-joules", "nan"], 2),
        ([1.0] * 7, [1.0] * 7, ["--tolerance", "nan"], 2),
        ([1.0] * 7, [1.0] * 7, ["-r", "1_0"], 2),
    ],
)
def test_only_what_is_known_to_use_no_more_passes(
    old: list[float | None], new: list[float | None], words: list[str], code: int, tmp_path: Path
) -> None:
    done = run_over(tmp_path, old, new, *words)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert bool(done.stderr) == (code == 2)


def test_any_program_is_one_cell_of_the_table(tmp_path: Path) -> None:
    lines = run_over(tmp_path, [1.0] * 7, [60.0] * 7).stdout.splitlines()
    assert len(lines) >= 4
    for row in lines[:4]:
        assert len(re.split(r"(?<!\\)\|", row)) == 6
    assert lines[-1].startswith(r"**`` new \| `x` ``: ")


@pytest.mark.kernel
def test_a_program_that_costs_more_does_not_pass() -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    old, new = (f"{part[0]} -S -c '{part[3]}'" for part in (spinner(0.03), spinner(0.12)))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ENERGY_IN_CI), "-r", "8", *words],
            env={**os.environ, "KEPLER_EBPF": " ".join(COMMAND)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    worse = run(old, new)
    assert worse.returncode == 1, worse.stderr
    assert "more energy than before (2 % allowed)" in worse.stdout
    assert worse.stdout.splitlines()[0] == "| program | joules | ± | seconds |"
    better = run(new, old)
    assert better.returncode == 0, better.stdout
    over = run("--max-joules", "0.000001", new, old)
    assert over.returncode == 1
    assert "1e-06 J allowed" in over.stdout
    assert run(old, "no-such-program").returncode == 127


def test_a_recording_is_read_with_pandas_alone(tmp_path: Path) -> None:
    for needed in ("pandas", "pyarrow"):
        require(find_spec(needed), f"the example reads a recording with {needed}")
    machine = Recorded(tmp_path / "run", STORMY, 2)
    storm(machine, 1, 60)
    machine.close()
    done = subprocess.run(
        [sys.executable, "-I", str(RECORDING_IN_PANDAS), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told = opened(tmp_path / "run")
    most = float(group(told, "process").total[0])
    assert done.stdout.splitlines()[2].split()[2] == f"{most:.3f}"
    gaps = re.findall(r"by (process|container) the books are off by (\S+) J", done.stdout)
    assert [level for level, _ in gaps] == ["process", "container"]
    assert all(float(gap) < 1e-9 * told.measured.sum() for _, gap in gaps)
