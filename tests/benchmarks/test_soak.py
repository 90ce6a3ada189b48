"""What the soak's verdict rests on: growth is seen, and what is flat passes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from benchmarks.soak import Repeated, Seen, Watched, judged, timeline

FLAT = [Seen(number / 12, 50.0 + number % 3 * 0.1, 38, 7, 60, 12, 300, 1e-15, 0) for number in range(60)]


def missed(seen: list[Seen], refused: Sequence[str] = (), failed: Sequence[str] = ()) -> list[str]:
    watched = Watched(seen, {"processes": 90_000, "containers": 300}, refused, {"containers": failed})
    return [figure.name for figure in judged(watched) if figure.verdict == "NOT MET"]


def test_what_is_flat_passes() -> None:
    assert missed(FLAT) == []
    assert len(timeline(FLAT).splitlines()) == 12


@pytest.mark.parametrize(
    ("column", "each", "name"),
    [
        ("resident_mib", 0.2, "memory: growth"),
        ("descriptors", 1, "descriptors: growth"),
        ("threads", 1, "threads: growth"),
        ("process_rows", 10, "process rows: growth"),
        ("cgroup_rows", 1, "cgroup rows: growth"),
        ("series", 10, "series: growth"),
    ],
)
def test_what_grows_does_not(column: str, each: float, name: str) -> None:
    grown = [replace(one, **{column: getattr(one, column) + each * number}) for number, one in enumerate(FLAT)]
    assert name in missed(grown)


def test_one_moment_of_open_books_or_of_failure_is_enough() -> None:
    assert missed([*FLAT[:-1], replace(FLAT[-1], gap=1e-8)]) == ["books: largest gap"]
    assert missed([*FLAT[:-1], replace(FLAT[-1], bad=1)]) == ["failed samples, slices beyond rows"]
    assert missed(FLAT, ["12:00:00 /readyz: 503 no snapshot yet"]) == ["pages and probes refused"]


def test_a_load_that_fails_now_and_then_costs_nothing_and_one_that_does_not_work_is_no_load() -> None:
    assert missed(FLAT, failed=["12:00:00 no such file"] * 2) == []
    assert missed(FLAT, failed=["12:00:00 no such file"] * 30) == ["loads that failed"]


def test_a_load_goes_on_after_a_failure() -> None:
    done = threading.Event()
    calls = iter([1.0, 0.0, 2.0])

    def once() -> None:
        try:
            1.0 / next(calls)
        except StopIteration:
            done.set()

    with Repeated(once, 0.0) as load:
        assert done.wait(10)
    assert load.count >= 2
    assert len(load.failed) == 1
    assert load.failed[0].endswith("division by zero")
