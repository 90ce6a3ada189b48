"""The C structs and the numpy dtypes are one and the same."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest

from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.syscalls import object_info
from kepler_ebpf.kernel import layout, sources
from kepler_ebpf.kernel.procfs import ProcessFiles
from kepler_ebpf.kernel.tables import BpfTables


def test_what_a_switch_touches_of_a_row_is_one_cache_line() -> None:
    assert layout.USE.itemsize == 64
    assert layout.CPU.itemsize % 64 == 0


@pytest.mark.parametrize(
    "body",
    ["__u32 a;\n__u64 b;", "__u64 a;\n__u32 b;", "long a;", "__u64 a, b;"],
    ids=["padding inside", "padding at the end", "unknown type", "two fields a line"],
)
def test_a_layout_that_could_be_misread_is_refused(body: str) -> None:
    with pytest.raises(ValueError):
        sources.parse_structs(f"struct bad {{\n{body}\n}};\n")


@pytest.mark.kernel
def test_loaded_maps_have_the_size_of_the_dtypes(accounting: Callable[..., BpfTables]) -> None:
    maps = accounting().loaded.maps
    for name, dtype in (
        ("processes", layout.PROCESS),
        ("process_uses", layout.USE),
        ("cgroups", layout.CGROUP),
        ("cgroup_uses", layout.USE),
        ("cpus", layout.CPU),
        ("totals", layout.TOTALS),
        ("cgroup_events", layout.CGROUP_EVENT),
    ):
        # struct bpf_map_info: type, id, key_size, value_size
        assert struct.unpack_from("=4I", object_info(maps[name]))[3] == dtype.itemsize, name


@pytest.mark.kernel
def test_fields_hold_what_their_names_say(accounting: Callable[..., BpfTables]) -> None:
    """A value written by the kernel's C is found by numpy under the same name, for a row we know all about."""
    books = accounting()
    time.sleep(0.01)
    books.sample()
    row = books.row_of_process(os.getpid())
    assert row is not None
    (mine,) = books.processes.read(np.array([row]))
    assert mine["comm"] == open("/proc/self/comm", "rb").read().strip()[:15]
    assert mine["alone_ns"] + mine["shared_ns"] > 0
    assert mine["dead"] == 0
    assert mine["kernel"] == 0
    tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
    told = ProcessFiles(HostFS()).look(os.getpid(), None)
    assert told is not None
    assert 0 <= int(mine["start_ns"]) - told.start_ns < tick_ns
    assert mine["parent"] == told.parent == os.getppid()
    cgroup = books.cgroups.rows[mine["cgroup_row"]]
    assert cgroup["id"] == mine["cgroup_id"]
    assert cgroup["taken"] == 1
    assert np.all(books.cpus["enabled"] == 1)


def test_a_drifted_layout_does_not_compile() -> None:
    """The assertions that the loader appends name every field at its offset."""
    text = sources.assertions(sources.STRUCTS)
    assert "offsetof(struct use, cgroup_row) == 60" in text
    assert text.count("_Static_assert") == sum(1 + len(fields) for fields in sources.STRUCTS.values())
