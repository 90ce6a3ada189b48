"""NVIDIA GPUs through NVML: joules per GPU and who used them.

Calls into NVML can take milliseconds, so a thread of its own makes them; a sample only takes over what is there. The
energy counter (``nvmlDeviceGetTotalEnergyConsumption``, mJ, since Volta) is refreshed by the driver every 20 to 100 ms:
between refreshes the figure is held, never interpolated. Older GPUs: power times measured time.

What is said here of drivers' behaviour is tested against a stand-in library (``tests/gpu``), not against a GPU.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .source import Domain

log = logging.getLogger(__name__)

_LIBRARY = "libnvidia-ml.so.1"
_RECOUNT_SECONDS = 5.0
_FIRST_POLL_SECONDS = 0.05
_FASTEST_POLL_SECONDS, _SLOWEST_POLL_SECONDS = 0.01, 0.1


@dataclass
class _Gpu:
    """State of one GPU. ``pending``: joule-weighted use by process since it was last taken over."""

    handle: Any
    domain: Domain
    has_counter: bool = True
    millijoules: int | None = None
    watts: float = 0.0
    joules: float = 0.0
    time_ns: int = 0
    seen_us: int = 0
    lost: bool = False
    refresh_seconds: float = float("inf")
    pending: dict[int, float] = field(default_factory=dict)
    pending_joules: float = 0.0


def open_nvml(start: bool = True) -> NvmlSource | None:
    """All GPUs of this machine, or None where there is no driver, or no binding. The reason is logged."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        log.debug("no NVIDIA driver library: no GPUs are metered")
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
    except ImportError:
        log.warning("an NVIDIA driver is here but nvidia-ml-py is not: install kepler-ebpf[gpu] to meter the GPUs")
        return None
    except pynvml.NVMLError as error:
        log.warning("NVML does not start: %s", error)
        return None
    return NvmlSource(pynvml, start=start)


class NvmlSource:
    """Energy of each GPU (see :class:`EnergySource`), and who used it (:meth:`shares`).

    ``start``: poll in a thread; without, :meth:`poll` is the caller's to call. A GPU that is lost costs that GPU only,
    until it is there again.
    """

    name = "nvml"

    def __init__(self, nvml: Any, start: bool = True, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.domains: tuple[Domain, ...] = ()
        self.joules: NDArray[np.float64] = np.zeros(0)
        self.time_ns: NDArray[np.int64] = np.zeros(0, np.int64)
        self.faults: Counter[str] = Counter()
        self._nvml = nvml
        self._clock_ns = clock_ns
        self._gpus: list[_Gpu] = []
        self._shares: list[tuple[NDArray[np.int32], NDArray[np.float64]]] = []
        self._lock = threading.Lock()
        self._said: set[tuple[str, str]] = set()
        self._recount()
        self.poll()
        self.read()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nvml", daemon=True)
        if start:
            self._thread.start()

    def read(self) -> None:
        """Take over what has been polled since the last call."""
        with self._lock:
            for position, gpu in enumerate(self._gpus):
                if position == len(self.domains):
                    self.domains += (gpu.domain,)
                    self.joules = np.append(self.joules, 0.0)
                    self.time_ns = np.append(self.time_ns, np.int64(0))
                    self._shares.append((np.empty(0, np.int32), np.empty(0)))
                self.joules[position], self.time_ns[position] = gpu.joules, gpu.time_ns
                if gpu.pending_joules > 0:
                    weights = np.array(list(gpu.pending.values())) / gpu.pending_joules
                    self._shares[position] = (np.array(list(gpu.pending), np.int32), weights)
                    gpu.pending, gpu.pending_joules = {}, 0.0

    def shares(self, domain: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Processes that used the GPU while its latest joules were used: ids, int32[n], and SM utilisation, float64[n].

        Both are empty where nobody did, or where the driver does not say who.
        """
        return self._shares[domain]

    def load(self, position: int) -> float:
        """Utilisation of the device, 0 to 1."""
        return float(min(self.shares(position)[1].sum(), 1.0))

    def close(self) -> None:
        """Stop polling."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def inspect(self) -> list[str]:
        """One line for each GPU, for ``kepler-ebpf doctor``."""
        return [
            f"GPU {gpu.domain.index}: {gpu.domain.model} ({gpu.domain.uuid}), "
            + ("energy counter" if gpu.has_counter else "no energy counter: power times time")
            + (", MIG: energy is the whole GPU's" if self._mig(gpu) else "")
            for gpu in self._gpus
        ]

    # -- polling ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        counted = self._clock_ns()
        pause = _FIRST_POLL_SECONDS
        while not self._stop.wait(pause):
            self.poll()
            if self._clock_ns() - counted > _RECOUNT_SECONDS * 1e9:
                counted = self._clock_ns()
                self._recount()
            # Twice as often as the driver refreshes, so that no refresh is seen a whole period late.
            fastest = min((gpu.refresh_seconds for gpu in self._gpus), default=float("inf")) / 2
            pause = min(max(fastest, _FASTEST_POLL_SECONDS), _SLOWEST_POLL_SECONDS)

    def poll(self) -> None:
        """Ask every GPU once. Never raises."""
        for gpu in self._gpus:
            if not gpu.lost:
                try:
                    self._poll(gpu)
                except self._nvml.NVMLError as error:
                    self._fault(gpu, error)

    def _poll(self, gpu: _Gpu) -> None:
        joules, watts = (self._counted(gpu) if gpu.has_counter else None), gpu.watts
        now = self._clock_ns()
        if not gpu.has_counter:
            watts = self._nvml.nvmlDeviceGetPowerUsage(gpu.handle) * 1e-3
            joules = (gpu.watts + watts) / 2 * (now - gpu.time_ns) * 1e-9 if gpu.time_ns else 0.0
        if joules is None:
            return  # not refreshed since: hold
        use = self._use(gpu) if joules > 0 else {}
        with self._lock:
            if gpu.time_ns and joules > 0:
                gpu.refresh_seconds = min(1.1 * gpu.refresh_seconds, (now - gpu.time_ns) * 1e-9)
            gpu.joules += joules
            gpu.watts, gpu.time_ns = watts, now
            gpu.pending_joules += joules
            for pid, weight in use.items():
                gpu.pending[pid] = gpu.pending.get(pid, 0.0) + weight * joules

    def _counted(self, gpu: _Gpu) -> float | None:
        """Joules since the last refresh of the counter; None where there was none."""
        try:
            now = int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(gpu.handle))
        except (self._nvml.NVMLError_NotSupported, self._nvml.NVMLError_FunctionNotFound):
            gpu.has_counter = False
            return None
        before, gpu.millijoules = gpu.millijoules, now
        if before is None:
            return 0.0
        if now < before:  # the driver was loaded anew
            self.faults["reset"] += 1
            return 0.0
        return (now - before) * 1e-3 if now > before else None

    def _use(self, gpu: _Gpu) -> dict[int, float]:
        """Mean SM utilisation (0 to 1) of each process since the last call."""
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(gpu.handle, gpu.seen_us)
        except self._nvml.NVMLError_NotFound:
            return {}  # no activity
        except (self._nvml.NVMLError_NotSupported, self._nvml.NVMLError_FunctionNotFound):
            return self._only_process(gpu)
        sums: dict[int, int] = {}
        times = set()
        for sample in samples:
            if sample.timeStamp > gpu.seen_us and sample.pid:
                times.add(sample.timeStamp)
                sums[sample.pid] = sums.get(sample.pid, 0) + min(sample.smUtil, 100)
        gpu.seen_us = max(times, default=gpu.seen_us)
        return {pid: total / (100 * len(times)) for pid, total in sums.items() if total}

    def _only_process(self, gpu: _Gpu) -> dict[int, float]:
        """Without utilisation (MIG): a process that is alone has used it all, several cannot be told apart."""
        processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(gpu.handle)
        if len(processes) == 1:
            return {int(processes[0].pid): 1.0}
        if processes and (gpu.domain.uuid, "several") not in self._said:
            self._said.add((gpu.domain.uuid, "several"))
            log.warning(
                "GPU %d does not tell how its processes share it: its energy stays unattributed", gpu.domain.index
            )
        return {}

    def _fault(self, gpu: _Gpu, error: Any) -> None:
        reason = type(error).__name__.replace("NVMLError_", "")
        gpu.lost = isinstance(error, self._nvml.NVMLError_GpuIsLost)
        self.faults[reason] += 1
        if (gpu.domain.uuid, reason) not in self._said:
            self._said.add((gpu.domain.uuid, reason))
            log.warning("GPU %d cannot be read for now: %s", gpu.domain.index, error)

    def _recount(self) -> None:
        """Take up GPUs that have been added, and lost ones that are back."""
        known = {gpu.domain.uuid: gpu for gpu in self._gpus}
        try:
            for index in range(self._nvml.nvmlDeviceGetCount()):
                handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
                uuid = _text(self._nvml.nvmlDeviceGetUUID(handle))
                gpu = known.get(uuid)
                if gpu is None:
                    model = _text(self._nvml.nvmlDeviceGetName(handle))
                    with self._lock:
                        self._gpus.append(_Gpu(handle, Domain("gpu", index, "nvml", uuid=uuid, model=model)))
                elif gpu.lost:
                    # What it used meanwhile is not known: count anew.
                    gpu.handle, gpu.millijoules, gpu.lost = handle, None, False
        except self._nvml.NVMLError as error:
            self.faults["recount"] += 1
            log.debug("GPUs cannot be counted: %s", error)

    def _mig(self, gpu: _Gpu) -> bool:
        try:
            return bool(self._nvml.nvmlDeviceGetMigMode(gpu.handle)[0])
        except self._nvml.NVMLError:
            return False


def _text(value: str | bytes) -> str:
    """Older bindings give bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
