"""NVIDIA GPUs through NVML: joules per GPU and who used them.

Calls into NVML can take milliseconds, or never return, so a thread of its own makes them all; a sample only takes over
what is there. The energy counter (``nvmlDeviceGetTotalEnergyConsumption``, mJ, since Volta) is refreshed by the driver
every 20 to 100 ms: between refreshes the figure is held, never interpolated. Older GPUs: power times measured time.

What is said here of drivers' behaviour is tested against a stand-in library (``tests/gpu``), not against a GPU.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns import Floats
from ..host.fs import HostFS
from .believe import Verdict
from .figures import Figures
from .gpu import Gpu
from .gpu_calls import Calls, is_unloaded, known_pid, reason_of
from .gpu_library import load_binding
from .gpu_sleep import GpuSleep
from .gpu_use import NOBODY, Release
from .source import Domain, Taking

log = logging.getLogger(__name__)

_DRIVER = "the NVIDIA driver"
_RECOUNT_SECONDS = 5.0
_ABSENT_SECONDS = 60.0
_ASLEEP_SECONDS = 1.0
_FASTEST_POLL_SECONDS, _SLOWEST_POLL_SECONDS = 0.01, 0.1
_LONGEST_STOP_SECONDS = 1.0
_MOST_EVENTS = 1000


class NvmlSource(Figures):
    """Energy of each GPU (see :class:`GpuSource`), and who used it.

    There may be no driver at all, and no domains: one that is installed or loaded later is found all the same. A GPU
    that is lost costs that GPU only, until it is there again. GPUs are counted, and a driver that has gone is looked
    for, every five seconds.
    """

    name = "nvml"

    def __init__(
        self,
        fs: HostFS | None = None,
        binding: Callable[[], Any] = load_binding,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__()
        fs = fs or HostFS()
        self._proc = fs.proc
        self._sleep = GpuSleep(fs)
        self._binding = binding
        self._clock_ns = clock_ns
        self._calls: Calls | None = None
        self._gpus: list[Gpu] = []
        self._users: list[tuple[NDArray[np.int32], Floats]] = []
        self._loads: list[float] = []
        self._lock = threading.Lock()  # of the two that follow: the thread fills them, a sample takes them over
        self._ready: list[Release | None] = []
        self._events: list[tuple[str, str]] = []
        self._told = False
        self._unwell: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nvml", daemon=True)

    def start(self) -> None:
        """Poll in a thread; without it, :meth:`recount` and :meth:`poll` are the caller's to call.

        To be called after privileges were dropped: a thread keeps what it began with.
        """
        self._thread.start()

    # -- for the sampler --------------------------------------------------------------------------------------------

    def look(self) -> Taking:
        """Nothing: a thread reads. What it has read is taken over by what is left to do."""
        return self._take_over

    def _take_over(self) -> None:
        """Take over what has been polled since the last call."""
        if not (self._ready or self._events or self._failing):
            return  # there is no GPU, as on most machines
        with self._lock:
            ready, events = self._ready, self._events
            self._ready, self._events = [None] * len(ready), []
        now = self._clock_ns()
        for what, reason in events:
            if reason:
                self.fault(what, reason)
            else:
                self.recovered(what)
        for position, release in enumerate(ready):
            gpu = self._gpus[position]
            if position == len(self.domains):
                self.add(gpu.domain)
                self._users.append((np.empty(0, np.int32), np.empty(0)))
                self._loads.append(math.nan)
                self._put_back(position, release)  # for the next reading: the meter has met the domain by then
            elif release is not None:
                self.book(position, Verdict(release.joules, release.seconds), now, "")
                self._users[position] = _columns(release)
                self._loads[position] = release.load
            if self._counted.live[position]:
                # Joules that wait for their users are not missing.
                self._accepted_ns[position] = max(self._accepted_ns[position], gpu.accepted_ns)
        self.end_reading(now)

    def _put_back(self, position: int, release: Release | None) -> None:
        if release is not None:
            with self._lock:
                later = self._ready[position]
                self._ready[position] = release if later is None else release.plus(later)

    def shares(self, position: int) -> tuple[NDArray[np.int32], Floats]:
        """Processes that used the GPU's latest joules: ids, int32[n], and weights, float64[n].

        Id 0 stands for those that cannot be named. Both are empty where nobody is known.
        """
        return self._users[position]

    def load(self, position: int) -> float:
        """Mean utilisation of the device while it used its latest joules, 0 to 1; NaN where it is not known."""
        return self._loads[position]

    def close(self) -> None:
        """Stop polling. A call that hangs is left behind: its thread ends with the process."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_LONGEST_STOP_SECONDS)

    def inspect(self, wait_seconds: float = 5.0) -> list[tuple[bool, str]]:
        """For each GPU, and for what does not work, whether it is well, and a line, for ``kepler-ebpf doctor``."""

        def ask() -> None:
            self.recount()
            self.poll()
            if self._sleep.let_alone:
                lines.append((True, "asleep, and not asked, as that would wake them"))
            lines.extend((gpu.well, gpu.describe()) for gpu in self._gpus)

        lines: list[tuple[bool, str]] = []
        asking = threading.Thread(target=ask, name="nvml-inspect", daemon=True)
        asking.start()
        asking.join(wait_seconds)
        if asking.is_alive():
            return [(False, f"{_DRIVER} has not answered for {wait_seconds:g} s")]
        with self._lock:
            return lines + [(False, f"{what}: {reason}") for what, reason in self._events if reason]

    # -- in the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        counted = -math.inf
        pause = 0.0
        while not self._stop.wait(pause):
            try:
                if time.monotonic() - counted > self._recount_seconds:
                    counted = time.monotonic()
                    self.recount()
                self.poll()
            except Exception as error:  # a fault of ours costs a reading, not the thread
                self.report("the GPUs", reason_of(error))
            if self._gpus and not self._sleep.let_alone:
                # Twice as often as the driver refreshes, so that no refresh is seen a whole period late.
                fastest = min(gpu.refresh_seconds for gpu in self._gpus) / 2
                pause = min(max(fastest, _FASTEST_POLL_SECONDS), _SLOWEST_POLL_SECONDS)
            else:
                pause = self._recount_seconds
        if self._calls is not None:
            self._calls.forget()

    @property
    def _recount_seconds(self) -> float:
        if self._sleep.let_alone:
            return _ASLEEP_SECONDS
        return _ABSENT_SECONDS if self._calls is None else _RECOUNT_SECONDS

    def poll(self) -> None:
        """Ask every GPU once. Never raises what NVML raises."""
        for position, gpu in enumerate(self._gpus):
            try:
                release = gpu.poll(self._clock_ns())
            except Exception as error:
                self._unload(error)
                continue
            if release is not None:
                with self._lock:
                    earlier = self._ready[position]
                    self._ready[position] = release if earlier is None else earlier.plus(release)

    def recount(self) -> None:
        """Take up GPUs that have been added, and lost ones that are back; each by itself. Never raises."""
        if self._calls is None and not self._load():
            return
        assert self._calls is not None
        if self._sleep.decide(self._clock_ns(), max((gpu.used_ns for gpu in self._gpus), default=0)):
            self._close_driver()
            return
        try:
            count = self._calls.count()
        except Exception as error:
            self.report(_DRIVER, reason_of(error))
            self._unload(error)
            return
        self.report(_DRIVER, "")
        known = {gpu.domain.uuid: gpu for gpu in self._gpus}
        seen: dict[int, str] = {}
        for index in range(count):
            try:
                handle, uuid, model = self._calls.device(index)
            except Exception as error:
                self.report(f"GPU {index}", reason_of(error))
                if is_unloaded(error):
                    self._unload(error)
                    return
                continue
            seen[index] = uuid
            if uuid in known:
                known[uuid].found(handle)
                continue
            domain = Domain("gpu", index, self.name, uuid=uuid, model=model)
            gpu = Gpu(self._calls, handle, domain, self)
            with self._lock:
                self._gpus.append(gpu)
                self._ready.append(None)
        for gpu in self._gpus:
            if gpu.domain.index in seen and gpu.domain.uuid not in seen.values():
                gpu.lose(reset=True)  # another one has its place: nothing is to be counted twice

    def is_alive(self, pid: int) -> bool:
        """As :class:`.gpu_calls.GpuHost` says."""
        return (self._proc / str(pid)).exists()

    def _load(self) -> bool:
        """Whether there is a library to call now."""
        try:
            binding = self._binding()
        except ImportError:
            if not self._told:
                log.warning(
                    "an NVIDIA driver is here but nvidia-ml-py is not: install kepler-ebpf[gpu] to meter the GPUs"
                )
                self._told = True
            return False
        if binding is not None:
            self._calls = Calls(binding)
        return binding is not None

    def _unload(self, error: Exception) -> None:
        """After an error that says that the driver has gone: begin anew at the next count."""
        if is_unloaded(error):
            self._close_driver()

    def _close_driver(self) -> None:
        if self._calls is not None:
            self._calls.forget()
        for gpu in self._gpus:
            gpu.lose(reset=True)

    def report(self, what: str, reason: str) -> None:
        """As :class:`.gpu_calls.GpuHost` says."""
        with self._lock:
            # Word that something works comes with every reading: only changes, and faults, are kept.
            if len(self._events) < _MOST_EVENTS and (reason or what in self._unwell):
                self._events.append((what, reason))
            (self._unwell.add if reason else self._unwell.discard)(what)


def _columns(release: Release) -> tuple[NDArray[np.int32], Floats]:
    by_pid: dict[int, float] = {}
    for pid, weight in release.weights.items():
        by_pid[known_pid(pid)] = by_pid.get(known_pid(pid), 0.0) + weight
    if set(by_pid) <= {NOBODY}:
        by_pid = {}
    return np.array(list(by_pid), np.int32), np.array(list(by_pid.values()), np.float64)
