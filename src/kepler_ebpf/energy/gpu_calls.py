"""The calls into NVML, and the one border that every value of it has to pass."""

from __future__ import annotations

import math
from typing import Any

_MAX_PID = 1 << 22  # PID_MAX_LIMIT of include/linux/threads.h
_MAX_GPUS = 1024


class Calls:
    """NVML by its Python binding. Calls raise one of ``errors``; a value that cannot be is taken for unknown."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._initialized = False
        self._seen_us: dict[int, int] = {}  # by handle: newest stamp of a utilisation sample that was seen
        self._stamps: dict[tuple[int, int], int] = {}  # by handle and process: its newest stamp
        self.errors: tuple[type[BaseException], ...] = (nvml.NVMLError, OSError, ValueError, TypeError, AttributeError)

    # -- the driver and its devices ---------------------------------------------------------------------------------

    def count(self) -> int:
        """How many GPUs there are; the library is initialised where it is not."""
        if not self._initialized:
            self._nvml.nvmlInit()
            self._initialized = True
        try:
            return min(int(self._nvml.nvmlDeviceGetCount()), _MAX_GPUS)
        except self.errors as error:
            if self.is_unloaded(error):
                self.forget()
            raise

    def forget(self) -> None:
        """The driver has gone: the library is initialised anew at the next count."""
        self._initialized = False
        self._seen_us.clear()
        self._stamps.clear()

    def device(self, index: int) -> tuple[Any, str, str]:
        """Handle, UUID and model of a GPU."""
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        return handle, _text(self._nvml.nvmlDeviceGetUUID(handle)), _text(self._nvml.nvmlDeviceGetName(handle))

    def reason(self, error: BaseException) -> str:
        """A short word for a metric's label."""
        return type(error).__name__.replace("NVMLError_", "")

    def is_lost(self, error: BaseException) -> bool:
        """Whether a GPU has to be found anew after this."""
        return isinstance(error, self._nvml.NVMLError_GpuIsLost) or self.is_unloaded(error)

    def is_unloaded(self, error: BaseException) -> bool:
        """Whether the library has to be initialised anew after this."""
        return self.reason(error) in ("Uninitialized", "DriverNotLoaded", "LibRmVersionMismatch", "LibraryNotFound")

    # -- energy -----------------------------------------------------------------------------------------------------

    def millijoules(self, handle: Any) -> int | None:
        """The energy counter; None where the GPU has none."""
        try:
            return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        except (self._nvml.NVMLError_NotSupported, self._nvml.NVMLError_FunctionNotFound):
            return None

    def watts(self, handle: Any) -> float:
        """Power now."""
        return int(self._nvml.nvmlDeviceGetPowerUsage(handle)) * 1e-3

    def limit_watts(self, handle: Any) -> float:
        """The power limit that is enforced; 0 where the GPU tells none."""
        try:
            watts = int(self._nvml.nvmlDeviceGetEnforcedPowerLimit(handle)) * 1e-3
        except self.errors:
            return 0.0
        return watts if 1.0 <= watts <= 5000.0 else 0.0

    def load(self, handle: Any) -> float:
        """Utilisation of the device, 0 to 1; NaN where it is not known."""
        try:
            per_cent = int(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        except self.errors:
            return math.nan
        return per_cent / 100 if 0 <= per_cent <= 100 else math.nan

    # -- who used it ------------------------------------------------------------------------------------------------

    def utilization(self, handle: Any) -> dict[int, float]:
        """Processes with a sample that is new, and how busy each was, 0 to 1."""
        key = _key(handle)
        seen = self._seen_us.get(key, 0)
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(handle, seen)
        except self._nvml.NVMLError_NotFound:
            return {}  # no activity
        except (self._nvml.NVMLError_NotSupported, self._nvml.NVMLError_FunctionNotFound):
            return self._by_multiprocessors(handle)
        found: dict[int, list[float]] = {}
        newest: list[int] = []
        for sample in samples:
            pid, stamp, per_cent = int(sample.pid), int(sample.timeStamp), int(sample.smUtil)
            if not _is_pid(pid) or stamp <= self._stamps.get((key, pid), 0):
                continue
            newest.append(stamp)
            if 0 <= per_cent <= 100:  # above it is not known, rather than 100
                found.setdefault(pid, []).append(per_cent / 100)
            self._stamps[key, pid] = max(stamp, self._stamps.get((key, pid), 0))
        # Each process has stamps of its own: ask from the oldest of the newest on, so that none is missed.
        if newest:
            self._seen_us[key] = max(seen, min(newest) - 1)
        self._bound()
        return {pid: sum(uses) / len(uses) for pid, uses in found.items()}

    def _by_multiprocessors(self, handle: Any) -> dict[int, float]:
        """Without utilisation: processes by the multiprocessors of the MIG instances that they are in.

        Processes of one instance, or of a GPU without instances, share it evenly: nobody tells who was busy.
        """
        shares: dict[int, float] = {}
        instances = self._instances(handle) if self.mig(handle) else []
        for instance, multiprocessors in instances or [(handle, 1)]:
            try:
                processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(instance)
            except self.errors:
                continue
            pids = {int(process.pid) for process in processes if _is_pid(int(process.pid))}
            for pid in pids:
                shares[pid] = shares.get(pid, 0.0) + multiprocessors / len(pids)
        whole = sum(shares.values())
        return {pid: share / whole for pid, share in shares.items()} if whole else {}

    def _instances(self, handle: Any) -> list[tuple[Any, int]]:
        """MIG instances, and how many multiprocessors each has."""
        found = []
        try:
            for number in range(min(int(self._nvml.nvmlDeviceGetMaxMigDeviceCount(handle)), 64)):
                try:
                    instance = self._nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
                    count = int(self._nvml.nvmlDeviceGetAttributes_v2(instance).multiprocessorCount)
                except self.errors:
                    continue
                found.append((instance, max(count, 1)))
        except self.errors:
            return []
        return found

    def mig(self, handle: Any) -> bool:
        """Whether the GPU is divided into instances."""
        try:
            return bool(self._nvml.nvmlDeviceGetMigMode(handle)[0])
        except self.errors:
            return False

    def _bound(self) -> None:
        while len(self._stamps) > 10_000:
            del self._stamps[next(iter(self._stamps))]


def _is_pid(pid: int) -> bool:
    return 0 < pid <= _MAX_PID


def _key(handle: Any) -> int:
    """A handle is a pointer of ctypes, another object each time it is asked for."""
    value = getattr(getattr(handle, "contents", None), "_address", None)
    return int(value) if isinstance(value, int) else id(handle)


def _text(value: str | bytes) -> str:
    """Older bindings give bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
