"""The real binding against the stand-in library: counters, processes, and GPUs that come and go."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kepler_ebpf.energy.meter import Meter
from tests.e2e.conftest import Running, serve  # noqa: F401 (a fixture)
from tests.gpu.bench import Bench, shares_of
from tests.gpu.standin import Script, build


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
    # 1 J in the first second is the first one's alone; 3 J in the second are of both, evenly, as the first one goes on.
    assert shares_of(source) == pytest.approx({100: 2.5 / 4, 200: 1.5 / 4})


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
    assert source.joules.tolist() == [0.0, 0.0], "whoever adds up domains has met it by the next reading"
    source.read()
    assert source.joules.tolist() == [0.0, 0.5]


def test_a_gpu_that_is_found_within_a_batch_loses_nothing(bench: Bench) -> None:
    """A meter takes no joules of a domain that it had counted before it was met."""
    source = bench.source
    meter = Meter([source])
    bench.script.write("gpu 0 1000 50000 0 0")
    source.recount()
    bench.poll("gpu 0 1000 50000 0 0")
    looks = []
    for millijoules in (3000, 6000):
        for seconds in (1.0, 2.5):  # joules that nobody is known for wait for two seconds
            bench.poll(f"gpu 0 {millijoules} 50000 0 0", seconds=seconds)
        looks.append(meter.look())
    joules = sum(sum(meter.take(look).joules) for look in [*looks, meter.look()])
    assert joules == pytest.approx(5.0)


def test_without_a_counter_power_is_integrated(bench: Bench) -> None:
    bench.script.write("gpu 0 -1 50000 0 0")
    source = bench.open()
    bench.tick("gpu 0 -1 50000 0 0")
    bench.tick("gpu 0 -1 50000 0 0")
    assert source.joules[0] >= 150.0
    assert source.joules[0] == pytest.approx(50.0 * source.time_ns[0] * 1e-9)
    assert "no energy counter" in source.inspect()[0][1]


@pytest.mark.parametrize(("running", "expected"), [([100], {100: 1.0}), ([100, 200], {100: 0.5, 200: 0.5})])
def test_without_utilisation_processes_share_evenly(
    bench: Bench, running: list[int], expected: dict[int, float]
) -> None:
    source = bench.open()
    bench.tick("gpu 0 2000 50000 0 1", *(f"run 0 {pid}" for pid in running))
    assert source.joules.tolist() == [1.0]
    assert shares_of(source) == expected
    assert "MIG" in source.inspect()[0][1]


def run_apart(folder: Path, code: str, script: Script) -> str:
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "LD_LIBRARY_PATH": str(folder), "KEPLER_TEST_NVML": str(script.path)},
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


INSPECT = "from kepler_ebpf.energy.nvml import NvmlSource; print(NvmlSource().inspect())"


def test_a_library_without_the_symbol(tmp_path: Path) -> None:
    build(tmp_path, "-DNO_ENERGY")
    assert "no energy counter" in run_apart(tmp_path, INSPECT, Script(tmp_path / "state"))


def test_a_driver_that_does_not_start(tmp_path: Path) -> None:
    build(tmp_path)
    script = Script(tmp_path / "state")
    script.path.unlink()
    assert run_apart(tmp_path, INSPECT, script) == "[(False, 'the NVIDIA driver: DriverNotLoaded')]"


def test_no_driver_at_all(tmp_path: Path) -> None:
    assert run_apart(tmp_path, INSPECT, Script(tmp_path / "state")) == "[]"


def test_a_driver_that_hangs_is_said_and_not_waited_for(tmp_path: Path) -> None:
    build(tmp_path)
    script = Script(tmp_path / "state")
    script.write("gpu 0 1000 50000 0 0", "hang 20")
    answer = run_apart(tmp_path, INSPECT.replace("inspect()", "inspect(0.5)"), script)
    assert answer == "[(False, 'the NVIDIA driver has not answered for 0.5 s')]"


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
        # Nothing from here on: a counter that stood still at 20 W would give way to power.
        script.write("gpu 0 41000 0 0 0", f"use 0 {sleeper.pid} 80 2000000")
        until = time.monotonic() + 30
        while True:
            samples = collector.samples()
            (gpu,) = samples.get("kepler_node_gpu_joules_total", [({}, 0.0)])
            if gpu[1] >= 39.9 or time.monotonic() > until:
                break
            time.sleep(0.2)
        assert gpu[0] == {"gpu": "0", "gpu_uuid": "GPU-0", "gpu_name": "Stand-in", "source": "nvml"}
        assert gpu[1] == pytest.approx(40.0)
        joules = {labels["pid"]: value for labels, value in samples["kepler_process_joules_total"]}
        assert samples["kepler_node_gpu_idle_power_watts"] == [({"gpu": "0"}, 5.0)]
        containers = sum(value for _, value in samples["kepler_container_gpu_joules_total"])
        books = {labels["component"]: value for labels, value in samples["kepler_node_unattributed_joules_total"]}
        idle = {labels["component"]: value for labels, value in samples["kepler_node_idle_joules_total"]}
        assert containers + books["gpu"] + idle["gpu"] == pytest.approx(40.0, rel=1e-9)
        # However long the twenty steps took on this machine: what is beyond the idle floor is the sleeper's.
        assert joules[str(sleeper.pid)] == pytest.approx(containers, rel=1e-9)
        assert joules[str(sleeper.pid)] > 5.0
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.kernel
def test_a_driver_that_hangs_delays_neither_the_start_nor_the_end(
    serve: Callable[..., Running],  # noqa: F811
    tmp_path: Path,
) -> None:
    build(tmp_path)
    script = Script(tmp_path / "state")
    script.write("gpu 0 1000 50000 0 0", "hang 60")
    collector = serve(LD_LIBRARY_PATH=str(tmp_path), KEPLER_TEST_NVML=str(script.path))
    assert collector.value("kepler_ebpf_samples_total") > 0
    collector.process.terminate()
    assert collector.process.wait(5) == 0


@pytest.mark.kernel
def test_the_thread_that_calls_the_driver_has_given_up_what_all_have(
    serve: Callable[..., Running],  # noqa: F811
    tmp_path: Path,
) -> None:
    build(tmp_path)
    collector = serve(LD_LIBRARY_PATH=str(tmp_path), KEPLER_TEST_NVML=str(Script(tmp_path / "state").path))
    threads = list(Path(f"/proc/{collector.process.pid}/task").iterdir())
    lines = [(task / "status").read_text().splitlines() for task in threads]
    held = {tuple(line for line in status if line.startswith(("Cap", "NoNewPrivs"))) for status in lines}
    assert len(threads) > 1
    assert len(held) == 1
    effective = next(int(line.split()[1], 16) for line in held.pop() if line.startswith("CapEff"))
    assert not effective & 1 << 19, "CAP_SYS_PTRACE, which root begins with"
