"""numpy dtypes of the kernel's rows, as the C header that defines them says (``bpf/rows.h``)."""

from __future__ import annotations

import numpy as np

from .sources import STRUCTS, Field


def _dtype(fields: list[Field]) -> np.dtype[np.void]:
    return np.dtype([(field.name, *_type(field)) for field in fields])


def _type(field: Field) -> tuple[str] | tuple[str, tuple[int]]:
    if field.text:
        return (f"S{field.length}",)
    scalar = f"<u{field.scalar_bytes}"
    return (scalar, (field.length,)) if field.length > 1 else (scalar,)


USE = _dtype(STRUCTS["use"])
PROCESS = _dtype(STRUCTS["process"])
CGROUP = _dtype(STRUCTS["cgroup"])
CPU = _dtype(STRUCTS["cpu"])
TOTALS = _dtype(STRUCTS["totals"])
CGROUP_EVENT = _dtype(STRUCTS["cgroup_event"])
