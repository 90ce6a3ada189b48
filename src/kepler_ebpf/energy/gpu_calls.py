"""The calls into NVML, and the one border that every value of it has to pass."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol

from .gpu_lists import WHOLE_GPU, Listed
from .gpu_samples import GpuSample
from .gpu_use import NOBODY
from .plausible import PLAUSIBLE_WATTS

_NO_NUMBER = (TypeError, ValueError, OverflowError, AttributeError)
_MAX_PID = 1 << 22  # PID_MAX_LIMIT of include/linux/threads.h
_MAX_GPUS = 1024
_MAX_INSTANCES = 64
_ABSENT = ("NotSupported", "FunctionNotFound")
_CODERS = ("nvmlDeviceGetEncoderUtilization", "nvmlDeviceGetDecoderUtilization")
_MPS_SERVER = "nvidia-cuda-mps-server"
_UNLOADED = ("Uninitialized", "DriverNotLoaded", "LibRmVersionMismatch", "LibraryNotFound")


def reason_of(error: BaseException) -> str:
    """A short word for a metric's label: ``GpuIsLost``, ``Unknown``."""
    return type(error).__name__.replace("NVMLError_", "")


def is_absent(error: BaseException) -> bool:
    """Whether this GPU or driver says that it does not offer what was asked for."""
    return reason_of(error) in _ABSENT


def is_refused(error: BaseException) -> bool:
    """Whether this process may not ask: that lasts."""
    return reason_of(error) == "NoPermission"


def is_lost(error: BaseException) -> bool:
    """Whether the GPU has to be found again."""
    return reason_of(error) in ("GpuIsLost", "ResetRequired")


def is_unloaded(error: BaseException) -> bool:
    """Whether the library has to be initialised anew."""
    return reason_of(error) in _UNLOADED


class GpuHost(Protocol):
    """What one GPU asks of its source."""

    def report(self, what: str, reason: str) -> None:
        """Take what failed and a word why; an empty word: it works again."""

    def is_alive(self, pid: int) -> bool:
        """Whether there is this process."""


class Calls:
    """NVML by its Python binding ``nvml``.

    Calls raise what the binding raises, which is not always an ``NVMLError``; a value that cannot be is taken for
    unknown.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._initialized = False

    # -- the driver and its devices ---------------------------------------------------------------------------------

    def count(self) -> int:
        """How many GPUs there are; the library is initialised where it is not."""
        if not self._initialized:
            self._nvml.nvmlInit()
            self._initialized = True
        return min(int(self._nvml.nvmlDeviceGetCount()), _MAX_GPUS)

    def forget(self) -> None:
        """Give the library back: the next count initialises it.

        NVML counts initialisations and does nothing in a second one (nvmlInit_v2 in nvml.h), so that it would not
        notice that the driver has been loaded anew.
        """
        if self._initialized:
            self._initialized = False
            try:
                self._nvml.nvmlShutdown()
            except Exception:  # of a driver that has gone it is refused
                return

    def device(self, index: int) -> tuple[Any, str, str]:
        """Handle, UUID and model of a GPU; the model is empty where it cannot be told.

        One that has no UUID is known by its index. One that only does not tell it now raises: it will be another then.
        """
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        try:
            uuid = _text(self._nvml.nvmlDeviceGetUUID(handle))
        except Exception as error:
            if not is_absent(error):
                raise
            uuid = f"index-{index}"
        try:
            model = _text(self._nvml.nvmlDeviceGetName(handle))
        except Exception as error:
            if is_lost(error) or is_unloaded(error):
                raise
            model = ""
        return handle, uuid, model

    # -- energy -----------------------------------------------------------------------------------------------------

    def millijoules(self, handle: Any) -> int:
        """The energy counter."""
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle))

    def watts(self, handle: Any) -> float:
        """Power now."""
        return int(self._nvml.nvmlDeviceGetPowerUsage(handle)) * 1e-3

    def limit_watts(self, handle: Any) -> float:
        """The power limit that is enforced; 0 where the GPU tells none, or one that cannot be."""
        try:
            watts = int(self._nvml.nvmlDeviceGetEnforcedPowerLimit(handle)) * 1e-3
        except Exception:
            return 0.0
        return watts if 1.0 <= watts <= PLAUSIBLE_WATTS["gpu"] else 0.0

    def load(self, handle: Any) -> float:
        """Utilisation of the device, 0 to 1; NaN where it is not known.

        It is that of the multiprocessors; where that is 0, what else of the GPU is busiest, as for processes.
        """
        try:
            rates = self._nvml.nvmlDeviceGetUtilizationRates(handle)
            busy = _utilization(rates.gpu)
        except Exception:
            return math.nan
        if busy != 0:
            return busy
        return _busiest([getattr(rates, "memory", 0), *(self._coder(call, handle) for call in _CODERS)])

    def _coder(self, call: str, handle: Any) -> Any:
        try:
            return getattr(self._nvml, call)(handle)[0]
        except Exception:
            return 0

    # -- who used it ------------------------------------------------------------------------------------------------

    def samples(self, handle: Any, since_us: int) -> list[GpuSample]:
        """Samples of processes with a later stamp. Raises where the driver gives none of this GPU (``is_absent``)."""
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(handle, since_us)
        except self._nvml.NVMLError as error:
            # Nobody was active; the binding takes a count of 0 for an error, and says that it was a success.
            if reason_of(error) == "NotFound" or getattr(error, "value", None) == 0:
                return []
            raise
        found = []
        for sample in samples:
            with suppress(*_NO_NUMBER):
                found.append(GpuSample(_pid_of(sample), _busy(sample), int(sample.timeStamp)))
        return found

    def lists(self, handle: Any) -> list[Listed]:
        """Processes that have the GPU open, instance by instance where it is divided.

        One instance whose list cannot be read costs the others nothing. Raises where the driver lists no processes of
        a GPU that is not divided, or of any instance.
        """
        found = []
        instances = self._instances(handle) or [(WHOLE_GPU, handle, 1)]
        for number, instance, multiprocessors in instances:
            try:
                found.append(Listed(number, multiprocessors, self._pids(instance)))
            except Exception as error:
                found.append(Listed(number, multiprocessors, None, reason_of(error)))
                if all(listed.pids is None for listed in found) and len(found) == len(instances):
                    raise
        return found

    def _pids(self, handle: Any) -> set[int]:
        pids = self._running("Compute", handle)
        clients = self._more_pids("MPSCompute", handle)
        if clients:  # what they compute runs in the name of a server, which has the GPU open too
            pids = {pid for pid in pids if not self._serves_others(pid)} | clients
        return pids | self._more_pids("Graphics", handle)

    def _running(self, kind: str, handle: Any) -> set[int]:
        call = f"nvmlDeviceGet{kind}RunningProcesses"
        try:
            processes = getattr(self._nvml, call)(handle)
        except Exception:  # drivers before 510, the last for GPUs of 2012 among them, have the second version
            processes = getattr(self._nvml, f"{call}_v2")(handle)
        return set(map(_pid_of, processes))

    def _more_pids(self, kind: str, handle: Any) -> set[int]:
        """Of a list that need not be there: MIG instances have no graphics, old drivers and bindings no list of MPS."""
        try:
            return self._running(kind, handle)
        except Exception:
            return set()

    def _serves_others(self, pid: int) -> bool:
        """Whether it is the server of MPS, by the path of its program."""
        try:
            return _text(self._nvml.nvmlSystemGetProcessName(pid)).split("/")[-1].startswith(_MPS_SERVER)
        except Exception:
            return False

    def _instances(self, handle: Any) -> list[tuple[int, Any, int]]:
        """MIG instances: number, handle, multiprocessors (0: not told now); none where the GPU is not divided."""
        found: list[tuple[int, Any, int]] = []
        if not self.mig(handle):
            return found
        try:
            most = min(int(self._nvml.nvmlDeviceGetMaxMigDeviceCount(handle)), _MAX_INSTANCES)
        except Exception:
            return found
        for number in range(most):
            try:
                instance = self._nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
            except Exception:  # numbers need not be contiguous
                continue
            found.append((number, instance, self._multiprocessors(instance)))
        return found if any(count for _, _, count in found) else []

    def _multiprocessors(self, instance: Any) -> int:
        try:
            return max(int(self._nvml.nvmlDeviceGetAttributes_v2(instance).multiprocessorCount), 0)
        except Exception:
            return 0

    def mig(self, handle: Any) -> bool:
        """Whether the GPU is divided into instances."""
        try:
            return bool(self._nvml.nvmlDeviceGetMigMode(handle)[0])
        except Exception:
            return False


def _pid_of(process: Any) -> int:
    """An entry that names no process costs the others nothing."""
    try:
        return int(process.pid)
    except _NO_NUMBER:
        return NOBODY


def known_pid(pid: int) -> int:
    """The process id, or ``NOBODY`` for one that cannot be."""
    return pid if 0 < pid <= _MAX_PID else NOBODY


def _busy(sample: Any) -> float:
    """How busy a process kept the multiprocessors; where it did not, what else of the GPU it kept busiest: a video
    encoder or decoder, or memory."""
    busy = _utilization(sample.smUtil)
    if busy != 0:
        return busy
    return _busiest([getattr(sample, name, 0) for name in ("encUtil", "decUtil", "memUtil")])


def _busiest(per_cent: Iterable[Any]) -> float:
    """The most of these that can be, 0 to 1."""
    found = 0.0
    for value in per_cent:
        with suppress(*_NO_NUMBER):
            use = _utilization(value)
            found = use if use > found else found
    return found


def _utilization(per_cent: Any) -> float:
    """0 to 1; NaN for what cannot be: above 100 is not known, rather than 100."""
    value = int(per_cent)
    return value / 100 if 0 <= value <= 100 else math.nan


def _text(value: Any) -> str:
    """Older bindings give bytes. Raises TypeError."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise TypeError(f"a name that is a {type(value).__name__}")
    return value
