"""The C library's allocator, told how much freed memory to keep."""

from __future__ import annotations

import contextlib
import ctypes

# malloc.h of glibc; mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 8 << 20  # above the columns of a booking, which are worked out over and over


def keep_a_little() -> None:
    """Let what every booking uses stay resident until :func:`give_back`. To be called before threads are started.

    By default glibc gives so little back to itself that half of a booking of 10,000 rows is page faults; and it raises
    its thresholds with every large buffer freed (a rendered page, an answer of the kubelet), and keeps an arena for
    each thread: what was used once then stays resident. Does nothing with another C library.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back() -> None:
    """Give the system what is free now, between what is in use too: a crowd's rows and pages, once it has gone.

    Takes about a millisecond, and what the next booking uses is had again by page faults: once in a while it is cheap.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
