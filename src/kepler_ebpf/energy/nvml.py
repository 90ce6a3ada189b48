"""NVIDIA GPUs through NVML: joules per GPU and who used them.

Calls into NVML can take milliseconds, or never return, so a thread of its own makes them all; a sample only takes over
what is there. The energy counter (``nvmlDeviceGetTotalEnergyConsumption``, mJ, since Volta) is refreshed by the driver
every 20 to 100 ms: between refreshes the figure is held, never interpolated. Older GPUs: power times measured time.

What is said here of drivers' behaviour is tested against a stand-in library (``tests/gpu``), not against a GPU.
"""

from __future__ import annotations

import ctypes
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .believe import LIMIT_HEADROOM, PLAUSIBLE_WATTS, Believer, PowerBeliever, Verdict
from .figures import Figures
from .gpu_calls import Calls
from .gpu_use import GpuUse
from .source import Domain

log = logging.getLogger(__name__)

_LIBRARY = "libnvidia-ml.so.1"
_RECOUNT_SECONDS = 5.0
_FASTEST_POLL_SECONDS, _SLOWEST_POLL_SECONDS = 0.01, 0.1
_LONGEST_STOP_SECONDS = 1.0


@dataclass
class _Gpu:
    """State of one GPU. ``ready``: what a sample may take over: joules, seconds, and joules by process id."""

    handle: Any
    domain: Domain
    believer: Believer | PowerBeliever
    use: GpuUse = field(default_factory=GpuUse)
    lost: bool = False
    load: float = math.nan
    answered_ns: int = 0
    refresh_seconds: float = math.inf
    ready: tuple[float, float] = (0.0, 0.0)
    users: dict[int, float] = field(default_factory=dict)


def open_nvml() -> NvmlSource | None:
    """All GPUs of this machine, or None where there is no driver library, or no binding. The reason is logged.

    Nothing is asked of the driver yet: :meth:`NvmlSource.start` begins.
    """
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        log.debug("no NVIDIA driver library: no GPUs are metered")
        return None
    try:
        import pynvml
    except ImportError:
        log.warning("an NVIDIA driver is here but nvidia-ml-py is not: install kepler-ebpf[gpu] to meter the GPUs")
        return None
    return NvmlSource(pynvml)


class NvmlSource(Figures):
    """Energy of each GPU (see :class:`GpuSource`), and who used it.

    A GPU that is lost costs that GPU only, until it is there again. A driver that is not loaded, or is loaded anew, is
    asked again every five seconds.
    """

    name = "nvml"

    def __init__(self, nvml: Any, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        super().__init__()
        self._calls = Calls(nvml)
        self._clock_ns = clock_ns
        self._gpus: list[_Gpu] = []
        self._users: list[tuple[NDArray[np.int32], NDArray[np.float64]]] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nvml", daemon=True)

    def start(self) -> None:
        """Poll in a thread; without it, :meth:`recount` and :meth:`poll` are the caller's to call."""
        self._thread.start()

    def read(self) -> None:
        """Take over what has been polled since the last call."""
        with self._lock:
            for position, gpu in enumerate(self._gpus):
                if position == len(self.domains):
                    self.add(gpu.domain)
                    self._users.append((np.empty(0, np.int32), np.empty(0)))
                joules, seconds = gpu.ready
                if seconds > 0:
                    self.book(position, Verdict(joules, seconds), self._clock_ns(), f"GPU {gpu.domain.index}")
                    self._users[position] = (
                        np.array(list(gpu.users), np.int32),
                        np.array(list(gpu.users.values()), np.float64),
                    )
                    gpu.ready, gpu.users = (0.0, 0.0), {}
                elif gpu.answered_ns and self.live[position]:
                    self._accepted_ns[position] = gpu.answered_ns  # its joules wait for their users
        self.settle(self._clock_ns())

    def shares(self, position: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Processes that used the GPU's latest joules: ids, int32[n], and weights, float64[n].

        Both are empty where nobody did, or where the driver does not say who.
        """
        return self._users[position]

    def load(self, position: int) -> float:
        """Utilisation of the device, 0 to 1; NaN where the driver does not tell."""
        return self._gpus[position].load

    def close(self) -> None:
        """Stop polling. A call that hangs is left behind: its thread ends with the process."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_LONGEST_STOP_SECONDS)

    def inspect(self) -> list[str]:
        """One line for each GPU, for ``kepler-ebpf doctor``."""
        self.recount()
        self.poll()
        return [
            f"GPU {gpu.domain.index}: {gpu.domain.model} ({gpu.domain.uuid}), "
            + ("energy counter" if isinstance(gpu.believer, Believer) else "no energy counter: power times time")
            + (", MIG: energy is the whole GPU's, shared by multiprocessors" if self._calls.mig(gpu.handle) else "")
            for gpu in self._gpus
        ]

    # -- polling ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        counted = -math.inf
        pause = 0.0
        while not self._stop.wait(pause):
            try:
                if time.monotonic() - counted > _RECOUNT_SECONDS:
                    counted = time.monotonic()
                    self.recount()
                self.poll()
            except Exception as error:  # a binding's bug costs a reading, not the thread
                self.fault("the GPUs", type(error).__name__)
            # Twice as often as the driver refreshes, so that no refresh is seen a whole period late.
            fastest = min((gpu.refresh_seconds for gpu in self._gpus), default=math.inf) / 2
            pause = min(max(fastest, _FASTEST_POLL_SECONDS), _SLOWEST_POLL_SECONDS)

    def poll(self) -> None:
        """Ask every GPU once. Never raises what NVML raises."""
        for gpu in self._gpus:
            if not gpu.lost:
                try:
                    self._poll(gpu)
                except self._calls.errors as error:
                    self._lose(gpu, error)

    def _poll(self, gpu: _Gpu) -> None:
        verdict = self._energy(gpu)
        now = self._clock_ns()
        if verdict.fault:
            self.fault(f"GPU {gpu.domain.index}", verdict.fault)
        gpu.load = self._calls.load(gpu.handle)
        if verdict.seconds > 0:
            gpu.refresh_seconds = min(1.1 * gpu.refresh_seconds, verdict.seconds)
            gpu.use.add(verdict.joules, now - round(verdict.seconds * 1e9), now)
        for pid, utilization in self._calls.utilization(gpu.handle).items():
            gpu.use.sample(pid, utilization, now)
        release = gpu.use.release(now)
        with self._lock:
            gpu.answered_ns = now
            if release is not None:
                gpu.ready = (gpu.ready[0] + release.joules, gpu.ready[1] + release.seconds)
                for pid, weight in release.weights.items():
                    gpu.users[pid] = gpu.users.get(pid, 0.0) + weight

    def _energy(self, gpu: _Gpu) -> Verdict:
        if isinstance(gpu.believer, Believer):
            millijoules = self._calls.millijoules(gpu.handle)
            if millijoules is not None:
                return gpu.believer.read(millijoules, self._clock_ns())
            gpu.believer = PowerBeliever(gpu.believer.most_watts)
        return gpu.believer.read(self._calls.watts(gpu.handle), self._clock_ns())

    def _lose(self, gpu: _Gpu, error: BaseException) -> None:
        reason = self._calls.reason(error)
        gpu.lost = self._calls.is_lost(error)
        self.fault(f"GPU {gpu.domain.index}", reason)
        if self._calls.is_unloaded(error):
            self._calls.forget()
            for one in self._gpus:
                one.lost = True

    def recount(self) -> None:
        """Take up GPUs that have been added, and lost ones that are back; each by itself. Never raises."""
        known = {gpu.domain.uuid: gpu for gpu in self._gpus}
        try:
            count = self._calls.count()
        except self._calls.errors as error:
            self.fault("the NVIDIA driver", self._calls.reason(error))
            return
        self.recovered("the NVIDIA driver")
        for index in range(count):
            try:
                handle, uuid, model = self._calls.device(index)
            except self._calls.errors as error:
                self.fault(f"GPU {index}", self._calls.reason(error))
                continue
            gpu = known.get(uuid)
            if gpu is None:
                limit = self._calls.limit_watts(handle)
                most = limit * LIMIT_HEADROOM if limit else PLAUSIBLE_WATTS["gpu"]
                domain = Domain("gpu", index, self.name, uuid=uuid, model=model)
                with self._lock:
                    self._gpus.append(_Gpu(handle, domain, Believer(0, 1e-3, most)))
            elif gpu.lost:
                gpu.handle, gpu.lost = handle, False
                gpu.believer.restart()  # what it used meanwhile is not known
