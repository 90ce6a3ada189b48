"""GPUs as drivers are: answers that are late, absurd, refused, or never come. The stand-in library gives them."""

from __future__ import annotations

import math
import subprocess
import threading
from pathlib import Path

import pytest

from kepler_ebpf.energy.nvml import NvmlSource
from tests.gpu.bench import Bench, shares_of

NVTOP = Path(__file__).with_name("utilization-stamps.tsv")


def test_stamps_of_a_real_driver(bench: Bench) -> None:
    """Each process has stamps of its own, seconds apart: 100 W, 20 W of them idle, for 12 s."""
    rows = [line.split("\t") for line in NVTOP.read_text().splitlines() if line[0] != "#"]
    samples = sorted((int(stamp), int(pid), int(per_cent)) for _, _, pid, per_cent, stamp in rows)
    source = bench.open()
    charged: dict[int, float] = {}
    for step in range(1, 121):
        now = samples[0][0] + step * 100_000
        latest = {pid: (per_cent, stamp) for stamp, pid, per_cent in samples if stamp <= now}
        use = (f"use 0 {pid} {per_cent} {stamp}" for pid, (per_cent, stamp) in latest.items())
        before = source.joules[0]
        bench.poll(f"gpu 0 {1000 + step * 10_000} 100000 0 0", *use, seconds=0.1)
        source.read()
        for pid, share in shares_of(source).items():
            charged[pid] = charged.get(pid, 0.0) + 0.8 * (source.joules[0] - before) * share
    assert sum(joules for pid, joules in charged.items() if pid) >= 0.9 * 960
    assert charged[7180] >= 2 * charged[7044]


def test_stamps_that_go_back_are_followed(bench: Bench) -> None:
    """The wall clock is set back by an hour: users are known again after ten seconds, not after an hour."""
    source = bench.open()
    hour = 3600 * 1_000_000
    for step in range(1, 41):
        stamp = step * 1_000_000 + (2 * hour if step < 10 else hour)
        bench.poll(f"gpu 0 {1000 + step * 50_000} 50000 0 0", f"use 0 100 50 {stamp}")
        source.read()
    before = source.joules[0]
    bench.poll("gpu 0 2051000 50000 0 0", f"use 0 100 50 {hour + 41 * 1_000_000}")
    source.read()
    assert source.joules[0] == before + 50
    assert shares_of(source) == {100: 1.0}


def test_nobody_waits_for_a_process_that_has_ended(bench: Bench) -> None:
    source = bench.open()
    process = subprocess.Popen(["sleep", "60"])
    for step in range(1, 31):
        use = [f"use 0 100 50 {step * 100_000}"]
        if step <= 10:
            use.append(f"use 0 {process.pid} 50 {step * 100_000}")
        elif step == 11:
            process.kill()
            process.wait()
        bench.poll(f"gpu 0 {1000 + step * 10_000} 100000 0 0", *use, seconds=0.1)
        source.read()
        assert source.joules[0] == pytest.approx(step * 10.0)
    assert shares_of(source) == {100: 1.0}


def test_nobody_waits_for_a_process_id_that_cannot_be(bench: Bench) -> None:
    source = bench.open()
    for step in range(1, 61):
        odd = [f"use 0 4294967295 10 {step * 100_000}"] if step < 4 else []
        bench.poll(f"gpu 0 {1000 + step * 10_000} 100000 0 0", f"use 0 100 80 {step * 100_000}", *odd, seconds=0.1)
        source.read()
        assert source.joules[0] == pytest.approx(step * 10.0)
    assert shares_of(source) == {100: 1.0}


def test_mig_shares_by_multiprocessors_of_the_instances_that_have_processes(bench: Bench) -> None:
    source = bench.open()
    instances = ("instance 0 0 42", "instance 0 3 14", "instance 0 5 28")
    bench.tick("gpu 0 2000 50000 0 1", *instances, "run 0 100 0", "run 0 200 3", "run 0 201 3")
    assert shares_of(source) == pytest.approx({100: 42 / 56, 200: 7 / 56, 201: 7 / 56})


def test_a_process_that_left_a_divided_gpu_is_not_charged_any_more(bench: Bench) -> None:
    source = bench.open()
    bench.poll("gpu 0 2000 50000 0 1", "run 0 100", "run 0 200")
    bench.poll("gpu 0 3000 50000 0 1", "run 0 200")
    source.read()
    assert set(shares_of(source)) == {100, 200}
    bench.poll("gpu 0 4000 50000 0 1", "run 0 200")
    source.read()
    assert shares_of(source) == {200: 1.0}


@pytest.mark.parametrize("pid", [0, 4294967295, (1 << 22) + 1])
def test_the_part_of_a_process_id_that_cannot_be_is_nobodys(bench: Bench, pid: int) -> None:
    source = bench.open()
    bench.tick("gpu 0 2000 50000 0 0", f"use 0 {pid} 10 1000", "use 0 100 80 1000")
    assert shares_of(source) == pytest.approx({0: 1 / 9, 100: 8 / 9})


def test_a_utilisation_above_100_is_not_known(bench: Bench) -> None:
    source = bench.open()
    bench.tick("gpu 0 2000 50000 0 0", "use 0 200 101 1000", "use 0 100 50 1000")
    assert shares_of(source) == {100: 1.0}


@pytest.mark.parametrize("line", ["", "load 0 101", "load 0 4294967295"])
def test_a_load_that_is_not_known_is_not_nought(bench: Bench, line: str) -> None:
    source = bench.open()
    assert math.isnan(source.load(0))
    bench.tick("gpu 0 2000 50000 0 0", line)
    assert math.isnan(source.load(0))


def test_the_load_is_that_of_the_joules_not_of_the_moment_when_they_are_told(bench: Bench) -> None:
    """Joules wait for their users: a load of that moment would teach the idle floor the power of a busy GPU."""
    source = bench.open()
    bench.poll("gpu 0 3000 50000 0 0", "load 0 90")
    bench.poll("gpu 0 5000 50000 0 0", "load 0 70")
    bench.poll("gpu 0 5000 50000 0 0", "load 0 0", seconds=2.5)
    source.read()
    assert source.joules.tolist() == [4.0]
    assert source.load(0) == pytest.approx(0.8)


def test_a_leap_of_the_counter_is_not_believed(bench: Bench) -> None:
    source = bench.open()
    for energy in (51_000, 101_000, 2**63, 151_000, 201_000):
        bench.tick(f"gpu 0 {energy} 50000 0 0")
    assert source.joules.tolist() == pytest.approx([200.0])
    assert sum(source.faults.values()) == 1


@pytest.mark.parametrize("code", [4, 10, 999], ids=["no permission", "timeout", "unknown"])
def test_joules_are_told_where_users_cannot_be_asked_for(bench: Bench, code: int) -> None:
    source = bench.open()
    for step in range(2, 6):
        bench.tick(f"gpu 0 {step * 1000} 50000 0 0", f"error use {code}")
    assert source.joules.tolist() == [4.0]
    assert shares_of(source) == {}
    assert source.live[0]


@pytest.mark.parametrize("lost", [1, 2], ids=["lost", "handle refused"])
def test_a_gpu_that_is_lost_at_the_start_costs_that_gpu_only(
    bench: Bench, lost: int, caplog: pytest.LogCaptureFixture
) -> None:
    bench.script.write(f"gpu 0 1000 0 {lost} 0", "gpu 1 1000 50000 0 0")
    source = bench.open()
    for energy in (2000, 3000):
        bench.tick(f"gpu 0 1000 0 {lost} 0", f"gpu 1 {energy} 50000 0 0")
        source.recount()
    source.read()
    assert sum(source.joules) == 2.0
    assert [domain.index for domain, live in zip(source.domains, source.live) if live] == [1]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "GPU 0" in warnings[0]
    assert any("GPU 1" in line for well, line in source.inspect() if well)


def test_a_gpu_that_tells_neither_energy_nor_power_has_no_family(bench: Bench) -> None:
    bench.script.write("gpu 0 -1 -1 0 0", "gpu 1 1000 50000 0 0")
    source = bench.open()
    for step in range(1, 10):
        bench.tick("gpu 0 -1 -1 0 0", f"gpu 1 {1000 + step * 1000} 50000 0 0")
        source.recount()
    assert source.live.tolist() == [False, True]
    assert source.faults == {"NotSupported": 1}


def test_a_counter_that_stands_still_is_not_live_where_there_is_no_power(bench: Bench) -> None:
    source = bench.open()
    bench.tick("gpu 0 51000 -1 0 0")
    assert source.live.tolist() == [True]
    for _ in range(3):
        bench.tick("gpu 0 51000 -1 0 0")
    assert source.live.tolist() == [False]


def test_a_gpu_whose_joules_wait_for_a_silent_process_stays_live(bench: Bench) -> None:
    source = bench.open()
    bench.tick("gpu 0 51000 50000 0 0", "use 0 100 50 1000")
    for step in range(2, 9):
        bench.poll(f"gpu 0 {1000 + step * 50_000} 50000 0 0")
        source.read()
        assert source.live.tolist() == [True]


def test_energy_while_a_gpu_did_not_answer_for_a_moment_is_not_lost(bench: Bench) -> None:
    source = bench.open()
    bench.tick("gpu 0 51000 50000 0 0")
    bench.poll("gpu 0 101000 50000 0 0", "error energy 999")
    bench.tick("gpu 0 151000 50000 0 0", seconds=2.0)
    assert source.joules.tolist() == [150.0]
    assert source.faults == {"Unknown": 1}


def test_a_driver_that_is_loaded_after_the_start(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.script.path.unlink()
    source = bench.open()
    source.recount()
    source.read()
    assert source.domains == ()
    assert source.faults == {"DriverNotLoaded": 2}
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    bench.script.write("gpu 0 1000 50000 0 0")
    source.recount()
    bench.poll("gpu 0 1000 50000 0 0")
    bench.tick("gpu 0 2000 50000 0 0")
    source.read()
    assert source.joules.tolist() == [1.0]


def test_a_driver_that_is_loaded_anew(bench: Bench) -> None:
    """Calls say Uninitialized until the library is initialised again; the counter has begun anew."""
    source = bench.open()
    bench.tick("gpu 0 51000 50000 0 0")
    bench.poll("error energy 1")
    bench.script.path.unlink()
    source.recount()
    source.read()
    assert set(source.faults) == {"Uninitialized", "DriverNotLoaded"}
    bench.script.write("gpu 0 60000 50000 0 0")
    source.recount()
    bench.poll("gpu 0 60000 50000 0 0")
    bench.tick("gpu 0 80000 50000 0 0")
    assert source.joules.tolist() == [70.0]
    assert len(source.domains) == 1


def test_a_library_that_is_installed_after_the_start(nvml_library: Path) -> None:
    import pynvml

    installed: list[object] = []
    source = NvmlSource(binding=lambda: installed[0] if installed else None)
    source.recount()
    source.read()
    assert source._calls is None
    assert not source.faults
    installed.append(pynvml)
    source.recount()
    assert source._calls is not None


@pytest.mark.parametrize("error", [RuntimeError, KeyError, OSError, ValueError, ZeroDivisionError])
def test_whatever_a_binding_raises_costs_a_reading(bench: Bench, error: type[Exception]) -> None:
    import pynvml

    class Broken:
        """The binding, whose energy call raises what it should not."""

        broken = False

        def __getattr__(self, name: str) -> object:
            return getattr(pynvml, name)

        def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:
            if self.broken:
                raise error("broken")
            return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))

    binding = Broken()
    bench.source = NvmlSource(binding=lambda: binding, clock_ns=lambda: bench.now_ns)
    source = bench.open()
    binding.broken = True
    bench.poll("gpu 0 2000 50000 0 0")
    binding.broken = False
    bench.tick("gpu 0 3000 50000 0 0", seconds=2.0)
    assert source.joules.tolist() == [2.0]
    assert source.faults == {error.__name__: 1}


def test_gpus_that_have_no_uuid_are_known_by_their_index(bench: Bench) -> None:
    import pynvml

    class NoUuid:
        def __getattr__(self, name: str) -> object:
            return getattr(pynvml, name)

        def nvmlDeviceGetUUID(self, handle: object) -> str:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    bench.source = NvmlSource(binding=NoUuid, clock_ns=lambda: bench.now_ns)
    bench.script.write("gpu 0 1000 50000 0 0", "gpu 1 1000 50000 0 0")
    source = bench.open()
    source.recount()
    bench.tick("gpu 0 2000 50000 0 0", "gpu 1 4000 50000 0 0", seconds=2.0)
    assert [(domain.index, domain.uuid) for domain in source.domains] == [(0, "index-0"), (1, "index-1")]
    assert source.joules.tolist() == [1.0, 3.0]
    assert not source.faults


def test_a_call_that_hangs_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, released = threading.Event(), threading.Event()

    class Hanging:
        def nvmlInit(self) -> None:
            asked.set()
            released.wait()

    monkeypatch.setattr("kepler_ebpf.energy.nvml._LONGEST_STOP_SECONDS", 0.05)
    source = NvmlSource(binding=Hanging)
    guard = threading.Timer(60.0, released.set)
    guard.start()
    source.start()
    asked.wait()
    source.read()
    source.close()
    assert source._thread.is_alive(), "neither has waited for the call"
    guard.cancel()
    released.set()
    source._thread.join()
