"""bpf(2) and perf_event_open(2), for which the C library has no wrappers."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from typing import Any

# Numbers from the kernel's system call tables; arm64 and riscv64 share the generic one.
_NUMBERS = {
    "x86_64": (321, 298),
    "aarch64": (280, 241),
    "riscv64": (280, 241),
    "ppc64le": (361, 319),
    "s390x": (351, 331),
}
_BPF, _PERF_EVENT_OPEN = _NUMBERS.get(platform.machine(), (-1, -1))

_MAP_LOOKUP_ELEM = 1
_MAP_UPDATE_ELEM = 2
_PROG_LOAD = 5
_PROG_TEST_RUN = 10
_OBJ_GET_INFO_BY_FD = 15
_RAW_TRACEPOINT_OPEN = 17
_MAP_LOOKUP_AND_DELETE_ELEM = 21
_MAP_DELETE_BATCH = 27
RAW_TRACEPOINT, TRACING = 17, 26  # enum bpf_prog_type
_BPF_TRACE_RAW_TP = 23  # enum bpf_attach_type
_TEST_RUN_ON_CPU = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *args: Any) -> int:
    if number < 0:
        raise OSError(errno.ENOSYS, f"no system call number known for {platform.machine()}")
    result: int = _libc.syscall(ctypes.c_long(number), *args)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def bpf_is_filtered() -> bool:
    """Whether bpf(2) is refused whatever is asked, as by a seccomp filter, to a caller who holds CAP_BPF.

    Asked for a command that does not exist, the kernel itself says EINVAL (kernel/bpf/syscall.c, __sys_bpf).
    """
    attributes = ctypes.create_string_buffer(8)
    try:
        _syscall(_BPF, ctypes.c_int(0x7FFFFFFF), attributes, ctypes.c_uint(len(attributes)))
    except OSError as error:
        return error.errno in (errno.EPERM, errno.ENOSYS)
    return False


class _MapElement(ctypes.Structure):
    _fields_ = (
        ("map_fd", ctypes.c_uint32),
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class _TestRun(ctypes.Structure):
    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_uint64),
        ("ctx_out", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
        ("unused", ctypes.c_uint32),
    )


class _ProgLoad(ctypes.Structure):
    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_name", ctypes.c_char * 16),
        ("prog_ifindex", ctypes.c_uint32),
        ("expected_attach_type", ctypes.c_uint32),
        ("prog_btf_fd", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("func_info", ctypes.c_uint64),
        ("func_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_uint64),
        ("line_info_cnt", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
    )


class _RawTracepoint(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint64), ("prog_fd", ctypes.c_uint32), ("unused", ctypes.c_uint32))


class _Batch(ctypes.Structure):
    _fields_ = (
        ("in_batch", ctypes.c_uint64),
        ("out_batch", ctypes.c_uint64),
        ("keys", ctypes.c_uint64),
        ("values", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("map_fd", ctypes.c_uint32),
        ("elem_flags", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class _ObjectInfo(ctypes.Structure):
    _fields_ = (("bpf_fd", ctypes.c_uint32), ("info_len", ctypes.c_uint32), ("info", ctypes.c_uint64))


class _PerfEventAttr(ctypes.Structure):
    # Only the first version's 64 bytes are used (PERF_ATTR_SIZE_VER0).
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
    )


def _bpf(command: int, attr: ctypes.Structure) -> int:
    return _syscall(_BPF, ctypes.c_int(command), ctypes.byref(attr), ctypes.c_uint(ctypes.sizeof(attr)))


class Element:
    """One key and one value of a map, with the buffers that the kernel reads and writes.

    ``key_bytes`` 0 is a queue or a stack: :meth:`update` pushes, :meth:`take` pops.
    """

    def __init__(self, map_fd: int, key_bytes: int, value_bytes: int) -> None:
        self.key = ctypes.create_string_buffer(max(key_bytes, 1))
        self.value = ctypes.create_string_buffer(value_bytes)
        key_address = ctypes.addressof(self.key) if key_bytes else 0
        self._attr = _MapElement(map_fd, key_address, ctypes.addressof(self.value), 0)

    def update(self) -> None:
        """Write the value under the key, or push it. Raises OSError."""
        _bpf(_MAP_UPDATE_ELEM, self._attr)

    def lookup(self) -> bool:
        """Read the value under the key; False where there is none. Raises OSError."""
        return self._found(_MAP_LOOKUP_ELEM, self._attr)

    def take(self) -> bool:
        """Pop the next value; False where the queue or stack is empty. Raises OSError."""
        return self._found(_MAP_LOOKUP_AND_DELETE_ELEM, self._attr)

    @staticmethod
    def _found(command: int, attr: _MapElement) -> bool:
        try:
            _bpf(command, attr)
        except FileNotFoundError:
            return False
        return True


class TestRun:
    """Runs a raw tracepoint program once on a CPU of our choice (Linux kernel commit 1b4d60ec162f, in v5.10)."""

    __test__ = False  # not a test, whatever pytest makes of the name

    def __init__(self, program_fd: int) -> None:
        self._attr = _TestRun(prog_fd=program_fd, flags=_TEST_RUN_ON_CPU)

    def __call__(self, cpu: int) -> None:
        """Run it on ``cpu``. Raises OSError, ENXIO where that CPU is offline."""
        self._attr.cpu = cpu
        _bpf(_PROG_TEST_RUN, self._attr)


def load_program(name: str, instructions: bytes, attach_btf_id: int = 0, log_bytes: int = 0) -> int:
    """Descriptor of a program: a typed one, for the tracepoint of this type of the kernel's BTF, or a raw one with 0.

    Raises OSError; with ``log_bytes``, the last so many of the verifier's words are its ``strerror``.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    license_ = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(max(log_bytes, 1))
    attr = _ProgLoad(
        prog_type=TRACING if attach_btf_id else RAW_TRACEPOINT,
        insn_cnt=len(instructions) // 8,
        insns=ctypes.addressof(code),
        license=ctypes.addressof(license_),
        log_level=1 if log_bytes else 0,
        log_size=log_bytes,
        log_buf=ctypes.addressof(log) if log_bytes else 0,
        prog_name=name.encode()[:15],
        expected_attach_type=_BPF_TRACE_RAW_TP if attach_btf_id else 0,
        attach_btf_id=attach_btf_id,
    )
    try:
        return _bpf(_PROG_LOAD, attr)
    except OSError as error:
        if log_bytes and log.value:
            raise OSError(error.errno, log.value.decode("utf-8", "replace")) from error
        raise


def attach_program(program_fd: int) -> int:
    """Descriptor of the link between a typed program and its tracepoint; closing it detaches. Raises OSError."""
    return _bpf(_RAW_TRACEPOINT_OPEN, _RawTracepoint(0, program_fd, 0))


def delete_keys(map_fd: int, keys: bytes, count: int) -> None:
    """Delete so many keys, one behind the other, from a hash; those that are not there do not matter. Raises OSError.

    One call for all that are there (Linux kernel commit aa2e93b8e58e, in v5.6): it stops at one that is not.
    """
    size = len(keys) // max(count, 1)
    buffer = ctypes.create_string_buffer(keys, len(keys))
    done = 0
    while done < count:
        attr = _Batch(keys=ctypes.addressof(buffer) + done * size, count=count - done, map_fd=map_fd)
        try:
            _bpf(_MAP_DELETE_BATCH, attr)
            return
        except FileNotFoundError:
            done += attr.count + 1


def object_info(fd: int, size: int = 256) -> bytes:
    """The kernel's ``bpf_prog_info``, ``bpf_map_info`` or ``bpf_btf_info`` of a descriptor. Raises OSError."""
    buffer = ctypes.create_string_buffer(size)
    attr = _ObjectInfo(fd, size, ctypes.addressof(buffer))
    _bpf(_OBJ_GET_INFO_BY_FD, attr)
    return buffer.raw[: attr.info_len]


def perf_event_open(event_type: int, config: int, cpu: int, read_format: int = 0) -> int:
    """Descriptor of an event counted on ``cpu`` for all tasks. Raises OSError (perf_event_open(2))."""
    attr = _PerfEventAttr(type=event_type, size=64, config=config, read_format=read_format)
    cloexec = 8  # PERF_FLAG_FD_CLOEXEC
    return _syscall(
        _PERF_EVENT_OPEN,
        ctypes.byref(attr),
        ctypes.c_int(-1),
        ctypes.c_int(cpu),
        ctypes.c_int(-1),
        ctypes.c_ulong(cloexec),
    )
