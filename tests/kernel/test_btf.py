"""Members of structures by BTF: a small blob made here, and hostile ones."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kepler_ebpf.kernel.btf import Types

NAMES = b"\0outer\0first\0inside\0flag\0colours\0red\0blue\0"


def name(text: bytes) -> int:
    return NAMES.index(b"\0" + text + b"\0") + 1


def type_(text: bytes, kind: int, count: int, size: int, rest: bytes = b"", flag: int = 0) -> bytes:
    return struct.pack("=III", name(text) if text else 0, flag << 31 | kind << 24 | count, size) + rest


def member(text: bytes, number: int, bits: int) -> bytes:
    return struct.pack("=III", name(text) if text else 0, number, bits)


TYPES = b"".join(
    [
        type_(b"", 1, 0, 4, struct.pack("=I", 32)),  # 1: int
        type_(b"", 5, 2, 8, member(b"first", 1, 0) + member(b"inside", 1, 32)),  # 2: anonymous union
        type_(b"", 2, 0, 1),  # 3: pointer
        type_(b"outer", 7, 0, 0),  # 4: forward declaration of the same name
        type_(b"outer", 4, 3, 24, member(b"", 2, 64) + member(b"flag", 1, 1 << 24 | 128) + member(b"", 1, 0), flag=1),
        type_(b"colours", 6, 2, 4, struct.pack("=IiIi", name(b"red"), 3, name(b"blue"), -1)),
    ]
)


def blob(types: bytes = TYPES, names: bytes = NAMES) -> bytes:
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names))
    return header + types + names


def test_members_and_enumerators() -> None:
    types = Types(blob())
    assert types.offset("outer", "inside") == 12  # 8 to the anonymous union, 4 within it
    assert types.offset("outer", "flag") == 16
    assert types.enumerator("colours", "red") == 3
    assert types.enumerator("colours", "blue") == -1


@pytest.mark.parametrize(("structure", "member"), [("outer", "absent"), ("absent", "first"), ("colours", "red")])
def test_what_is_not_there_is_named(structure: str, member: str) -> None:
    with pytest.raises(KeyError):
        Types(blob()).offset(structure, member)


@pytest.mark.parametrize("data", [b"", b"\0" * 24, blob(type_(b"", 31, 0, 0)), blob()[:60]])
def test_what_is_no_btf_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        Types(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        Types(blob(data))


@pytest.mark.parametrize(
    ("types", "ask"),
    [
        (type_(b"outer", 4, 1, 24, member(b"", 1, 0)), "a structure inside of itself"),
        (type_(b"outer", 4, 1, 24, member(b"", 99, 0)), "a type that is not there"),
        (type_(b"outer", 4, 500, 24, member(b"first", 0, 0)), "members that are not there"),
        (type_(b"outer", 4, 1, 24, struct.pack("=III", 5000, 0, 0)), "a name that is not there"),
    ],
)
def test_what_cannot_be_followed_is_a_value_error(types: bytes, ask: str) -> None:
    with pytest.raises(ValueError):
        Types(blob(types)).offset("outer", "absent")
