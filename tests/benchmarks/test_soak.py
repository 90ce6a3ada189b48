"""What the soak's verdict rests on: growth is seen, and what is flat passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from benchmarks.soak import Seen, judged, timeline

FLAT = [Seen(number / 12, 50.0 + number % 3 * 0.1, 38, 7, 60, 12, 300, 1e-15, 0) for number in range(60)]


def missed(seen: list[Seen], refused: Sequence[str] = ()) -> list[str]:
    return [figure.name for figure in judged(seen, refused) if figure.verdict == "NOT MET"]


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
