"""Which lines a level of several frames has: the same as of each frame for itself."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.attribution.frame import Entry
from kepler_ebpf.kernel.table import COUNTERS, Slices
from kepler_ebpf.recording.lines import used
from tests.needs import examples

_ROWS = st.lists(st.integers(0, 4), max_size=5)
_FRAMES = st.lists(
    st.one_of(
        st.tuples(_ROWS, _ROWS),
        _ROWS.map(lambda ran: (ran, ran)),
        st.tuples(_ROWS, _ROWS).map(lambda both: (both[0], both[0] + both[1])),  # users of a GPU come behind
    ),
    min_size=1,
    max_size=6,
)


def _columns(of_frames: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    sample = np.repeat(np.arange(len(of_frames)), [len(rows) for rows in of_frames]).astype(np.intp)
    return sample, np.array([row for rows in of_frames for row in rows], np.intp)


@settings(max_examples=examples(200), deadline=None)
@given(_FRAMES)
def test_lines_of_frames_are_those_of_each(frames: list[tuple[list[int], list[int]]]) -> None:
    sample, index = _columns([ran for ran, _ in frames])
    zeros = np.zeros(len(index))
    ran = Slices(sample, index, np.zeros(len(index), np.intp), **dict.fromkeys(COUNTERS, zeros))
    charged = Entry.of_joules(*_columns([charged for _, charged in frames]), joules=np.zeros((3, 0)))
    lines = used(ran, charged, len(frames))
    expected = [theirs if theirs[: len(mine)] == mine else mine + theirs for mine, theirs in frames]
    assert lines.counts.tolist() == [len(rows) for rows in expected]
    assert lines.rows.tolist() == [row for rows in expected for row in rows]
    assert lines.ran_counts.tolist() == [len(mine) for mine, _ in frames]
    assert lines.charged_counts.tolist() == [len(theirs) for _, theirs in frames]
