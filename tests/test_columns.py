"""Columns: what stands in for numpy's functions answers as they do."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kepler_ebpf.columns import are_among

_NUMBERS = st.lists(st.one_of(st.integers(0, 20), st.integers(0, 2**64 - 1)), max_size=30)


@given(_NUMBERS, _NUMBERS)
def test_entries_among_others(column: list[int], values: list[int]) -> None:
    found = are_among(np.array(column, np.uint64), np.array(values, np.uint64))
    assert found.tolist() == [number in values for number in column]


def test_columns_of_other_types() -> None:
    assert are_among(np.array([3, 1, 2], np.uint32), np.array([2, 3], np.intp)).tolist() == [True, False, True]
    assert are_among(np.array([2**63, 5], np.uint64), [2**63]).tolist() == [True, False]


def test_masked_arrays_are_not_imported() -> None:
    script = (
        "import sys; import numpy as np; from kepler_ebpf.columns import are_among;"
        "are_among(np.arange(2000, dtype=np.uint64) << 40, np.arange(100)); sys.exit('numpy.ma' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
