"""NVML's library, and its Python binding."""

from __future__ import annotations

import ctypes
from typing import Any

LIBRARY = "libnvidia-ml.so.1"


def library_is_here() -> bool:
    """Whether a driver's library is installed. Nothing is asked of the driver."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def load_binding() -> Any:
    """The Python binding of NVML, or None where no driver's library is installed. Raises ImportError."""
    if not library_is_here():
        return None
    import pynvml

    return pynvml
