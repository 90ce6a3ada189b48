"""The C files, and what the header of the kernel's rows (``bpf/rows.h``) says of their layout.

The loader compiles them, so numpy stays out of here: it would double what the loader needs before the compiler.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parents[1] / "bpf"
"""In the source tree and in an installed wheel alike."""

SOURCES = ("rows.h", "maps.c", "tasks.c", "find.c", "slices.c", "events.c")
"""The C files, in the order in which they make one program."""

_STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\};", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_FIELD = re.compile(r"^\s*(__u32|__u64|char) (\w+)(?:\[(\d+)\])?;\s*$")
_SCALARS = {"__u32": 4, "__u64": 8, "char": 1}


class Field(NamedTuple):
    """A field of a struct: ``length`` scalars of so many bytes, at ``offset`` bytes; ``char`` is text."""

    name: str
    text: bool
    scalar_bytes: int
    length: int
    offset: int

    @property
    def end(self) -> int:
        return self.offset + self.scalar_bytes * self.length


def bpf_source(name: str) -> str:
    """Text of one file of ``bpf/``."""
    return (FOLDER / name).read_text(encoding="utf-8")


def parse_structs(header: str) -> dict[str, list[Field]]:
    """The fields of a header's structs, by the struct's name, packed.

    Only what ``rows.h`` allows itself is understood: one field a line, of type ``__u32``, ``__u64``, ``char[n]`` or an
    array of them. Raises ValueError for any other line, and for a struct that C would pad.
    """
    structs = {}
    for name, body in _STRUCT.findall(header):
        fields: list[Field] = []
        end = 0
        for line in _COMMENT.sub("", body).splitlines():
            if not line.strip():
                continue
            match = _FIELD.match(line)
            if not match:
                raise ValueError(f"struct {name}: cannot read the field {line.strip()!r}")
            kind, field, length = match.groups()
            fields.append(Field(field, kind == "char", _SCALARS[kind], int(length or 1), end))
            if end % _SCALARS[kind]:
                raise _padded(name)
            end = fields[-1].end
        if end % 8:
            raise _padded(name)
        structs[name] = fields
    return structs


def assertions(structs: dict[str, list[Field]]) -> str:
    """C that fails to compile unless the compiler lays the structs out as these say."""
    lines = []
    for name, fields in structs.items():
        lines.append(f'_Static_assert(sizeof(struct {name}) == {fields[-1].end}, "{name}");')
        lines += [
            f'_Static_assert(__builtin_offsetof(struct {name}, {field.name}) == {field.offset}, "{name}.{field.name}");'
            for field in fields
        ]
    return "\n".join(lines) + "\n"


def _padded(struct: str) -> ValueError:
    return ValueError(f"struct {struct} has hidden padding: reorder its fields or spell the padding out")


STRUCTS = parse_structs(bpf_source("rows.h"))
