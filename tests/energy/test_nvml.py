"""The real binding against the stand-in library: counters, processes, and GPUs that misbehave."""

from __future__ import annotations

import ctypes
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kepler_ebpf.energy.nvml import NvmlSource, open_nvml
from tests.e2e.conftest import Running, serve  # noqa: F401 (a fixture)
from tests.gpu.standin import Script, build


class Bench:
    """A source over the stand-in, polled by hand, with a clock of its own."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.source: NvmlSource | None = None

    def open(self) -> NvmlSource:
        import pynvml

        self.now_ns = 10**9
        assert open_nvml() is not None
        self.source = NvmlSource(pynvml, lambda: self.now_ns)
        self.source.recount()
        self.source.poll()
        self.source.read()
        return self.source

    def poll(self, *lines: str, seconds: float = 1.0) -> None:
        assert self.source is not None
        self.script.write(*lines)
        self.now_ns += round(seconds * 1e9)
        self.source.poll()

    def tick(self, *lines: str, seconds: float = 1.0) -> None:
        assert self.source is not None
        self.poll(*lines, seconds=seconds)
        self.poll(*lines, seconds=2.5)  # joules that nobody is known for wait for two seconds
        self.source.read()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loaded once into this process: whoever then asks for libnvidia-ml.so.1 gets it."""
    path = build(tmp_path_factory.mktemp("nvml"))
    ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    return path


@pytest.fixture
def bench(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    script = Script(tmp_path / "state")
    libc = ctypes.CDLL(None)  # the library reads the C environment
    libc.setenv(b"KEPLER_TEST_NVML", bytes(script.path), 1)
    yield Bench(script)
    libc.unsetenv(b"KEPLER_TEST_NVML")


def shares_of(source: NvmlSource, domain: int = 0) -> dict[int, float]:
    pids, weights = source.shares(domain)
    whole = weights.sum() or 1.0
    return dict(zip(pids.tolist(), (weights / whole).tolist()))


def test_joules_and_shares(bench: Bench) -> None:
    source = bench.open()
    assert [(d.component, d.index, d.uuid, d.model) for d in source.domains] == [("gpu", 0, "GPU-0", "Stand-in")]
    assert source.joules.tolist() == [0.0]
    bench.tick("gpu 0 6000 50000 0 0", "use 0 100 60 1000", "use 0 200 20 1000", "use 0 100 40 2000")
    assert source.joules.tolist() == [5.0]
    assert shares_of(source) == pytest.approx({100: 5 / 7, 200: 2 / 7})


def test_between_refreshes_the_figure_is_held(bench: Bench) -> None:
    source = bench.open()
    bench.tick("gpu 0 6000 50000 0 0", "use 0 100 60 1000")
    stamp = source.time_ns.copy()
    bench.tick("gpu 0 6000 50000 0 0", "use 0 100 60 1000", "use 0 300 90 3000")
    assert source.joules.tolist() == [5.0]
    assert source.time_ns.tolist() == stamp.tolist()
    assert shares_of(source) == {100: 1.0}
    bench.tick("gpu 0 7000 50000 0 0", "use 0 100 60 1000", "use 0 300 90 3000", seconds=9.0)
    assert source.joules.tolist() == [6.0]


def test_several_refreshes_between_two_samples_are_weighed_by_their_joules(bench: Bench) -> None:
    source = bench.open()
    for energy, pid, stamp in ((2000, 100, 1000), (5000, 200, 2000)):
        bench.poll(f"gpu 0 {energy} 50000 0 0", f"use 0 {pid} 100 {stamp}")
    source.read()
    assert source.joules.tolist() == [4.0]
    # 1 J in the first second is the first one's alone; 3 J in the second are of both, as the first one goes on.
    assert shares_of(source) == pytest.approx({100: 4 / 7, 200: 3 / 7})


def test_not_found_means_nobody(bench: Bench) -> None:
    source = bench.open()
    bench.tick("gpu 0 6000 50000 0 0")
    assert source.joules.tolist() == [5.0]
    assert shares_of(source) == {}
    assert not source.faults


def test_a_reset_is_no_spike(bench: Bench) -> None:
    source = bench.open()
    bench.tick("gpu 0 10 50000 0 0")
    assert source.joules.tolist() == [0.0]
    assert source.faults == {"reset": 1}
    bench.tick("gpu 0 510 50000 0 0")
    assert source.joules.tolist() == [0.5]


def test_a_lost_gpu_costs_that_gpu_only_and_may_come_back(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.script.write("gpu 0 1000 50000 0 0", "gpu 1 1000 50000 0 0")
    source = bench.open()
    for energy in (2000, 3000):
        bench.tick(f"gpu 0 {energy} 50000 1 0", f"gpu 1 {energy} 50000 0 0")
    assert source.joules.tolist() == [0.0, 2.0]
    assert source.faults == {"GpuIsLost": 1}
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    bench.script.write("gpu 0 500 50000 0 0", "gpu 1 3000 50000 0 0")
    source.recount()
    bench.poll("gpu 0 500 50000 0 0", "gpu 1 3000 50000 0 0")
    bench.tick("gpu 0 1500 50000 0 0", "gpu 1 3000 50000 0 0")
    assert source.joules.tolist() == [1.0, 2.0]


def test_a_gpu_added_while_running(bench: Bench) -> None:
    source = bench.open()
    bench.script.write("gpu 0 1000 50000 0 0", "gpu 1 9000 50000 0 0")
    source.recount()
    source.poll()
    bench.tick("gpu 0 1000 50000 0 0", "gpu 1 9500 50000 0 0")
    assert [domain.index for domain in source.domains] == [0, 1]
    assert source.joules.tolist() == [0.0, 0.5]


def test_without_a_counter_power_is_integrated(bench: Bench) -> None:
    bench.script.write("gpu 0 -1 50000 0 0")
    source = bench.open()
    bench.tick("gpu 0 -1 50000 0 0")
    bench.tick("gpu 0 -1 50000 0 0")
    assert source.joules[0] >= 150.0
    assert source.joules[0] == pytest.approx(50.0 * source.time_ns[0] * 1e-9)
    assert "no energy counter" in source.inspect()[0]


@pytest.mark.parametrize(("running", "expected"), [([100], {100: 1.0}), ([100, 200], {100: 0.5, 200: 0.5})])
def test_without_utilisation_processes_share_evenly(
    bench: Bench, running: list[int], expected: dict[int, float]
) -> None:
    source = bench.open()
    bench.tick("gpu 0 2000 50000 0 1", *(f"run 0 {pid}" for pid in running))
    assert source.joules.tolist() == [1.0]
    assert shares_of(source) == expected
    assert "MIG" in source.inspect()[0]


@pytest.mark.parametrize("pid", [0, 4294967295, (1 << 22) + 1])
def test_a_process_id_that_cannot_be_is_nobody(bench: Bench, pid: int) -> None:
    source = bench.open()
    bench.tick("gpu 0 2000 50000 0 0", f"use 0 {pid} 50 1000", "use 0 100 50 1000")
    assert shares_of(source) == {100: 1.0}


def test_a_utilisation_above_100_is_not_known(bench: Bench) -> None:
    source = bench.open()
    bench.tick("gpu 0 2000 50000 0 0", "use 0 200 101 1000", "use 0 100 50 1000")
    assert shares_of(source) == {100: 1.0}


def test_a_load_that_is_not_known_is_not_nought(bench: Bench) -> None:
    source = bench.open()
    assert math.isnan(source.load(0))


def test_a_leap_of_the_counter_is_not_believed(bench: Bench) -> None:
    source = bench.open()
    for energy in (51_000, 101_000, 2**63, 151_000, 201_000):
        bench.tick(f"gpu 0 {energy} 50000 0 0")
    assert source.joules.tolist() == pytest.approx([200.0])
    assert sum(source.faults.values()) == 1


def run_apart(folder: Path, code: str, script: Script) -> str:
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "LD_LIBRARY_PATH": str(folder), "KEPLER_TEST_NVML": str(script.path)},
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


OPEN = "from kepler_ebpf.energy.nvml import open_nvml; source = open_nvml(); print(source and source.inspect())"


def test_a_library_without_the_symbol(tmp_path: Path) -> None:
    build(tmp_path, "-DNO_ENERGY")
    assert "no energy counter" in run_apart(tmp_path, OPEN, Script(tmp_path / "state"))


def test_a_driver_that_does_not_start(tmp_path: Path) -> None:
    build(tmp_path)
    script = Script(tmp_path / "state")
    script.path.unlink()
    assert run_apart(tmp_path, OPEN, script) == "[]", "it is asked again later"


def test_no_driver_at_all(tmp_path: Path) -> None:
    assert run_apart(tmp_path, OPEN, Script(tmp_path / "state")) == "None"


@pytest.mark.kernel
def test_gpu_joules_reach_processes_that_use_no_cpu(serve: Callable[..., Running], tmp_path: Path) -> None:  # noqa: F811
    """End to end: a sleeping process is charged with the GPU's energy, at 20 W over an idle floor of 5 W."""
    build(tmp_path)
    script = Script(tmp_path / "state")
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        collector = serve("--gpu-idle-watts", "5", LD_LIBRARY_PATH=str(tmp_path), KEPLER_TEST_NVML=str(script.path))
        for step in range(1, 21):
            script.write(f"gpu 0 {1000 + step * 2000} 20000 0 0", f"use 0 {sleeper.pid} 80 {step * 100_000}")
            time.sleep(0.1)
        time.sleep(0.8)
        samples = collector.samples()
        (gpu,) = samples["kepler_node_gpu_joules_total"]
        assert gpu[0] == {"gpu": "0", "gpu_uuid": "GPU-0", "gpu_name": "Stand-in", "source": "nvml"}
        assert gpu[1] == pytest.approx(40.0)
        joules = {labels["pid"]: value for labels, value in samples["kepler_process_joules_total"]}
        assert samples["kepler_node_gpu_idle_power_watts"] == [({"gpu": "0"}, 5.0)]
        assert joules[str(sleeper.pid)] == pytest.approx(30.0, rel=0.2)
        containers = sum(value for _, value in samples["kepler_container_gpu_joules_total"])
        books = {labels["component"]: value for labels, value in samples["kepler_node_unattributed_joules_total"]}
        idle = {labels["component"]: value for labels, value in samples["kepler_node_idle_joules_total"]}
        assert containers + books["gpu"] + idle["gpu"] == pytest.approx(40.0, rel=1e-9)
    finally:
        sleeper.kill()
        sleeper.wait()
