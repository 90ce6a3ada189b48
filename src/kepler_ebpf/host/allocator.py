"""The C library's allocator, told to give memory back."""

from __future__ import annotations

import contextlib
import ctypes

# malloc.h of glibc; mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_THRESHOLD_BYTES = 512 << 10  # above the columns that are worked out over and over


def give_back() -> None:
    """Keep the resident size near what is in use. To be called before any thread is started.

    By default glibc raises its thresholds with every large buffer freed (a rendered page, an answer of the kubelet)
    and keeps an arena for each thread: what was used once then stays resident. Does nothing with another C library.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _THRESHOLD_BYTES)
