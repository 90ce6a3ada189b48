"""GPUs that tell no utilisation: who has which instance open, servers of MPS, and lists that cannot be read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from kepler_ebpf.energy.gpu_calls import Calls
from kepler_ebpf.energy.gpu_lists import WHOLE_GPU, Listed, Lists
from kepler_ebpf.energy.gpu_use import NOBODY
from kepler_ebpf.energy.nvml import NvmlSource
from kepler_ebpf.host.fs import HostFS

SECOND = 10**9


def test_a_list_that_cannot_be_read_is_what_it_was_for_a_while_and_then_nobodys() -> None:
    lists = Lists()
    known = {100: 1 / 3, 200: 1 / 3, 300: 1 / 3}
    assert lists.shares([Listed(0, 14, {100}), Listed(1, 28, {200, 300})], SECOND) == pytest.approx(known)
    for seconds in (2, 9):
        unread = [Listed(0, 14, {100}), Listed(1, 28, None)]
        assert lists.shares(unread, seconds * SECOND) == pytest.approx(known)
    assert lists.shares(unread, 10 * SECOND) == pytest.approx({100: 1 / 3, NOBODY: 2 / 3})
    assert lists.shares([Listed(0, 14, {100}), Listed(1, 28, {200})], 11 * SECOND) == pytest.approx(
        {100: 1 / 3, 200: 2 / 3}
    )


def test_an_instance_that_does_not_tell_its_size_has_the_size_it_had() -> None:
    lists = Lists()
    lists.shares([Listed(0, 14, {100}), Listed(1, 28, {200})], SECOND)
    shares = lists.shares([Listed(0, 14, {100}), Listed(1, 0, {200})], 2 * SECOND)
    assert shares == pytest.approx({100: 1 / 3, 200: 2 / 3})
    assert Lists().shares([Listed(0, 0, {100})], SECOND) == {}


class Driver:
    """A GPU of two MIG instances, energy 100 W; whatever it is not told it has not."""

    NVMLError = pynvml.NVMLError

    def __init__(self) -> None:
        self.seconds = 0.0
        self.fails: set[int] = set()
        self.pids = {0: [100], 1: [200, 300]}

    def __getattr__(self, name: str) -> object:
        answers = {
            "nvmlInit": lambda: None,
            "nvmlShutdown": lambda: None,
            "nvmlDeviceGetCount": lambda: 1,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetUUID": lambda handle: "GPU-0",
            "nvmlDeviceGetName": lambda handle: "Divided",
            "nvmlDeviceGetTotalEnergyConsumption": lambda handle: round(self.seconds * 100_000),
            "nvmlDeviceGetMigMode": lambda handle: [1, 1],
            "nvmlDeviceGetMaxMigDeviceCount": lambda handle: 2,
            "nvmlDeviceGetMigDeviceHandleByIndex": lambda handle, number: number,
            "nvmlDeviceGetAttributes_v2": lambda instance: SimpleNamespace(multiprocessorCount=14 * (instance + 1)),
            "nvmlDeviceGetComputeRunningProcesses": self.running,
            "nvmlDeviceGetComputeRunningProcesses_v2": self.running,
        }
        return answers.get(name, self.absent)

    def running(self, instance: int) -> list[SimpleNamespace]:
        if instance in self.fails:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)
        return [SimpleNamespace(pid=pid) for pid in self.pids[instance]]

    @staticmethod
    def absent(*arguments: object) -> object:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


class Open:
    """The source of a driver's GPU. ``go_on``: joules by process in so many seconds."""

    def __init__(self, driver: Driver, proc: Path = Path("/proc")) -> None:
        self.driver = driver
        self.source = NvmlSource(HostFS(proc=proc), lambda: driver, lambda: round((1 + driver.seconds) * SECOND))
        self.source.recount()
        self.source.poll()
        self.source.read()

    def go_on(self, seconds: int) -> dict[int, float]:
        joules: dict[int, float] = {}
        for _ in range(seconds * 10):
            self.driver.seconds += 0.1
            self.source.poll()
            before = float(sum(self.source.joules))
            self.source.read()
            pids, weights = self.source.shares(0)
            for pid, weight in zip(pids.tolist(), weights.tolist()):
                part = weight / weights.sum() * (sum(self.source.joules) - before)
                joules[pid] = joules.get(pid, 0.0) + float(part)
        return joules


def test_one_instance_whose_list_fails_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Once it can be read again, that is said."""
    caplog.set_level("INFO")
    driver = Driver()
    gpu = Open(driver)
    gpu.go_on(5)
    driver.fails = {1}
    assert gpu.go_on(5) == pytest.approx({100: 500 / 3, 200: 500 / 3, 300: 500 / 3}, rel=0.01)
    gpu.go_on(10)
    assert gpu.go_on(10) == pytest.approx({100: 1000 / 3, NOBODY: 2000 / 3}, rel=0.01)
    assert caplog.messages == ["energy of GPU 0's users is not known for now: Unknown"]
    driver.fails = set()
    gpu.go_on(20)
    assert gpu.go_on(5) == pytest.approx({100: 500 / 3, 200: 500 / 3, 300: 500 / 3}, rel=0.01)
    assert caplog.messages[1:] == ["GPU 0's users can be read again"]


def test_a_process_that_has_ended_does_not_pay_though_it_is_listed(tmp_path: Path) -> None:
    """One that was never seen alive may be in a view of processes that is not ours: its part is its own."""
    for pid in (100, 300):
        (tmp_path / str(pid)).mkdir()
    gpu = Open(Driver(), tmp_path)
    gpu.go_on(5)
    (tmp_path / "300").rmdir()
    gpu.go_on(3)
    assert gpu.go_on(10) == pytest.approx({100: 1000 / 3, 200: 2000 / 3}, rel=0.01)
    (tmp_path / "100").rmdir()
    gpu.go_on(3)
    assert gpu.go_on(10) == pytest.approx({200: 1000}, rel=0.01)


def test_where_no_list_can_be_read_that_is_raised() -> None:
    driver = Driver()
    driver.fails = {0, 1}
    with pytest.raises(pynvml.NVMLError):
        Calls(driver).lists(0)


class Served:
    """A GPU, not divided, with a server of MPS and its two clients; one of them draws, too."""

    def __init__(self, server: str = "/usr/bin/nvidia-cuda-mps-server") -> None:
        self._server = server

    def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=50), SimpleNamespace(pid=60)]

    def nvmlDeviceGetMPSComputeRunningProcesses(self, handle: object) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=100), SimpleNamespace(pid=200)]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: object) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=100)]

    def nvmlSystemGetProcessName(self, pid: int) -> bytes:
        return self._server.encode() if pid == 50 else b"/usr/bin/python3"


def test_clients_of_mps_pay_and_their_server_does_not() -> None:
    assert Calls(Served()).lists(None) == [Listed(WHOLE_GPU, 1, {60, 100, 200})]
    assert Calls(Served("/usr/bin/other")).lists(None) == [Listed(WHOLE_GPU, 1, {50, 60, 100, 200})]


@pytest.mark.parametrize(
    ("device", "encoder", "expected"), [(40, 90, 0.4), (0, 90, 0.9), (0, 0, 0.25), (0, 101, 0.25), (0, None, 0.25)]
)
def test_a_gpu_that_only_encodes_is_not_idle(device: int, encoder: int | None, expected: float) -> None:
    """What it draws then is no floor."""

    class Rates:
        def nvmlDeviceGetUtilizationRates(self, handle: object) -> SimpleNamespace:
            return SimpleNamespace(gpu=device, memory=25)

        def nvmlDeviceGetEncoderUtilization(self, handle: object) -> list[int | None]:
            return [encoder, 167_000]

    assert Calls(Rates()).load(None) == pytest.approx(expected)


def test_drivers_before_510_have_the_second_version_of_every_list() -> None:
    class Former(Driver):
        def __getattr__(self, name: str) -> object:
            lists = {"Compute": [50, 60], "MPSCompute": [100], "Graphics": [200]}
            kind = name.replace("nvmlDeviceGet", "").replace("RunningProcesses_v2", "")
            if kind in lists:
                return lambda handle: [SimpleNamespace(pid=pid) for pid in lists[kind]]
            return self.absent

    assert Calls(Former()).lists(None) == [Listed(WHOLE_GPU, 1, {50, 60, 100, 200})]
