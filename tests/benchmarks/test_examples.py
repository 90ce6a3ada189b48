"""The examples are run as a reader would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import COMMAND
from tests.kernel.workloads import spinner
from tests.needs import require

ENERGY_IN_CI = Path(__file__).parents[2] / "benchmarks/examples/energy_in_ci.py"


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
