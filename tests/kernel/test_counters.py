"""Which events are opened, and what happens where a processor has none of a kind."""

from __future__ import annotations

import errno
import os

import pytest

from kepler_ebpf.kernel.counters import Event, llc_misses, open_counters


@pytest.mark.parametrize(("machine", "kind", "config"), [("x86_64", 0, 3), ("ppc64le", 0, 3), ("aarch64", 3, 0x10002)])
def test_misses_are_those_of_the_last_level(machine: str, kind: int, config: int) -> None:
    asked = []

    def open_event(kind: int, config: int, cpu: int) -> int:
        asked.append((kind, config, cpu))
        return os.open(os.devnull, os.O_RDONLY)

    counters = open_counters(llc_misses(machine), range(2), open_event)
    counters.close()
    assert asked == [(kind, config, 0), (kind, config, 1)]


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EOPNOTSUPP])
def test_an_event_that_the_processor_lacks_is_counted_nowhere(code: int) -> None:
    def refuse(kind: int, config: int, cpu: int) -> int:
        raise OSError(code, os.strerror(code))

    counters = open_counters(Event("llc-misses", 3, 0x10002), range(2), refuse)
    assert counters.by_cpu == {}
    assert counters.refused is not None
    assert counters.refused.errno == code
