"""numpy dtypes of the kernel's rows, read from the C header that defines them (``bpf/rows.h``)."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np

_STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\};", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_FIELD = re.compile(r"^\s*(__u32|__u64|char) (\w+)(?:\[(\d+)\])?;\s*$")
_SCALARS = {"__u32": "<u4", "__u64": "<u8"}

SOURCES = ("rows.h", "maps.c", "tasks.c", "find.c", "slices.c", "events.c")
"""The C files, in the order in which they make one program."""


def bpf_source(name: str) -> str:
    """Text of one file of ``bpf/``, from the source tree or from an installed wheel."""
    return (files("kepler_ebpf.bpf") / name).read_text(encoding="utf-8")


def parse_structs(header: str) -> dict[str, np.dtype[np.void]]:
    """The structs of a header as packed dtypes, by name.

    Only what ``rows.h`` allows itself is understood: one field a line, of type ``__u32``, ``__u64``, ``char[n]`` or an
    array of them. Raises ValueError for any other line, and for a struct that C would pad.
    """
    dtypes = {}
    for name, body in _STRUCT.findall(header):
        fields: list[tuple[str, str] | tuple[str, str, tuple[int]]] = []
        for line in _COMMENT.sub("", body).splitlines():
            if not line.strip():
                continue
            match = _FIELD.match(line)
            if not match:
                raise ValueError(f"struct {name}: cannot read the field {line.strip()!r}")
            kind, field, length = match.groups()
            if kind == "char":
                fields.append((field, f"S{length}"))
            elif length:
                fields.append((field, _SCALARS[kind], (int(length),)))
            else:
                fields.append((field, _SCALARS[kind]))
        packed = np.dtype(fields)
        if packed != np.dtype(fields, align=True) or packed.itemsize % 8:
            raise ValueError(f"struct {name} has hidden padding: reorder its fields or spell the padding out")
        dtypes[name] = packed
    return dtypes


def assertions(dtypes: dict[str, np.dtype[np.void]]) -> str:
    """C that fails to compile unless the compiler lays the structs out as the dtypes say."""
    lines = []
    for name, dtype in dtypes.items():
        lines.append(f'_Static_assert(sizeof(struct {name}) == {dtype.itemsize}, "{name}");')
        assert dtype.fields is not None
        lines += [
            f'_Static_assert(__builtin_offsetof(struct {name}, {field}) == {entry[1]}, "{name}.{field}");'
            for field, entry in dtype.fields.items()
        ]
    return "\n".join(lines) + "\n"


STRUCTS = parse_structs(bpf_source("rows.h"))
USE = STRUCTS["use"]
PROCESS = STRUCTS["process"]
CGROUP = STRUCTS["cgroup"]
CPU = STRUCTS["cpu"]
TOTALS = STRUCTS["totals"]
CGROUP_EVENT = STRUCTS["cgroup_event"]
