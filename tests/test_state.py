"""The state file: what it gives back, and everything that it may hold instead."""

from __future__ import annotations

import json
import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.attribution.carry import Carry, ZoneState
from kepler_ebpf.state import StateFile, Unusable, decode, encode
from tests.needs import examples

BOOT = "b7c0f6f5-ef5a-4a8b-8d77-9a3a1a0f7d33"
BOOKS = Carry(
    "rapl-powercap",
    np.array([1000.5, 100.25, 0.0]),
    np.array([300.0, 50.0, 0.0]),
    np.array([0.5, 0.25, 0.0]),
    {
        "process": np.array([700.0, 50.0, 0.0, 12.5, 4e10]),
        "container": np.array([700.0, 50.0, 0.0, 350.0, 5.0, 12.5, 4e10]),
    },
    {
        "package/0": ZoneState(262_143_000_000, 10**12, 262_143_328_851, 1000.5, 14.5),
        "dram/0": ZoneState(5, 10**12, 0, 100.25, math.nan),
    },
)


def same(one: Carry, other: Carry) -> bool:
    return encode(one, "") == encode(other, "")


def test_what_is_kept_comes_back_to_the_bit_and_is_small() -> None:
    content = encode(BOOKS, BOOT)
    assert len(content) < 600
    assert same(decode(content, BOOT), BOOKS)


finite = st.floats(0, 1e14)


@given(
    st.lists(finite, min_size=3, max_size=3),
    st.lists(finite, min_size=3, max_size=3),
    st.lists(finite, min_size=3, max_size=3),
    st.dictionaries(
        st.text(max_size=40),
        st.builds(
            ZoneState,
            st.integers(0, 2**64),
            st.integers(10**18, 2**63),  # booted 30 years ago
            st.integers(0, 2**64),
            finite,
            st.floats(0, 1e6),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_any_books_that_close_come_back(
    charged: list[float], idle: list[float], rest: list[float], zones: dict[str, ZoneState]
) -> None:
    measured = np.array(charged) + np.array(idle) + np.array(rest)
    levels = {"process": np.array([*charged, 1.0, 2.0]), "container": np.array([*charged, 0.0, 0.0, 1.0, 2.0])}
    books = Carry("rapl-perf", measured, np.array(idle), np.array(rest), levels, zones)
    assert same(decode(encode(books, BOOT), BOOT), books)


GOOD = json.loads(encode(BOOKS, BOOT))
HOSTILE: list[Any] = [
    b"",
    b"\x00" * 400,
    b"null",
    b"[]",
    b"[" * 50_000,
    b"\xff\xfe",
    encode(BOOKS, BOOT)[:-20],
    GOOD | {"format": 2},
    GOOD | {"format": True, "boot": ""},
    GOOD | {"boot": "another"},
    GOOD | {"boot": None},
    GOOD | {"measured": [1e400, 0, 0]},
    GOOD | {"measured": [float("nan"), 0, 0]},
    GOOD | {"measured": [10**400, 0, 0]},
    GOOD | {"measured": [-1, 0, 0]},
    GOOD | {"measured": ["1000.5", 100.25, 0]},
    GOOD | {"measured": [[1000.5], 100.25, 0]},
    GOOD | {"measured": [1000.5, 100.25]},
    GOOD | {"measured": [2000.5, 100.25, 0]},
    GOOD | {"idle": [0, 0, 0]},
    GOOD | {"charged": {"process": [700, 50, 0, 1, 1]}},
    GOOD | {"charged": []},
    GOOD | {"zones": [1]},
    GOOD | {"zones": {"package/0": None}},
    GOOD | {"zones": {"package/0": [1.5, 1, 1, 1, None]}},
    GOOD | {"zones": {"package/0": [1, -1, 1, 1, None]}},
    GOOD | {"zones": {"package/0": [1, 1, 2**70, 1, None]}},
    GOOD | {"zones": {"package/0": [1, 1, 1, float("inf"), None]}},
    GOOD | {"zones": {"package/0": [1, 1, 1, 1]}},
    GOOD | {"zones": {"x" * 1000: [1, 1, 1, 1, None]}},
    GOOD | {"zones": {str(number): [1, 1, 1, 1, None] for number in range(1000)}},
    GOOD | {"source": 5},
    # more than a machine can have used in the 1,000 seconds since its boot
    *(
        GOOD
        | {
            "measured": [joules, 0, 0],
            "idle": [0, 0, 0],
            "unattributed": [joules, 0, 0],
            "charged": {"process": [0] * 5, "container": [0] * 7},
        }
        for joules in (1e9 + 1e6, 1e16, 1e308)
    ),
    GOOD | {"charged": GOOD["charged"] | {"process": [*GOOD["charged"]["process"][:3], 1e9, 0]}},
    GOOD | {"charged": GOOD["charged"] | {"process": [*GOOD["charged"]["process"][:4], 1e308]}},
    GOOD | {"zones": {"package/0": [1, 10**12, 1, 1e308, None]}},
    GOOD | {"zones": {"package/0": [1, 10**12, 1, 1, 1e308]}},
    GOOD | {"zones": {}},
]


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_not_ours_is_refused(content: Any) -> None:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(Unusable):
        decode(text, BOOT)
    with pytest.raises(Unusable):
        decode(encode(BOOKS, ""), "")  # a machine that does not tell its boot


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=10), inner, max_size=6),
    max_leaves=10,
)


@settings(max_examples=examples(300))
@given(st.dictionaries(st.sampled_from(sorted(GOOD)), anything), st.binary(max_size=50))
def test_whatever_stands_there_is_books_or_a_refusal(change: dict[str, Any], garbage: bytes) -> None:
    for content in (garbage, json.dumps(GOOD | change).encode()):
        try:
            books = decode(content, BOOT)
        except Unusable:
            continue
        assert math.isfinite(float(books.measured.sum()))
        assert (books.measured >= 0).all()


def kept(folder: Path) -> StateFile:
    file = StateFile(folder, BOOT)
    file.start()
    return file


def test_the_next_collector_reads_what_the_last_one_put(tmp_path: Path) -> None:
    file = kept(tmp_path)
    assert file.read() is None
    file.put(BOOKS)
    file.close()
    following = StateFile(tmp_path, BOOT)
    books = following.read()
    assert books is not None
    assert same(books, BOOKS)
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    following.start()
    following.put(None)
    following.close()
    assert not list(tmp_path.iterdir())


def test_one_that_ends_before_it_published_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    first = kept(tmp_path)
    first.put(BOOKS)
    first.close()
    kept(tmp_path).close()
    assert StateFile(tmp_path, BOOT).read() is not None


def test_two_collectors_do_not_share_a_folder(tmp_path: Path) -> None:
    first = kept(tmp_path)
    with pytest.raises(Unusable, match="another collector keeps its state"):
        StateFile(tmp_path, BOOT)
    first.close()
    StateFile(tmp_path, BOOT).close()


def test_a_file_that_others_can_have_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(encode(BOOKS, BOOT))
    place = tmp_path / "state.json"
    file = StateFile(tmp_path, BOOT)
    place.symlink_to("elsewhere")
    with pytest.raises(Unusable):
        file.read()
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(Unusable, match="we alone"):
        file.read()
    place.unlink()
    place.mkdir()
    with pytest.raises(Unusable):
        file.read()
    place.rmdir()
    place.write_bytes(encode(BOOKS, BOOT))
    place.chmod(0o666)
    with pytest.raises(Unusable, match="we alone"):
        file.read()
    place.chmod(0o600)
    assert file.read() is not None


def test_a_full_disk_costs_the_state_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = kept(tmp_path)
    file.put(BOOKS)
    told = threading.Event()
    write = StateFile._write

    def full(self: StateFile, content: bytes) -> None:
        told.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StateFile, "_write", full)
    for _ in range(3):
        told.clear()
        file.put(BOOKS)
        assert told.wait(20)
    file.close()
    assert caplog.text.count("No space left on device") == 1
    assert not (tmp_path / "state.json").exists(), "an old state would let counters fall"
    monkeypatch.setattr(StateFile, "_write", write)
    again = kept(tmp_path)
    again.put(BOOKS)
    again.close()
    assert (tmp_path / "state.json").exists()


def test_a_disk_that_hangs_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr("kepler_ebpf.state._LONGEST_STOP_SECONDS", 0.05)
    monkeypatch.setattr(StateFile, "_write", lambda *_: release.wait())
    file = kept(tmp_path)
    for _ in range(10):
        file.put(BOOKS)
    file.close()
    release.set()
